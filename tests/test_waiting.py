"""How loky's manager thread waits for results, and how workers pickle them."""

import multiprocessing.connection
import os
import select
import signal
from importlib import import_module

import pytest
from joblib import Parallel, delayed
from systems import needs_posix

from phylozoo_parallel import MultiprocessingExecutor
from phylozoo_parallel._loky import contract
from phylozoo_parallel._loky.start import current
from phylozoo_parallel._loky.waiting import _Wait

pytestmark = pytest.mark.core
keeps = pytest.mark.skipif(not hasattr(select, "poll"), reason="this system has no select.poll")


@keeps
def test_only_what_is_ready_is_returned_and_changes_are_noticed():
    pipes = [multiprocessing.connection.Pipe(False) for _ in range(3)]
    readers = [reader for reader, _ in pipes]
    wait = _Wait()
    pipes[1][1].send("one")
    assert wait(readers) == [readers[1]]
    assert readers[1].recv() == "one"
    pipes[2][1].send("two")
    assert wait(readers) == [readers[2]]
    pipes[0][1].send("three")
    assert wait(readers[:2]) == [readers[0]]
    assert wait([readers[2], readers[0].fileno()]) == [readers[2], readers[0].fileno()]
    pipes[1][1].close()  # as the end of a worker
    assert readers[1] in wait(readers)


@keeps
def test_results_arrive_without_registering_every_worker_again(processes, monkeypatch):
    assert list(processes.map(abs, [-1, -2])) == [1, 2]

    lokys, times = contract.process_executor.wait, []

    def wait(objects):
        times.append(len(objects))
        return lokys(objects)

    monkeypatch.setattr(contract.process_executor, "wait", wait)
    for _ in range(5):
        assert list(processes.map(abs, range(-9, 0), 1)) == list(range(9, 0, -1))
    assert not times


@needs_posix("signals")
def test_the_end_of_a_worker_that_a_resize_has_started_is_noticed(pool_pids, wait_until):
    for n_jobs in 2, 4, 3, 4:
        executor = MultiprocessingExecutor(n_jobs)
        assert list(executor.map(abs, range(-20, 0), 1)) == list(range(20, 0, -1))
        assert len(pool_pids()) == n_jobs
    pool = current()
    os.kill(list(pool._processes)[-1], signal.SIGKILL)
    wait_until(lambda: pool._flags.broken)


def _makes_a_lambda(item):
    return lambda: item


def _picklers(_):
    """Return how many picklers this worker's loky has made since the first call, which counts."""
    reduction = import_module(f"{contract.LOKY}.backend.reduction")
    if not hasattr(reduction, "made"):
        reduction.made, lokys = [], reduction.dump

        def dump(*args, **kwargs):
            reduction.made.append(1)
            return lokys(*args, **kwargs)

        reduction.dump = dump
    return len(reduction.made)


def test_outcomes_are_pickled_without_lokys_picklers_and_the_users_own_results_with_them():
    processes = MultiprocessingExecutor(2)
    assert set(processes.map(_picklers, range(20), 1)) == {0}
    made = Parallel(n_jobs=2)(delayed(_makes_a_lambda)(item) for item in range(4))
    assert [it() for it in made] == list(range(4))
    assert sum(set(processes.map(_picklers, range(20), 1))) > 0
    assert [it() for it in processes.map(_makes_a_lambda, range(4), 1)] == list(range(4))
