"""What type checkers say of what users write: our pages, a client package, typed_uses.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import ROOT, Environment, our_wheel, run

TESTS = ROOT / "tests"
CLIENT = TESTS / "client"
BLOCK = re.compile(r"^```python *(\S*)\n(.*?)^```$", re.M | re.S)

# The pages' own functions mostly have no annotations, so that they stay short. A user who has mypy
# on `strict` annotates them, and allows for libraries without types; all else is checked for pages
# as it is for that user.
USERS_OWN = "no-untyped-def, no-untyped-call, var-annotated, import-untyped, import-not-found"

TOLERATED = {
    'bootstrap(["x"]': "wrong on purpose: the test of an error",
    "builtins.model_rate": "a name that is put there when the program runs",
    "workers=executor.map": "SciPy has no types; pyright takes the default, 1, for all it accepts",
    "workers=half.map": "the same",
    "dynesty.NestedSampler(": "pyright takes its __new__ for the function that users call",
    "nlive=30": "the same",
    "SLURMCluster": "dask-jobqueue, where it is installed, exports no names",
    "cluster.scale(jobs=2)": "the same, and Dask's types know no cluster that is not asynchronous",
    "network.incident_undirected_edges": "physquirrel has no types, and pyright guesses wrong",
}
"""Complaints about lines that hold these are not about our types."""


def scripts() -> Iterator[tuple[str, str]]:
    """Give the name and text of each script that our pages and notebooks make up."""
    for page in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]:
        blocks = BLOCK.findall(page.read_text("utf-8"))
        yield from ((file, block) for file, block in blocks if file)
        pasted = "\n".join(block for file, block in blocks if not file)
        if pasted:
            yield f"{page.stem.replace('-', '_')}_page.py".lower(), pasted
    for book in sorted((ROOT / "docs").glob("*.ipynb")):
        cells = json.loads(book.read_text("utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        yield f"{book.stem.replace('-', '_')}_notebook.py", "\n\n".join(code)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all of it into one directory, for one run of each checker."""
    home = tmp_path_factory.mktemp("written")
    pages = dict(scripts())
    assert len(pages) > 15
    for name, text in pages.items():
        comment = f'# mypy: disable-error-code="{USERS_OWN}"'
        (home / name).write_text(f"{comment}\n{text}", encoding="utf-8")
    shutil.copytree(CLIENT / "src" / "pairwise", home / "pairwise")
    strict = {
        f"{name}.py": (TESTS / folder / f"{name}.py").read_text("utf-8")
        for folder, name in [("client/tests", "test_pairwise"), (".", "typed_uses")]
    }
    strict["typed_uses_ours.py"] = strict["typed_uses.py"].replace(
        "from phylozoo.utils.parallel", "from phylozoo_parallel"
    )
    strict["pairwise/__init__.py"] = (home / "pairwise" / "__init__.py").read_text("utf-8")
    for name, text in strict.items():
        (home / name).write_text(f"# pyright: strict\n{text}", encoding="utf-8")
    standard = {"typeCheckingMode": "standard", "reportMissingImports": False}
    standard["reportUnnecessaryTypeIgnoreComment"] = True
    (home / "pyrightconfig.json").write_text(json.dumps(standard))
    return home


def complaints(command: list[str], home: Path, parse: str) -> Iterator[str]:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=home, capture_output=True, text=True, timeout=600
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(parse, done.stdout, re.M)
    assert bool(found) == bool(done.returncode), done.stdout
    for file, number, message in found:
        line = (home / file).read_text("utf-8").splitlines()[int(number) - 1]
        if not any(known in line for known in TOLERATED):
            yield f"{file}:{number}: {line.strip()}: {message}"


def mypy(home: Path) -> list[str]:
    command = ["mypy", "--strict", "--no-pretty", "--no-error-summary", "--cache-dir", "cache", "."]
    return list(complaints(command, home, r"^([^:\n]+):(\d+): error: (.*)$"))


def pyright(home: Path) -> list[str]:
    command = ["basedpyright", "--pythonpath", sys.executable, "--level", "error"]
    parse = rf"^ *{re.escape(str(home.resolve()))}.([^:\n]+):(\d+):\d+ - error: (.*)$"
    return list(complaints(command, home, parse))


@pytest.mark.parametrize("check", [mypy, pyright])
def test_code_that_users_write_passes_type_checkers(check, written):
    pytest.importorskip("mypy" if check is mypy else "basedpyright")
    pytest.importorskip("numpy")
    found = check(written)
    assert not found, "\n".join(found)


def test_known_limits_of_type_checkers_still_exist():
    text = "\n".join(text for _, text in scripts())
    assert [known for known in TOLERATED if known not in text] == []


def test_a_client_package_passes_its_own_tests(tmp_path):
    """It installs from its metadata, beside our wheel and without PhyloZoo."""
    environment = Environment(our_wheel(), CLIENT, "pytest>=8")
    shutil.copytree(CLIENT / "tests", tmp_path / "tests")
    shutil.copy(CLIENT / "pyproject.toml", tmp_path)
    done = run([environment.python, "-m", "pytest", "-q", "tests"], tmp_path)
    assert "12 passed" in done.stdout
