"""One task a chunk, results as they are ready, input within a bounded look-ahead."""

import itertools
import os
import sqlite3
import sys
import threading
import time

import joblib
import pytest
from joblib._parallel_backends import LokyBackend
from systems import WINDOWS

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig

pytestmark = pytest.mark.core

LOOK_AHEAD = 4
"""Chunks that two workers may have in flight: one running and one waiting, each."""


class Counting(LokyBackend):
    """loky's backend, counting the tasks that it is given."""

    submitted = 0

    def submit(self, func, callback=None):
        type(self).submitted += 1
        return super().submit(func, callback)


@pytest.fixture
def tasks():
    """Run process maps on a backend that counts; return how many tasks it was given."""
    joblib.register_parallel_backend("counting", Counting)
    Counting.submitted = 0
    with joblib.parallel_config(backend="counting"):
        yield lambda: Counting.submitted
    del joblib.parallel.BACKENDS["counting"]


class TestOneTaskAChunk:
    @pytest.mark.parametrize(
        ("items", "chunksize", "expected"), [(10, 1, 10), (10, 3, 4), (12, 3, 4), (10, 50, 1)]
    )
    def test_a_map_sends_one_task_for_each_chunk(
        self, tasks, processes, items, chunksize, expected
    ):
        assert list(processes.map(abs, range(items), chunksize)) == list(range(items))
        assert tasks() == expected

    def test_a_starmap_sends_one_task_for_each_chunk(self, tasks, processes):
        assert list(processes.starmap(pow, [(2, 3)] * 10, 4)) == [8] * 10
        assert tasks() == 3

    def test_a_map_on_one_worker_sends_one_task_for_each_chunk(self, tasks):
        assert list(MultiprocessingExecutor(1).map(abs, range(10), 5)) == list(range(10))
        assert tasks() == 2

    def test_the_configs_chunksize_is_kept(self, tasks):
        executor = ParallelConfig("multiprocessing", n_jobs=2, chunksize=5).get_executor()
        assert list(executor.map(abs, range(20))) == list(range(20))
        assert tasks() == 4

    def test_the_calls_chunksize_beats_the_configs(self, tasks):
        executor = ParallelConfig("multiprocessing", n_jobs=2, chunksize=5).get_executor()
        assert list(executor.map(abs, range(20), 10)) == list(range(20))
        assert tasks() == 2

    def test_chunks_chosen_by_the_library_are_few(self, tasks, processes):
        assert list(processes.map(abs, range(20_000))) == list(range(20_000))
        assert tasks() < 1000


class TestOrder:
    @pytest.mark.parametrize("chunksize", [None, 1, 3])
    def test_results_keep_the_order_of_the_input(self, workers, chunksize):
        naps = [0.06, 0.0, 0.03, 0.0, 0.02, 0.0, 0.0]
        results = workers.map(lambda nap: (time.sleep(nap), nap)[1], naps, chunksize)
        assert list(results) == naps


class TestStart:
    def test_workers_begin_at_the_call(self, workers, tmp_path, wait_until):
        begun = tmp_path / "begun"
        results = workers.map(lambda path: path.touch(), [begun])
        wait_until(begun.exists)
        assert list(results) == [None]

    def test_sequential_is_lazy(self, sequential):
        seen = []
        results = sequential.map(seen.append, iter([1, 2, 3]))
        assert seen == []
        next(results)
        assert seen == [1]


class TestInput:
    def test_an_input_may_be_endless(self, executor):
        results = executor.map(lambda x: 2 * x, itertools.count())
        assert list(itertools.islice(results, 1000)) == list(range(0, 2000, 2))
        results = executor.starmap(max, zip(itertools.count(), itertools.repeat(5)))
        assert list(itertools.islice(results, 10)) == [5, 5, 5, 5, 5, 5, 6, 7, 8, 9]

    def test_the_input_is_read_in_the_callers_thread_alone(self, executor):
        advanced = set()

        def items():
            for i in range(200):
                advanced.add(threading.get_ident())
                yield i

        assert list(executor.map(abs, items(), 3)) == list(range(200))
        assert advanced == {threading.get_ident()}

    def test_the_input_may_be_bound_to_the_callers_thread(self, executor):
        with sqlite3.connect(":memory:") as database:
            database.execute("create table numbers (n integer)")
            database.executemany("insert into numbers values (?)", [(n,) for n in range(300)])
            rows = database.execute("select n, n + 1 from numbers order by n")
            assert list(executor.starmap(lambda a, b: a + b, rows)) == list(range(1, 600, 2))
        database.close()

    @pytest.mark.parametrize("chunksize", [1, 5])
    def test_the_input_is_read_to_a_bounded_look_ahead(self, workers, chunksize):
        source = itertools.count()
        results = workers.map(abs, source, chunksize)
        assert next(source) <= LOOK_AHEAD * chunksize
        next(results)

    @pytest.mark.parametrize(
        ("seconds", "chunksize", "least", "most"),
        # Through the files of an emulated Windows, a megabyte is not quick.
        [(0, None, 4 if WINDOWS else 5, 8), (0, 1, 4, 4), (0.05, None, 4, 4)],
    )
    def test_the_input_is_read_further_ahead_when_chunks_are_short(
        self, workers, seconds, chunksize, least, most, tmp_path, wait_until
    ):
        """Unless the user chose the size of chunks; here it is 1 because the results are large."""
        free, source = tmp_path / "free", itertools.count()

        def work(i):
            time.sleep(seconds) if i < 30 else wait_until(free.exists)
            return bytes(1 << 20)

        list(workers.map(lambda _: work and time.sleep(0.1), range(4), 1))  # imports this module
        results = workers.map(work, source, chunksize)
        assert all(map(len, itertools.islice(results, 30)))
        ahead = next(source) - 30
        free.touch()  # before anything fails: the workers wait for it
        assert least <= ahead <= most

    def test_an_input_that_becomes_slow_is_not_collected_first(self, workers):
        """By all measurements, items are quickly read and quickly run."""
        read = []

        def source():
            for i in range(122_000):
                if i >= 120_000:
                    time.sleep(0.002)
                read.append(i)
                yield i

        for i in workers.map(abs, source()):
            if i >= 120_000:
                break
        assert len(read) < 120_350

    def test_the_input_is_not_read_while_nobody_reads_results(self, workers):
        read = []
        results = workers.map(abs, (read.append(i) or i for i in itertools.count()))
        next(results)
        before = len(read)
        time.sleep(0.3)
        assert len(read) == before

    def test_a_sequential_input_is_read_item_by_item(self, sequential):
        source = itertools.count()
        results = sequential.map(abs, source)
        next(results)
        assert next(source) == 1

    @pytest.mark.parametrize("chunksize", [None, 1, 2, 5, 6, 100])
    @pytest.mark.parametrize("method", ["map", "starmap"])
    @pytest.mark.parametrize("good", [0, 1, 5, 30])
    def test_an_exception_of_the_input_comes_at_its_place(self, executor, chunksize, method, good):
        def items():
            yield from ((i,) for i in range(good))
            raise KeyError("no more", good)

        results = getattr(executor, method)(lambda item: item, items(), chunksize)
        seen = list(itertools.islice(results, good))
        assert len(seen) == good
        with pytest.raises(KeyError) as caught:
            next(results)
        assert caught.value.args == ("no more", good)
        assert list(results) == []

    @pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
    def test_an_exit_of_the_input_comes_at_its_place_too(self, executor, error):
        def items():
            yield from range(3)
            raise error  # a parser that gives up

        seen = []
        with pytest.raises(error):
            seen.extend(executor.map(abs, items(), 1))
        assert seen == [0, 1, 2]

    def test_an_item_that_fails_before_the_inputs_exception_comes_first(self, executor):
        def items():
            yield from [1, 0, 2]
            raise KeyError

        results = executor.map(lambda x: 1 / x, items(), 1)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)


class TestFlow:
    def test_a_first_result_does_not_wait_for_the_last(self, workers, tmp_path, wait_until):
        read = tmp_path / "read"

        def last_waits(i):
            if i == 3:
                wait_until(read.exists)
            return i

        results = workers.map(last_waits, range(4), 1)
        assert next(results) == 0
        read.touch()
        assert list(results) == [1, 2, 3]

    @pytest.mark.parametrize("chunksize", [1, None])
    def test_workers_do_not_idle_behind_a_slow_item(self, workers, chunksize, tmp_path, wait_until):
        flag = tmp_path / "fiftieth item read"

        def items():
            for i in range(60):
                if i == 50:
                    flag.touch()
                yield i

        def first_waits(i):
            if i == 0:
                wait_until(flag.exists)
            return i

        assert list(workers.map(first_waits, items(), chunksize)) == list(range(60))

    def test_results_that_wait_behind_a_slow_item_are_bounded(self, workers):
        """At most 64 MB of results."""
        source = itertools.count()

        def first_is_slow(i):
            if i == 0:
                time.sleep(1.5)
            return bytes(8 << 20)

        results = workers.map(first_is_slow, source, 1)
        next(results)
        assert next(source) <= 64 // 8 + LOOK_AHEAD + 2

    @pytest.mark.parametrize("chunksize", [1, 4])
    def test_a_slow_reader_stops_the_workers(self, workers, chunksize, tmp_path):
        log = tmp_path / "log"

        def note(i):
            with log.open("a") as file:
                file.write("x")
            return i

        results = workers.map(note, range(400), chunksize)
        for _ in range(5):
            next(results)
            time.sleep(0.05)
        ran = log.stat().st_size
        time.sleep(0.3)
        assert log.stat().st_size <= ran + LOOK_AHEAD * chunksize
        assert list(results) == list(range(5, 400))

    def test_a_slow_reader_keeps_memory_flat(self, processes):
        psutil = pytest.importorskip("psutil")
        memory = psutil.Process().memory_info
        results = processes.map(lambda i: os.urandom(1 << 20), range(300))
        next(results)
        before = memory().rss
        most = 0
        for _ in results:
            time.sleep(0.005)
            most = max(most, memory().rss - before)
        assert most < 100 << 20

    def test_a_sized_input_is_not_copied(self, workers):
        class Sized:
            read = 0

            def __len__(self):
                return 10**9

            def __iter__(self):
                for i in range(10**9):
                    self.read = i
                    yield i

        items = Sized()
        results = workers.map(abs, items)
        assert [next(results) for _ in range(100)] == list(range(100))
        assert items.read < 10**6


@pytest.mark.parametrize("method", ["map", "starmap"])
def test_stop_iteration_becomes_a_runtime_error(executor, method):
    """The built-in map would silently end there."""

    def stops(item):
        if item == 2:
            raise StopIteration("an iterator inside is empty")
        return item

    items = [(i,) for i in range(5)] if method == "starmap" else range(5)
    results = getattr(executor, method)(stops, items)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError) as caught:
        next(results)
    assert isinstance(caught.value.__cause__, StopIteration)


def test_stop_iteration_among_many_quick_items_becomes_a_runtime_error(workers):
    """Quick items run in C, where it would silently end them."""
    items = [[i] for i in range(5000)]
    items[4000] = []
    results = workers.map(lambda item: next(iter(item)), items, 5000)
    assert list(itertools.islice(results, 4000)) == list(range(4000))
    with pytest.raises(RuntimeError) as caught:
        next(results)
    assert "item 4000 = []" in str(caught.value.__cause__.__cause__)
    if sys.version_info >= (3, 11):
        assert "item 4000 = []" in caught.value.__notes__[0]


def test_stop_iteration_of_one_item_becomes_a_runtime_error(executor):
    with pytest.raises(RuntimeError):
        list(executor.map(lambda _: next(iter(())), [0]))


def test_a_map_may_be_read_in_another_thread(workers):
    results = workers.map(abs, range(500))
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(results))
    reader.start()
    reader.join(60)
    assert seen == list(range(500))


def test_abandoned_maps_leave_the_next_one_right(workers, pool_pids):
    list(workers.map(abs, range(4)))
    before = pool_pids()
    for _ in range(20):
        next(workers.map(abs, itertools.count()))
    assert list(workers.map(abs, range(100))) == list(range(100))
    assert pool_pids() == before
