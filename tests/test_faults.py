"""Whatever goes wrong, the caller is told what, soon, and the next map is right.

The table is in faults.py, which also runs one case, or all of them to print a table.
"""

import json
import re

import faults
import pytest
from conftest import run_python

NAMES = [f"{case.name}-{backend}" for case, backend in faults.RUNS]


@pytest.fixture(scope="module")
def told_of(tmp_path_factory):
    """Tell what came of a case; those that may share an interpreter run at once, when asked."""
    known = {}

    def run(name, backend):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAULTS", str(tmp_path_factory.mktemp("faults")))
            done = run_python(faults.__file__, name, backend, timeout=180)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return {told["case"]: (told, done.stderr) for told in lines}

    def tell(case, backend):
        if not case.shares():
            return run(case.name, backend)[case.name]
        if backend not in known:
            known[backend] = run("shared", backend)
        return known[backend][case.name]

    return tell


@pytest.mark.parametrize(("case", "backend"), faults.RUNS, ids=NAMES)
def test_a_fault_does_what_the_table_says_and_no_more(case, backend, told_of):
    told, stderr = told_of(case, backend)
    assert faults.wrong(case, told) == [], told
    assert re.fullmatch(case.stderr, stderr)


def test_the_names_of_the_cases_differ():
    assert len(NAMES) == len(set(NAMES))
