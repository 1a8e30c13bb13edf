"""Whatever goes wrong, the caller is told what, soon, and the next map is right.

The table is in faults.py, which also runs one case, or all of them to print a table.
"""

import json
import re

import faults
import pytest
from conftest import run_python

NAMES = [f"{case.name}-{backend}" for case, backend in faults.RUNS]


@pytest.mark.parametrize(("case", "backend"), faults.RUNS, ids=NAMES)
def test_a_fault_does_what_the_table_says_and_no_more(case, backend, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTS", str(tmp_path))
    done = run_python(faults.__file__, case.name, backend)
    (told,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert faults.wrong(case, told) == [], told
    assert re.fullmatch(case.stderr, done.stderr)


def test_the_names_of_the_cases_differ():
    assert len(NAMES) == len(set(NAMES))
