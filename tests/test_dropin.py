"""Beside the real PhyloZoo: code that was written for its module runs unchanged on ours."""

from __future__ import annotations

import ast
import doctest
import re
import zipfile
from pathlib import Path

import pytest
from environments import (
    PAGE,
    Environment,
    newest_phylozoo,
    only_ours,
    our_wheel,
    page_script,
    phylozoo_elsewhere,
    phylozoo_version,
    run,
    with_phylozoo,
)

OURS = Path("phylozoo/utils/parallel/__init__.py")
THEIRS = Path("phylozoo/utils/parallel.py")


@pytest.fixture(params=["newest", "lowest"])
def version(request: pytest.FixtureRequest) -> str:
    return phylozoo_version(request.param)


@pytest.fixture
def beside(version: str) -> Environment:
    return with_phylozoo(version)


@pytest.fixture
def elsewhere(version: str) -> Path:
    return phylozoo_elsewhere(version)


def test_the_documented_classes_are_ours(beside: Environment) -> None:
    code = """
import phylozoo, phylozoo_parallel, phylozoo.utils.parallel as documented
assert phylozoo.__file__ and phylozoo.DistanceMatrix
assert documented.ParallelConfig is phylozoo_parallel.ParallelConfig
assert sorted(documented.__all__) == sorted(phylozoo_parallel.__all__)
for name in documented.__all__:
    assert getattr(documented, name) is getattr(phylozoo_parallel, name)
"""
    run([beside.python, "-c", code], beside.home)
    assert beside.parallel_file() == OURS
    assert "No broken requirements" in beside.pip("check")


def test_the_documented_page_runs_beside_phylozoo(beside: Environment, tmp_path: Path) -> None:
    assert run([beside.python, page_script(tmp_path)], tmp_path).stderr == ""


def test_the_documented_page_runs_without_phylozoo(tmp_path: Path) -> None:
    alone = only_ours()
    assert run([alone.python, page_script(tmp_path)], tmp_path).stderr == ""
    assert alone.parallel_file() == OURS
    assert "No broken requirements" in alone.pip("check")
    listed = alone.pip("list")
    assert "phylozoo-parallel" in listed
    assert "numpy" not in listed


def test_the_documented_page_has_every_example_of_phylozoo() -> None:
    """Compare statements, whatever their layout; what PhyloZoo leaves to be filled in is ours."""
    with zipfile.ZipFile(newest_phylozoo()) as archive:
        module = ast.parse(archive.read(THEIRS.as_posix()))
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    examples = [
        statement
        for documented in [module, *classes]
        for example in doctest.DocTestParser().get_examples(ast.get_docstring(documented) or "")
        for statement in ast.parse(example.source).body
    ]
    assert len(examples) >= 10
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    shown = {printed(node) for block in blocks for node in ast.parse(block).body}
    assert not {printed(example) for example in examples} - shown


def printed(node: ast.stmt) -> str:
    return f"def {node.name}" if isinstance(node, ast.FunctionDef) else ast.unparse(node)


def test_each_package_survives_the_removal_of_the_other_in_any_order(version: str) -> None:
    both = with_phylozoo(version)
    wheel = our_wheel()
    try:
        both.pip("uninstall", "-y", "-q", "phylozoo-parallel")
        assert both.parallel_file() == THEIRS
        both.install(wheel)
        assert both.parallel_file() == OURS
        both.pip("uninstall", "-y", "-q", "phylozoo")
        assert both.parallel_file() == OURS
        both.pip("install", "-q", "--no-deps", f"phylozoo=={version}")
        assert both.parallel_file() == OURS
    finally:
        both.pip("install", "-q", "--no-deps", f"phylozoo=={version}", wheel)


SMALL_PACKAGE = '''
"""A package that was written against PhyloZoo's own module."""

import os

from phylozoo.utils.exceptions import PhyloZooError, PhyloZooValueError
from phylozoo.utils.parallel import ParallelBackend, ParallelConfig, ParallelExecutor


def branch(parallel=None):
    if parallel is None or parallel.backend == ParallelBackend.SEQUENTIAL:
        return "in order"
    if parallel.backend == ParallelBackend.MULTIPROCESSING:
        return "processes"
    assert parallel.backend in (ParallelBackend.THREADING,)
    return {ParallelBackend.THREADING: "threads"}[parallel.backend]


def inner_branch(x):
    """Length of an inner branch of a caterpillar tree, and where this was computed."""
    return x[1] - x[0], os.getpid()


def tidy_up(executor):
    if hasattr(executor, "_pool") and executor._pool is not None:
        executor._pool.close()
        executor._pool.join()
    if hasattr(executor, "_executor"):
        executor._executor.shutdown(wait=True)


def lengths(pairs, parallel=None):
    if parallel is None:
        parallel = ParallelConfig(backend=ParallelBackend.SEQUENTIAL)
    executor: ParallelExecutor = parallel.get_executor()
    try:
        return list(executor.map(inner_branch, pairs, chunksize=2))
    finally:
        tidy_up(executor)


def config_or_error(name, n_jobs=None):
    try:
        config = ParallelConfig(backend=name, n_jobs=n_jobs)
        tidy_up(config.get_executor())
    except PhyloZooValueError as error:
        assert isinstance(error, (PhyloZooError, ValueError))
        return f"caught: {error}"
    return branch(config)


def wrong(name):
    """For a worker: raises what PhyloZoo's documentation promises."""
    return ParallelConfig(backend=name)
'''

USE = """
import os
import small_package
from phylozoo.utils.parallel import ParallelBackend, ParallelConfig

pairs = [(a, b) for a in range(6) for b in range(a)]
expected = [b - a for a, b in pairs]
for backend, name in zip(ParallelBackend, ["in order", "threads", "processes"]):
    for config in ParallelConfig(backend, 2), ParallelConfig(backend.value, n_jobs=2, chunksize=3):
        assert small_package.branch(config) == name
        for _ in range(2):  # what it tidies up is not missing afterwards
            results = small_package.lengths(pairs, config)
            assert [length for length, _ in results] == expected
            assert (os.getpid() in {process for _, process in results}) == (name != "processes")
assert small_package.branch() == "in order"
assert small_package.config_or_error("mpi").startswith("caught: Unknown backend: ")
assert small_package.config_or_error("multiprocessing", 0).startswith("caught: n_jobs must be ")

# In the workers, too, its imports lead to our classes, and its except clause catches our errors.
def inside(name):
    import phylozoo, phylozoo_parallel
    assert phylozoo.__file__
    assert small_package.ParallelConfig is phylozoo_parallel.ParallelConfig
    told = small_package.config_or_error(name, 2)
    nested = small_package.lengths(pairs, small_package.ParallelConfig(n_jobs=2))
    return told, [length for length, _ in nested], os.getpid()

executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
for told, nested, process in executor.map(inside, ["multiprocessing", "mpi"]):
    assert told == "processes" or told.startswith("caught: ")
    assert nested == expected and process != os.getpid()
try:
    list(executor.map(small_package.wrong, ["mpi"]))
except small_package.PhyloZooValueError as error:
    assert "mpi" in str(error)
else:
    raise AssertionError("nothing was raised")
print("to the end")
"""


def run_script(environment: Environment, directory: Path, code: str, *path: Path) -> None:
    (directory / "small_package.py").write_text(SMALL_PACKAGE)
    (directory / "script.py").write_text(code)
    done = run([environment.python, "script.py"], directory, path)
    assert (done.stdout, done.stderr) == ("to the end\n", "")


def test_a_package_written_for_phylozoo_runs_unchanged(beside: Environment, tmp_path: Path) -> None:
    run_script(beside, tmp_path, USE)


def test_the_package_of_the_test_imports_nothing_of_ours(elsewhere: Path, tmp_path: Path) -> None:
    """Hold the package above to PhyloZoo's own module, or it would prove nothing."""
    code = USE.partition("# In the workers")[0] + 'print("to the end")'
    guarded = (
        "def main():\n    "
        + code.replace("\n", "\n    ")
        + "\n\nif __name__ == '__main__':\n    main()"
    )
    run_script(only_ours(), tmp_path, guarded, elsewhere)


MIXED = """
import os, sys
import phylozoo_parallel as ours
import phylozoo.utils.parallel as theirs
import small_package
from phylozoo.utils.exceptions import PhyloZooValueError

assert theirs.ParallelConfig is not ours.ParallelConfig
assert small_package.ParallelConfig is theirs.ParallelConfig

def caught(func, *arguments):
    try:
        func(*arguments)
    except PhyloZooValueError as error:
        assert isinstance(error, ours.PhyloZooValueError) and isinstance(error, ValueError)
        return str(error)
    raise AssertionError("nothing was raised")

def without_phylozoo(name):
    assert "phylozoo" not in sys.modules, "the worker was to be without PhyloZoo"
    ours.ParallelConfig(name)

def with_phylozoo(name):
    import phylozoo.utils.exceptions
    ours.ParallelConfig(name)

def caught_inside(name):
    from phylozoo.utils.exceptions import PhyloZooValueError
    try:
        ours.ParallelConfig(name)
    except PhyloZooValueError:
        return os.getpid()

def over_there(func):
    return caught(lambda: list(executor.map(func, ["mpi"])))

# The workers are new, so the first map finds them without PhyloZoo.
executor = ours.ParallelConfig("multiprocessing", n_jobs=2).get_executor()
assert "mpi" in over_there(without_phylozoo)
assert "mpi" in over_there(with_phylozoo)
assert list(executor.map(caught_inside, ["mpi"])) != [os.getpid()]

assert "mpi" in caught(ours.ParallelConfig, "mpi")
assert "n_jobs" in caught(ours.ThreadingExecutor, 0)
assert "chunksize" in caught(executor.map, abs, [1], 0)

pairs = [(a, b) for a in range(6) for b in range(a)]
expected = [b - a for a, b in pairs]
for mine, name in zip(ours.ParallelBackend, ["in order", "threads", "processes"]):
    for config in (
        ours.ParallelConfig(mine, n_jobs=2),
        ours.ParallelConfig(backend=theirs.ParallelBackend[mine.name], n_jobs=2),
    ):
        assert config.backend is mine
        assert small_package.branch(config) == name
        assert [length for length, _ in small_package.lengths(pairs, config)] == expected
    for other in theirs.ParallelBackend:
        same = mine.name == other.name
        assert (mine == other) is same and (other == mine) is same
        assert (mine != other) is not same and (other != mine) is not same
        assert (hash(mine) == hash(other)) is same
        assert (mine in {other}) is same and (other in {mine}) is same
assigned = ours.ParallelConfig()
assigned.backend = theirs.ParallelBackend.MULTIPROCESSING
assert type(assigned.get_executor()) is ours.MultiprocessingExecutor
print("to the end")
"""


def test_configurations_of_ours_work_where_phylozoos_module_is_imported(
    elsewhere: Path, tmp_path: Path
) -> None:
    run_script(only_ours(), tmp_path, MIXED, elsewhere)


UNTIED = """
import sys
import phylozoo_parallel as ours

def with_phylozoo(name):
    import phylozoo.utils.exceptions
    try:
        ours.ParallelConfig(name)
    except phylozoo.utils.exceptions.PhyloZooValueError:
        raise

executor = ours.ParallelConfig("multiprocessing", n_jobs=2).get_executor()
try:
    list(executor.map(with_phylozoo, ["mpi"]))
except ours.PhyloZooValueError as error:
    assert type(error) is ours.PhyloZooValueError and "mpi" in str(error)
    assert "phylozoo" not in sys.modules
    from phylozoo.utils.exceptions import PhyloZooValueError
    try:
        ours.ParallelConfig("mpi")
    except PhyloZooValueError:
        print("to the end")
"""


def test_an_error_from_a_worker_with_phylozoo_does_not_load_it(
    elsewhere: Path, tmp_path: Path
) -> None:
    run_script(only_ours(), tmp_path, UNTIED, elsewhere)
