"""Real environments for the tests: our wheel, PhyloZoo's releases, and the documented page."""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "interface.md"
LOWEST = re.findall(r'"phylozoo>=([\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))[0]
"""The oldest PhyloZoo that is supported."""


def run(
    command: Sequence[str | Path],
    directory: Path,
    path: Sequence[Path] = (),
    status: int = 0,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program that has to end with `status`, with `path` as its PYTHONPATH."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LOKY_MAX_CPU_COUNT")
    }
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        env={**environment, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def page_script(
    directory: Path, checks: Mapping[str, str] | None = None, page: Path = PAGE
) -> Path:
    """
    Write the blocks of a page of the documentation to a script without a main guard.

    After the first block that holds a key of `checks` go its value's assertions. A block with
    a file's name goes to that file.
    """
    left = dict(checks or {})
    script = []
    for file, block in re.findall(
        r"^```python *(\S*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S
    ):
        if file:
            (directory / file).write_text(block, encoding="utf-8")
            continue
        script.append(block)
        script += [left.pop(key) for key in list(left) if key in block]
    assert not left, f"no block of the page has {list(left)}"
    target = directory / "page.py"
    target.write_text("\n".join(script), encoding="utf-8")
    return target


@cache
def scratch() -> Path:
    """Make a directory for what is built once for all tests; removed in the end, for its size."""
    home = Path(mkdtemp(prefix="phylozoo-parallel-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


@cache
def uv() -> tuple[str, ...]:
    """Return the command of uv, which installs fast; an empty tuple if there is none."""
    if importlib.util.find_spec("uv"):
        return sys.executable, "-m", "uv"
    found = shutil.which("uv")
    return (found,) if found else ()


class Environment:
    """A fresh virtual environment of this interpreter, with what `requirements` name."""

    def __init__(self, *requirements: str | Path) -> None:
        self.home = Path(mkdtemp(dir=scratch()))
        self.python = self.home / ("Scripts" if os.name == "nt" else "bin") / "python"
        if uv():
            run([*uv(), "venv", "-q", "--seed", "--python", sys.executable, "."], self.home)
        else:
            run([sys.executable, "-m", "venv", "."], self.home)
        if requirements:
            self.install(*requirements)

    def install(self, *arguments: str | Path) -> None:
        """Install with uv, or else with pip."""
        if uv():
            run([*uv(), "pip", "install", "-q", "--python", self.python, *arguments], self.home)
        else:
            self.pip("install", "-q", *arguments)

    def pip(self, *arguments: str | Path) -> str:
        """Run pip itself."""
        return run([self.python, "-m", "pip", *arguments], self.home).stdout

    def parallel_file(self) -> Path:
        """Return the file of ``phylozoo.utils.parallel``, relative to the site directory."""
        code = "import phylozoo.utils.parallel as it; print(it.__file__)"
        file = Path(run([self.python, "-c", code], self.home).stdout.strip())
        return Path(*file.parts[file.parts.index("phylozoo") :])


@cache
def our_wheel() -> Path:
    """Build our wheel from these sources."""
    out = Path(mkdtemp(dir=scratch()))
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", out]
    if importlib.util.find_spec("hatchling"):
        build.append("--no-isolation")
    run([*build, ROOT], out)
    (wheel,) = out.glob("*.whl")
    return wheel


@cache
def only_ours() -> Environment:
    """Make an environment with our wheel and without PhyloZoo."""
    return Environment(our_wheel())


@cache
def with_phylozoo(version: str) -> Environment:
    """Make an environment with PhyloZoo and our wheel."""
    return Environment(f"phylozoo=={version}", our_wheel())


@cache
def phylozoo_elsewhere(version: str) -> Path:
    """Install PhyloZoo into a directory of its own, to be put on PYTHONPATH."""
    site = Path(mkdtemp(dir=scratch()))
    only_ours().install("--target", site, f"phylozoo=={version}")
    return site


@cache
def newest_phylozoo() -> Path:
    """Fetch the wheel of PhyloZoo's newest release."""
    out = Path(mkdtemp(dir=scratch()))
    only_ours().pip("download", "-q", "--no-deps", "--dest", out, "phylozoo")
    (wheel,) = out.glob("*.whl")
    return wheel


def phylozoo_version(name: str) -> str:
    """Return the release that ``"newest"`` or ``"lowest"`` stands for; skip one that repeats."""
    newest = newest_phylozoo().name.split("-")[1]
    if name == "newest":
        return newest
    if newest == LOWEST:
        pytest.skip(f"{LOWEST} is the newest release, and is tested as such")
    return LOWEST
