"""Whatever goes wrong, the caller is told what, soon, and the next map is right.

The table is in faults/, which also runs one case, or all of them to print a table.
"""

import json
import re

import pytest
from conftest import run_python
from environments import ROOT
from faults import cases, runner
from systems import needs_linux, needs_posix

NAMES = [f"{case.name}-{backend}" for case, backend in cases.RUNS]

LINUX = "more memory than allowed|out of memory"
POSIX = "Ctrl-C|alarm|signal|room|descriptor|half an|closed|while the program ends|interrupt"


def here(case, backend):
    """Return a case, with a mark if this system cannot run it."""
    if re.search(LINUX, case.name):
        return pytest.param(case, backend, marks=needs_linux("keeps a limit of memory"))
    if re.search(POSIX, case.name):
        return pytest.param(case, backend, marks=needs_posix("signal, pipe or limit like it"))
    return pytest.param(case, backend)


@pytest.fixture(scope="module")
def told_of(tmp_path_factory):
    """Return the outcome of a case; cases that may share an interpreter run together."""
    known = {}

    def run(name, backend):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAULTS", str(tmp_path_factory.mktemp("faults")))
            patch.chdir(ROOT)
            done = run_python("-m", "tests.faults", name, backend, timeout=180)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return {told["case"]: (told, done.stderr) for told in lines}

    def tell(case, backend):
        if not case.shares():
            return run(case.name, backend)[case.name]
        if backend not in known:
            known[backend] = run("shared", backend)
        return known[backend][case.name]

    return tell


@pytest.mark.parametrize(("case", "backend"), [here(*run) for run in cases.RUNS], ids=NAMES)
def test_each_fault_does_what_the_table_says(case, backend, told_of):
    told, stderr = told_of(case, backend)
    assert runner.wrong(case, told) == [], told
    assert re.fullmatch(case.stderr, stderr)


def test_each_fault_has_a_name_of_its_own():
    assert len(NAMES) == len(set(NAMES))
