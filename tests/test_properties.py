"""Random programs of maps against the sequential model: whatever workers and readers do."""

import re

import programs
from conftest import run_python
from environments import ROOT
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

# Without shrinking: what threads and workers do first and last is not in the choices.
modest = settings(
    deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)


def check(choices, deadly, seed=0):
    program = programs.make(choices, deadly=deadly, largest=500)
    note(str(program))
    assert not programs.run(program, seed).wrong


@settings(modest, max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(0, 9))
def test_random_programs_are_right(choices, seed):
    check(choices, deadly=False, seed=seed)


@settings(modest, max_examples=5)
@given(st.randoms(use_true_random=False), st.integers(0, 9))
def test_random_programs_are_right_while_workers_die(choices, seed):
    check(choices, deadly=True, seed=seed)


def test_the_soak_program_finds_no_mismatch(monkeypatch):
    """It runs for a few seconds here; a longer run finds more."""
    monkeypatch.chdir(ROOT)
    done = run_python("-m", "tests.soak", "--minutes", "0.1", "--seed", "1", timeout=180)
    counts = {
        name: int(count) for count, name in re.findall(r"^ *(\d+)  (\w+)$", done.stdout, re.M)
    }
    assert counts["maps"]
    assert counts["mismatches"] == 0
