"""
Copies of joblib that are not as we know it: with a name changed, or with another loky.

A copy stands in a directory that is put in front of PYTHONPATH. As a program::

    python tests/skew.py next DIRECTORY       joblib with the installed loky in its copy's place
    python tests/skew.py outside DIRECTORY    joblib without its copy of loky
"""

from __future__ import annotations

import importlib.util
import multiprocessing.queues
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

SPECIAL = {
    "_reader": r"(?<=thread_wakeup\.)_reader\b|(?<=self\.)_reader(?=, self\._writer = mp)"
    r"|(?<=self\.)_reader(?=\.poll\(\))|(?<=    self\.)_reader(?=\.recv_bytes)"
    r"|(?<=_writer\.close\(\)\n            self\.)_reader",
    "clear": r"(?<=thread_wakeup\.)clear\b|def clear(?=\(self\):\n        if not self\._closed)",
    "dumps": r"(?<=reduction import )dumps\b|\bdumps(?=\(obj, reducers)",
    "ensure_running": r"(?m)^ensure_running(?= =)|(?<=[ (]resource_tracker\.)ensure_running\b",
    "n_jobs": r"(?<=self\.)n_jobs\b|(?<=self\.parallel\.)n_jobs\b",
    "shutdown": r"(?<=flags\.)shutdown\b(?!\()|(?<=self\.)shutdown\b(?! ?\()",
    "submit": r"(?<=backend\.)submit\b|def submit(?=\(self, func, callback)",
    "terminate": r"(?<=_workers\.)terminate\b|(?<=def )terminate(?=\(self, kill_workers)",
}
"""Names that the standard library or joblib's users know too: the attribute inside is meant."""


def package(name: str) -> Path:
    """Find the directory of an installed package."""
    origin = getattr(importlib.util.find_spec(name), "origin", None)
    assert origin, f"{name} is not installed"
    return Path(origin).parent


def copy_joblib(home: Path) -> Path:
    """Copy joblib, without its tests."""
    # With the compiled files, which fit as long as the sources stay as old as they are.
    ignored = shutil.ignore_patterns("test", "testing.py")
    return Path(shutil.copytree(package("joblib"), home / "joblib", ignore=ignored))


def edit(directory: Path, change: Callable[[str], str]) -> int:
    """Change the text of every module below a directory; return how many have changed."""
    changed = 0
    for file in directory.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if (new := change(text)) != text:
            file.write_text(new, encoding="utf-8")
            changed += 1
    return changed


def next_joblib(home: Path, mended: bool = True) -> None:
    """
    Make a joblib whose own copy of loky is the installed one.

    Parameters
    ----------
    home : Path
        A directory for it.
    mended : bool
        Whether joblib does without what that loky has not, as its maintainers will see to.
    """
    joblib = copy_joblib(home)
    loky = joblib / "externals" / "loky"
    shutil.rmtree(loky)
    shutil.copytree(package("loky"), loky)
    edit(loky, lambda text: re.sub(r"from loky\b", "from joblib.externals.loky", text))
    if mended:
        _mend(joblib)


def outside_joblib(home: Path) -> None:
    """Make a joblib without its own copy of loky, which uses the installed one."""
    joblib = copy_joblib(home)
    shutil.rmtree(joblib / "externals")
    found = edit(
        joblib,
        lambda text: re.sub(r"from \.externals import (\w+)", r"import \1", text).replace(
            "from .externals.", "from "
        ),
    )
    assert found, "joblib has no copy of loky"
    _mend(joblib)


def _mend(joblib: Path) -> None:
    """Make joblib work without the lock that loky 3.7 no longer has."""
    edit(joblib, lambda text: text.replace("with self._submit_resize_lock:", "if True:"))


def renamed(home: Path, name: str) -> None:
    """
    Make a joblib that works, and has given another name to something inside.

    Parameters
    ----------
    home : Path
        A directory for it.
    name : str
        An identifier, or a module with dots between its packages.
    """
    joblib = copy_joblib(home)
    if name.startswith("joblib."):
        found = _move(joblib, name)
    else:
        _own_queues(joblib / "externals" / "loky" / "backend")
        pattern = re.compile(SPECIAL.get(name, rf"(?<![\w.-]){name}\b|(?<=\.){name}\b"))
        found = edit(joblib, lambda text: pattern.sub(lambda it: f"{it[0]}_renamed", text))
    assert found, f"joblib has no {name}"


def _own_queues(backend: Path) -> None:
    """Put loky's queues on a copy of the standard library's, so that names can change."""
    text = Path(multiprocessing.queues.__file__).read_text(encoding="utf-8")
    text = re.sub(r"from \.(\w*) import", r"from multiprocessing.\1 import", text)
    text = text.replace("multiprocessing. import", "multiprocessing import")
    (backend / "own_queues.py").write_text(text, encoding="utf-8")
    edit(backend, lambda it: it.replace("from multiprocessing.queues", "from .own_queues"))


def _move(joblib: Path, module: str) -> int:
    """Rename a module, and return how many others import it."""
    *packages, name = module.split(".")[1:]
    place = joblib.joinpath(*packages, name)
    new = f"{name}_renamed"
    if place.is_dir():
        place.rename(place.with_name(new))
    else:
        place.with_suffix(".py").rename(place.with_name(f"{new}.py"))

    def moved(line: re.Match[str]) -> str:
        path = re.sub(rf"(?<=\.){name}\b", new, line[1])
        return path + re.sub(rf"\b{name}\b", f"{new} as {name}", line[2])

    return edit(joblib, lambda text: re.sub(r"(?m)^(\s*from \.[\w.]*)( import .*)$", moved, text))


KINDS = {"next": next_joblib, "outside": outside_joblib}

if __name__ == "__main__":
    kind, directory = sys.argv[1:]
    shutil.rmtree(Path(directory) / "joblib", ignore_errors=True)
    KINDS[kind](Path(directory))
