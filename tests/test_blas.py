"""BLAS and OpenMP start as many threads in each worker as joblib allows, and as the page says."""

import json
import os

import joblib
import pytest
from environments import ROOT
from joblib import Parallel, delayed
from joblib._parallel_backends import LokyBackend

from phylozoo_parallel import MultiprocessingExecutor

pytest.importorskip("numpy")
pytest.importorskip("threadpoolctl")

VARIABLES = LokyBackend.MAX_NUM_THREADS_VARS
CORES = os.cpu_count() or 1
needs_two_cores = pytest.mark.skipif(CORES < 2, reason="needs two cores")


def threads_of_blas(_=None):
    """Return how many threads NumPy's BLAS has in this process."""
    import numpy
    from threadpoolctl import threadpool_info

    numpy.ones((2, 2)) @ numpy.ones((2, 2))
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


SEEN = """
import json, os, sys
import joblib
from test_blas import VARIABLES, threads_of_blas
from phylozoo_parallel import MultiprocessingExecutor

def seen(_):
    return threads_of_blas(), {name: os.environ.get(name) for name in VARIABLES}

if sys.argv[2] == "joblib":
    calls = (joblib.delayed(seen)(i) for i in range(4))
    results = joblib.Parallel(n_jobs=int(sys.argv[1]), batch_size=1)(calls)
else:
    results = list(MultiprocessingExecutor(int(sys.argv[1])).map(seen, range(4), 1))
assert all(result == results[0] for result in results)
print(json.dumps([joblib.cpu_count(), threads_of_blas(), *results[0]]))
"""


@pytest.fixture
def seen(run_script, monkeypatch):
    """Run a map in a new program; return its cores, the threads of BLAS and the variables."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests'}{os.pathsep}{os.getenv('PYTHONPATH', '')}")
    for name in (*VARIABLES, "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return lambda n_jobs, whose="ours": json.loads(run_script(SEEN, n_jobs, whose).stdout)


@pytest.mark.parametrize(("count", "n_jobs"), [(None, 2), ("1", 3), ("16", 2)])
def test_a_worker_gets_its_share_of_the_cores(seen, monkeypatch, count, n_jobs):
    if count:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", count)
    cores, at_home, in_worker, variables = seen(n_jobs)
    if count == "16":
        assert cores == min(CORES, 16)
    share = max(cores // n_jobs, 1)
    assert set(in_worker) == {share}
    assert variables == dict.fromkeys(VARIABLES, str(share))
    assert len(at_home) == len(in_worker)  # and at home nothing is limited:
    assert CORES == 1 or set(at_home) != {1}


def test_a_worker_gets_as_many_threads_as_in_joblib(seen):
    assert seen(2) == seen(2, "joblib")


def test_an_environment_variable_overrides_the_share(seen, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cores, _, in_worker, variables = seen(2)
    share = max(cores // 2, 1)
    assert set(in_worker) == {share}
    assert variables == {**dict.fromkeys(VARIABLES, str(share)), "OMP_NUM_THREADS": "7"}


@needs_two_cores
@pytest.mark.parametrize("count", [1, 2])
def test_inner_max_num_threads_overrides_the_share(processes, count):
    with joblib.parallel_config(backend="loky", inner_max_num_threads=count):
        for pools in processes.map(threads_of_blas, range(4), 1):
            assert set(pools) == {count}


SIXTEEN = """
import os, time
# Counted in the caller alone, whose count is the one that matters.
os.cpu_count = lambda: 16
os.sched_getaffinity = lambda _: set(range(16))

import joblib
from joblib import Parallel, delayed
from phylozoo_parallel import MultiprocessingExecutor
from phylozoo_parallel.__main__ import threads

assert joblib.cpu_count() == 16

def seen(_):
    time.sleep(0.01)
    return os.getpid(), os.environ["OMP_NUM_THREADS"]

for n_jobs, expected in (2, 8), (4, 4), (1, 8):
    ours = set(MultiprocessingExecutor(n_jobs).map(seen, range(40), 1))
    assert {count for _, count in ours} == {str(expected)}, (n_jobs, ours)
    if n_jobs > 1:
        assert threads(16)[f"n_jobs={n_jobs}"] == expected
        theirs = set(Parallel(n_jobs=n_jobs)(delayed(seen)(i) for i in range(40)))
        assert ours & theirs, (n_jobs, ours, theirs)  # the same workers serve both

first = {pid for pid, _ in MultiprocessingExecutor(2).map(seen, range(40), 1)}
assert not first & {pid for pid, _ in MultiprocessingExecutor(4).map(seen, range(40), 1)}
with joblib.parallel_config(backend="loky", inner_max_num_threads=3):
    first = set(MultiprocessingExecutor(2).map(seen, range(40), 1))
    assert {count for _, count in first} == {"3"}
    assert first <= set(MultiprocessingExecutor(4).map(seen, range(200), 1))
print("done")
"""


def test_shares_are_right_on_sixteen_cores(run_script, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert run_script(SIXTEEN).stdout == "done\n"


def test_the_page_runs_from_top_to_bottom(run_page):
    checks = {
        "values = ": "assert [round(value) for value in values] == [10, 20, 30]",
        "same = ": "assert [round(value) for value in same] == [10, 20, 30]",
    }
    run_page("blas.md", checks)


def test_the_table_of_the_page_is_right():
    from phylozoo_parallel.__main__ import threads

    lines = (ROOT / "docs" / "blas.md").read_text("utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    header, *rows = rows
    assert len(rows) == 4
    for cores, *counts in rows:
        told = threads(int(cores))
        assert [str(told.get(name.strip("`"), 1)) for name in header[1:]] == counts


def test_worker_threads_share_the_callers_blas(threads):
    from threadpoolctl import threadpool_limits

    at_home = threads_of_blas()
    assert list(threads.map(threads_of_blas, range(2))) == [at_home] * 2
    with threadpool_limits(1):
        assert all(set(pools) == {1} for pools in threads.map(threads_of_blas, range(2)))


def test_one_worker_gets_the_share_of_one_of_two():
    one, two = (MultiprocessingExecutor(n).map(threads_of_blas, range(4)) for n in (1, 2))
    assert list(one) == list(two) == Parallel(2)(delayed(threads_of_blas)() for _ in range(4))
