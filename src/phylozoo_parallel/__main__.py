"""
Report on this environment: versions, cores, threads, joblib, whose phylozoo.utils.parallel.

Exit status: 0 if phylozoo.utils.parallel is this library's, 1 if it is PhyloZoo's own module, 2 if
it cannot be imported or is neither.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from typing import Any

STATUS = {"ours": 0, "PhyloZoo's": 1, "broken": 2}
DISTRIBUTIONS = ("phylozoo-parallel", "joblib", "loky", "cloudpickle", "numpy", "phylozoo")

# Both run in a fresh interpreter, because what this one has imported may hide what a new one finds.
PROBE = """
import importlib.util, json
found = {}
try:
    for key, name in ("phylozoo", "phylozoo"), ("file", "phylozoo.utils.parallel"):
        spec = importlib.util.find_spec(name)
        found[key] = spec and spec.origin
    config = importlib.import_module(name).ParallelConfig
    found["ours"] = config is importlib.import_module("phylozoo_parallel").ParallelConfig
except BaseException as error:
    found["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""

EXAMINE = """
import json
found = {}
try:
    from phylozoo_parallel._loky import opened
    found["missing"] = opened.examine()
except BaseException as error:
    found["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def versions() -> dict[str, str | None]:
    """Return the version of Python and of each distribution; None where it is not installed."""
    found = {"python": platform.python_version(), **dict.fromkeys(DISTRIBUTIONS)}
    for name in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def cores() -> dict[str, Any]:
    """Return the number of cores that ``n_jobs=-1`` means, why, and what may limit it."""
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
    # No function returns the container's quota. It is what limits, if nothing else explains it.
    equal = [name for name, limit in limits.items() if limit == available]
    limits["container quota"] = None if equal else available
    why = "nothing limits them" if "logical cores" in equal else " and ".join(equal)
    return {"available": available, "why": why or "container quota", "limits": limits}


def threads(available: int) -> dict[str, Any]:
    """Return how many threads BLAS and OpenMP may use in a worker, and what overrides that."""
    counts = {f"n_jobs={n}": available // n for n in (2, 4, 8, 16, 32, 64) if n < available}
    overrides = {name: value for name, value in os.environ.items() if name.endswith("_THREADS")}
    return {**counts, "n_jobs=-1": 1, **overrides}


def insides() -> dict[str, Any]:
    """Return whether maps run on joblib's open pools, or else more slowly and why."""
    found = _in_a_fresh_interpreter(EXAMINE)
    if "error" in found:
        return {"maps": "cannot run", "missing": found["error"]}
    how = "slower, on plain calls of Parallel" if found["missing"] else "on its open pools"
    return {"maps": how, "missing": found["missing"] or None}


def _in_a_fresh_interpreter(code: str) -> dict[str, Any]:
    """Return what a program prints as JSON, or an entry "error" that says why it did not."""
    try:
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    except IndexError:
        return {"error": f"a fresh interpreter ended with status {run.returncode} importing it"}
    except (subprocess.TimeoutExpired, ValueError) as error:
        return {"error": f"a fresh interpreter gave no answer: {error}"}
    return found


def resolution() -> dict[str, Any]:
    """Return whose ``phylozoo.utils.parallel`` a fresh interpreter imports, why, and a remedy."""
    found = _in_a_fresh_interpreter(PROBE)
    file: Any = found.get("file")
    phylozoo: Any = found.get("phylozoo")
    whose, remedy = "ours", "Nothing to do."
    if found.get("ours") and phylozoo:
        why = "Python prefers our package parallel/ to PhyloZoo's parallel.py beside it."
    elif found.get("ours"):
        why = "PhyloZoo is not installed, so this import path is ours alone."
    elif "ours" in found and file.startswith(os.path.dirname(phylozoo or "/") + os.sep):
        whose = "PhyloZoo's"
        why = f"PhyloZoo is found in {os.path.dirname(phylozoo)}, where our part of it is not."
        remedy = "Import from phylozoo_parallel, or put both into one environment, not editable."
    else:
        whose, at = "broken", file or phylozoo
        why = found.get("error") or "It is neither ours nor PhyloZoo's."
        repair = f"repair or remove {at}" if at else "install phylozoo-parallel here"
        remedy = f"Import from phylozoo_parallel, and {repair}."
    return {"in_charge": whose, "file": file, "phylozoo": phylozoo, "why": why, "remedy": remedy}


def main(arguments: list[str] | None = None) -> int:
    """
    Print the report.

    Parameters
    ----------
    arguments : list of str or None
        Arguments of the command line; None takes those of this program.

    Returns
    -------
    int
        The exit status.
    """
    parser = argparse.ArgumentParser("python -m phylozoo_parallel", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args(arguments).json
    report = {"versions": versions(), "cores": cores()}
    report["threads of BLAS and OpenMP in a worker"] = threads(report["cores"]["available"] or 1)
    report["joblib"] = insides()
    report["phylozoo.utils.parallel"] = whose = resolution()
    if as_json:
        print(json.dumps(report, indent=2))
        return STATUS[whose["in_charge"]]
    for title, part in report.items():
        print(title)
        limits = part.pop("limits", {})
        missing = "not installed" if title == "versions" else "-"
        for name, value in {**part, **limits}.items():
            print(f"  {name:24}{missing if value is None else value}")
    return STATUS[whose["in_charge"]]


if __name__ == "__main__":
    sys.exit(main())
