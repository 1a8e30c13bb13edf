"""
``python -m phylozoo_parallel``: the environment, and whose ``phylozoo.utils.parallel`` it has.

Exit status: 0 if ``phylozoo.utils.parallel`` is ours, 1 if it is PhyloZoo's own module, 2 if
it cannot be imported or is neither.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

STATUS = {"ours": 0, "PhyloZoo's": 1, "broken": 2}
DISTRIBUTIONS = ("phylozoo-parallel", "joblib", "loky", "cloudpickle", "numpy", "phylozoo")

# Runs in a fresh interpreter: what is imported here already says nothing about the next program.
PROBE = """
import importlib, json, os
from importlib.util import find_spec
found = dict.fromkeys(("phylozoo", "file", "ours", "theirs", "error"))
try:
    for key, name in ("phylozoo", "phylozoo"), ("file", "phylozoo.utils.parallel"):
        spec = find_spec(name)
        found[key] = spec and spec.origin
    module = importlib.import_module("phylozoo.utils.parallel")
    import phylozoo_parallel
    found["ours"] = module.ParallelConfig is phylozoo_parallel.ParallelConfig
    home = os.path.dirname(found["phylozoo"] or "")
    found["theirs"] = home != "" and found["file"].startswith(home + os.sep)
except BaseException as error:
    found["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def versions() -> dict[str, str | None]:
    """Return the version of Python and of each distribution; None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def cores() -> dict[str, Any]:
    """Return the number of cores that -1 stands for, why, and what may limit it."""
    limits: dict[str, int | None] = {"logical cores": os.cpu_count() or 1}
    affinity = getattr(os, "sched_getaffinity", None)
    limits["CPU affinity"] = len(affinity(0)) if affinity else None
    try:
        import loky

        available = loky.cpu_count()
        wanted = os.environ.get("LOKY_MAX_CPU_COUNT")
        limits["LOKY_MAX_CPU_COUNT"] = max(int(wanted), 1) if wanted else None
    except (ImportError, ValueError) as error:
        return {"available": None, "why": f"could not be counted: {error}", "limits": limits}
    # Of all that loky counts with, the quota is what no function tells.
    known = [limit for limit in limits.values() if limit is not None]
    limits["container quota"] = available if available < min(known) else None
    why = [name for name, limit in limits.items() if limit == available]
    told = "nothing limits them" if why[0] == "logical cores" else " and ".join(why)
    return {"available": available, "why": told, "limits": limits}


def resolution() -> dict[str, Any]:
    """Find out whose ``phylozoo.utils.parallel`` a fresh interpreter imports, why, the remedy."""
    found: dict[str, Any] = dict.fromkeys(("phylozoo", "file", "ours", "theirs"))
    try:
        probe = [sys.executable, "-c", PROBE]
        run = subprocess.run(probe, capture_output=True, text=True, timeout=60)
        last = run.stdout.splitlines()[-1:]
        ended = f"a fresh interpreter ended with status {run.returncode} while importing it"
        found.update(json.loads(last[0]) if last else {"error": ended})
    except (subprocess.TimeoutExpired, ValueError) as error:
        found["error"] = f"a fresh interpreter gave no answer: {error}"
    file, phylozoo = found["file"], found["phylozoo"]
    if found["ours"]:
        whose, remedy = "ours", "Nothing to do."
        why = "PhyloZoo is not installed, so this import path is ours alone."
        if phylozoo:
            why = "Python prefers our package parallel/ to PhyloZoo's parallel.py beside it."
    elif found["theirs"]:
        whose = "PhyloZoo's"
        why = f"PhyloZoo is found in {os.path.dirname(phylozoo)}, where our part of it is not."
        remedy = (
            "Import from phylozoo_parallel, or install phylozoo (not editable) and "
            "phylozoo-parallel into one environment with one command."
        )
    else:
        whose = "broken"
        why = found["error"] or "It is neither ours nor PhyloZoo's."
        remedy = "Import from phylozoo_parallel, and " + (
            f"repair or remove {file or phylozoo}."
            if file or phylozoo
            else "install phylozoo-parallel into this environment."
        )
    return {"in_charge": whose, "file": file, "phylozoo": phylozoo, "why": why, "remedy": remedy}


def main(arguments: list[str] | None = None) -> int:
    """
    Print the report.

    Parameters
    ----------
    arguments : list of str or None
        Of the command line; None takes the program's.

    Returns
    -------
    int
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m phylozoo_parallel",
        description="Print the environment, and whose phylozoo.utils.parallel it has.",
        epilog="Exit status: 0 ours, 1 PhyloZoo's own, 2 broken.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args(arguments).json
    installed, counted, whose = versions(), cores(), resolution()
    if as_json:
        report = {"versions": installed, "cores": counted, "phylozoo.utils.parallel": whose}
        print(json.dumps(report, indent=2))
    else:
        show("versions", {name: version or "not installed" for name, version in installed.items()})
        show(f"cores available: {counted['available']} ({counted['why']})", counted["limits"])
        show("phylozoo.utils.parallel", whose)
    return STATUS[whose["in_charge"]]


def show(title: str, lines: dict[str, Any]) -> None:
    """Print a part of the report."""
    print(title)
    for name, value in lines.items():
        print(f"  {name:20}{'-' if value is None else value}")


if __name__ == "__main__":
    sys.exit(main())
