"""How loky's manager thread waits for results, and how workers pickle them."""

import multiprocessing.connection
import os
import select
import signal

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

    def registers(*_):
        raise AssertionError("loky's own way is used")

    monkeypatch.setattr(contract.process_executor, "wait", registers)
    for _ in range(5):
        assert list(processes.map(abs, range(-9, 0), 1)) == list(range(9, 0, -1))


@needs_posix("signals")
def test_the_end_of_a_worker_is_noticed_in_pools_of_changing_sizes(pool_pids, wait_until):
    for n_jobs in 2, 4, 3:
        executor = MultiprocessingExecutor(n_jobs)
        assert list(executor.map(abs, range(-20, 0), 1)) == list(range(20, 0, -1))
        pool, pids = current(), pool_pids()
        assert len(pids) == n_jobs
        os.kill(max(pids), signal.SIGKILL)
        wait_until(lambda pool=pool: pool._flags.broken)


def _makes_a_lambda(item):
    return lambda: item


def _pickles_with(_):
    from importlib import import_module

    return import_module(f"{contract.LOKY}.backend.queues").dumps.__module__


def test_outcomes_are_pickled_by_pickle_and_the_users_own_results_by_cloudpickle(processes):
    assert set(processes.map(_pickles_with, range(4), 1)) == {"phylozoo_parallel._loky.answers"}
    made = Parallel(n_jobs=2)(delayed(_makes_a_lambda)(item) for item in range(4))
    assert [it() for it in made] == list(range(4))
    assert [it() for it in processes.map(_makes_a_lambda, range(4), 1)] == list(range(4))
