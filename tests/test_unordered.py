"""``map_unordered`` and ``starmap_unordered``: results as they are ready; and ``close``."""

import itertools
import threading
import time
from collections import Counter

import pytest

from phylozoo_parallel import ThreadingExecutor
from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.threads import IDLE_THREAD_POOLS

pytestmark = pytest.mark.core


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
def test_each_result_comes_once(executor, chunksize):
    results = executor.map_unordered(lambda x: x * x, range(500), chunksize)
    assert Counter(results) == Counter(x * x for x in range(500))
    results = executor.starmap_unordered(pow, ((x, 2) for x in range(500)), chunksize)
    assert Counter(results) == Counter(x * x for x in range(500))


def test_a_slow_item_delays_no_other_result(workers):
    """The input is read on, too: all other results come first."""
    results = workers.map_unordered(lambda x: time.sleep(x) or x, [1.0] + [0.0] * 200)
    assert list(results)[-1] == 1.0


def test_sequential_results_are_in_order(sequential):
    assert list(sequential.map_unordered(abs, [-2, -1])) == [2, 1]
    assert list(sequential.starmap_unordered(pow, [(2, 3), (3, 2)])) == [8, 9]


def test_an_endless_input_yields_results(executor):
    results = executor.map_unordered(abs, itertools.count())
    assert len(set(itertools.islice(results, 1000))) == 1000


def test_an_error_names_its_item(workers):
    results = workers.map_unordered(lambda x: 1 // (x - 50), range(100), 1)
    with pytest.raises(ZeroDivisionError) as caught:
        list(results)
    assert "item 50" in str(caught.value.__cause__)
    assert sorted(workers.map_unordered(abs, range(9))) == list(range(9))


def test_arguments_are_checked_at_the_call(executor):
    with pytest.raises(TypeError, match="func"):
        executor.map_unordered(None, [])
    with pytest.raises(ValueError, match="chunksize"):
        executor.starmap_unordered(pow, [], 0)


def test_an_error_of_the_input_comes_after_the_results_of_the_items_before(executor):
    def items():
        yield from range(4)
        raise KeyError("broken")

    results = []
    with pytest.raises(KeyError, match="broken"):  # noqa: PT012
        for result in executor.map_unordered(lambda x: time.sleep(0.05) or x, items()):
            results.append(result)
    assert sorted(results) == [0, 1, 2, 3]


class TestClose:
    def test_a_map_works_after_close(self, executor):
        for _ in range(2):
            with executor as same:
                assert same is executor
                assert list(same.map(abs, range(5))) == list(range(5))
        assert list(executor.map(abs, range(5))) == list(range(5))

    def test_close_ends_worker_threads(self, wait_until):
        executor = ThreadingExecutor(7)
        (worker,) = executor.map(lambda _: threading.current_thread(), [0])
        assert worker.is_alive()
        executor.close()
        wait_until(lambda: not worker.is_alive())

    def test_the_thread_pools_used_last_stay_open_without_close(self):
        sizes = range(11, 20)
        for n in sizes:
            assert list(ThreadingExecutor(n).map(abs, [-1])) == [1]
        kept = [size for size in pools.kept if size != "processes"]
        assert kept == list(sizes)[-IDLE_THREAD_POOLS:]

    def test_close_leaves_running_maps_alone(self, workers):
        results = workers.map(abs, itertools.count(), 1)
        next(results)
        workers.close()
        assert list(itertools.islice(results, 100)) == list(range(1, 101))

    def test_close_leaves_worker_processes_to_joblib(self, processes, pool_pids):
        list(processes.map(abs, range(9)))
        before = pool_pids()
        processes.close()
        assert pool_pids() == before
        list(processes.map(abs, range(9)))
        assert pool_pids() == before
