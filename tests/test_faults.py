"""Whatever goes wrong, the caller is told what, soon, and the next map is right.

The table is in faults/, which also runs one case, or all of them to print a table.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

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


def outcomes(tmp_path_factory, name, backend):
    """Run one case, or all that may share an interpreter; return their outcomes by name."""
    variables = {"FAULTS": str(tmp_path_factory.mktemp("faults"))}
    done = run_python(
        "-m", "tests.faults", name, backend, timeout=180, folder=ROOT, variables=variables
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {told["case"]: (told, done.stderr) for told in lines}


def chosen(session):
    """Return the cases and backends of the tests that will run."""
    for item in session.items:
        skipped = any(mark.args[0] for mark in item.iter_markers("skipif"))
        if item.path == Path(__file__) and hasattr(item, "callspec") and not skipped:
            yield item.callspec.params["case"], item.callspec.params["backend"]


@pytest.fixture(scope="module")
def told_of(tmp_path_factory, request):
    """Return the outcome of a case; as they mostly wait, several run at a time."""
    run = partial(outcomes, tmp_path_factory)

    def program(case):
        return "shared" if case.shares() else case.name

    with ThreadPoolExecutor(3) as several:
        wanted = {(program(case), backend) for case, backend in chosen(request.session)}
        longest_first = sorted(wanted, key=lambda which: ("hangs" not in which[0], which))
        begun = {which: several.submit(run, *which) for which in longest_first}

        def tell(case, backend):
            which = program(case), backend
            found = begun.get(which) if case.shares() else begun.pop(which, None)
            return (found.result() if found else run(*which))[case.name]

        yield tell


@pytest.mark.parametrize(("case", "backend"), [here(*run) for run in cases.RUNS], ids=NAMES)
def test_each_fault_does_what_the_table_says(case, backend, told_of):
    told, stderr = told_of(case, backend)
    assert runner.wrong(case, told) == [], told
    assert re.fullmatch(case.stderr, stderr)


def test_each_fault_has_a_name_of_its_own():
    assert len(NAMES) == len(set(NAMES))
