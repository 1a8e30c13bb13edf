"""Time limits of items (S7)."""

import time

import psutil
import pytest
from systems import WINDOWS, needs_posix

from phylozoo_parallel import (
    MultiprocessingExecutor,
    ParallelConfig,
    PhyloZooTypeError,
    PhyloZooValueError,
    ThreadingExecutor,
)
from phylozoo_parallel._engines import limits
from phylozoo_parallel._shipping import board


def sleeps(item):
    if item == 30:
        time.sleep(600)
    return item


def spins(item):
    while item == 30:
        pass
    return item


def spins_in_c(item):
    return sum(range(10**14)) if item == 30 else item


class SlowToArrive:
    def __init__(self, index):
        self.index = index

    def __reduce__(self):
        return _arrive, (self.index,)


def _arrive(index):
    time.sleep(600 if index == 30 else 0)
    return SlowToArrive(index)


def check(executor, func, items, expected, what=" took longer than timeout=2.0 seconds$"):
    begin = time.monotonic()
    got = []
    with pytest.raises(TimeoutError, match=f"^item 30 = .*{what}"):
        got.extend(executor.map(func, items))
    assert time.monotonic() - begin < 30  # and not ten minutes
    assert [getattr(result, "index", result) for result in got] == expected
    assert list(executor.map(abs, range(-20, 0))) == list(range(20, 0, -1))


@pytest.mark.parametrize("func", [sleeps, spins, spins_in_c])
def test_a_late_item_names_itself_and_ends_its_process(func):
    check(MultiprocessingExecutor(2, timeout=2.0), func, range(60), list(range(30)))


AROUND = 6 if WINDOWS else 3
"""Seconds for what is around an item; Windows' emulators take long to import a module."""


@pytest.fixture
def short(monkeypatch):
    """Shorten the limit for imports and pickling, too: to seconds, from a minute."""
    monkeypatch.setattr(limits, "LEAST", AROUND)
    monkeypatch.setattr(limits, "TIMES", 2)
    return MultiprocessingExecutor(2, timeout=0.5)


def test_a_process_that_hangs_unpickling_an_item_is_ended(short):
    items = [SlowToArrive(index) for index in range(60)]
    told = (
        f": its worker was importing or unpickling for longer than {AROUND} seconds; timeout=0.5 "
    )
    check(short, lambda item: item.index, items, list(range(30)), told)


def test_a_process_that_hangs_unpickling_the_function_is_ended(short):
    captured = SlowToArrive(30)
    told = r"the function, unpickled to run item 0: .* importing or unpickling for longer"
    for going_on in False, True:
        with pytest.raises(TimeoutError, match=told):
            list(short.map(lambda item: captured, range(5, 60), 5, return_exceptions=going_on))
    assert list(short.map(abs, [-1])) == [1]


def test_a_process_that_hangs_pickling_a_result_is_ended(short):
    told = f": its worker was pickling results for longer than {AROUND} seconds; timeout=0.5 itself"
    check(short, SlowToLeave, range(60), list(range(30)), told)


@pytest.mark.parametrize("timeout", [0.5, 60.0])
def test_imports_and_pickling_have_a_far_longer_limit(timeout):
    running, around = (board.Progress(1, 0, running, 0.0) for running in (1, 0))
    assert limits.limit(running, timeout) == timeout
    assert limits.limit(around, timeout) == max(60, 10 * timeout)


class SlowToLeave:
    def __init__(self, index):
        self.index = index

    def __reduce__(self):
        time.sleep(600 if self.index == 30 else 0)
        return SlowToLeave, (self.index,)


@pytest.mark.parametrize("chunksize", [None, 40])
def test_the_thread_of_a_late_item_is_left_behind(chunksize):
    executor = ThreadingExecutor(2, timeout=2.0, chunksize=chunksize)
    for _ in range(2):
        check(executor, sleeps, range(60), list(range(30)))


def test_other_maps_go_on_when_a_thread_is_left_behind():
    neighbour = ThreadingExecutor(2).map(sleeps, range(20), chunksize=1)
    with pytest.raises(TimeoutError):
        list(ThreadingExecutor(2, timeout=2.0).map(sleeps, [30, 30]))
    assert list(neighbour) == list(range(20))


EXECUTORS = ["MultiprocessingExecutor", "ThreadingExecutor"]

LEAVES = """
import time
from phylozoo_parallel import {executor}

def fails_or_hangs(item):
    if item == 0:
        time.sleep(0.2)  # so that the others begin
        raise ValueError
    time.sleep(600)

workers = {executor}(2, timeout=1, chunksize=1)
for _ in range(3):
    try:
        list(workers.map(fails_or_hangs, [0, 1]))
    except ValueError:
        print("ended", flush=True)
print(*workers.map(abs, range(-20, 0)))
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_items_that_hang_when_their_map_ends_take_no_workers_from_the_next_maps(
    executor, run_script
):
    ended = run_script(LEAVES.format(executor=executor), timeout=60)
    assert ended.stdout.split() == ["ended"] * 3 + [str(item) for item in range(20, 0, -1)]


OTHER_POOL = {
    "other settings": "joblib.parallel_config(backend='loky', verbose=1)",
    "other workers": "joblib.parallel_config(backend='loky', max_nbytes=1000)",
    "closed": "executor.close()",
}


@pytest.mark.parametrize("why", OTHER_POOL)
def test_items_of_an_ended_map_keep_their_limit_when_another_pool_is_opened(run_script, why):
    """If there have to be other workers, joblib waits until those that there are have ended."""
    done = run_script(
        f"""
        import time
        import joblib
        from phylozoo_parallel import MultiprocessingExecutor

        executor = MultiprocessingExecutor(2, timeout=1, chunksize=1)
        list(executor.map(abs, range(4)))
        results = executor.map(time.sleep, [600] * 4)
        time.sleep(0.3)
        results.close()
        {OTHER_POOL[why]}  # a configuration holds on, also without `with`
        print(*executor.map(abs, range(-4, 0)))
        """,
        timeout=60,
    )
    assert done.stdout == "4 3 2 1\n"


@pytest.mark.parametrize("late", [4, 6, 8])
def test_a_map_keeps_its_limit_while_another_waits_for_its_workers(run_script, late):
    """Also if it sends the item after the other has begun to wait."""
    done = run_script(
        f"""
        import threading, time
        import joblib
        from phylozoo_parallel import MultiprocessingExecutor

        def work(item):
            time.sleep(600 if item == {late} else 0.2)
            return item

        def other():
            with joblib.parallel_config(backend="loky", max_nbytes=1000):
                print(*MultiprocessingExecutor(2).map(abs, range(-4, 0)))

        results = MultiprocessingExecutor(2, timeout=2, chunksize=1).map(work, range(20))
        assert next(results) == 0
        thread = threading.Thread(target=other)
        thread.start()
        try:
            list(results)
        except TimeoutError as error:
            print(error)
        thread.join()
        """,
        timeout=60,
    )
    told = f"item {late} = {late} took longer than timeout=2.0 seconds"
    assert sorted(done.stdout.splitlines()) == ["4 3 2 1", told]


def divides_or_hangs(item):
    time.sleep(0.2 if item == 0 else 600)  # so that both begin
    return 1 / item


def naps(item):
    time.sleep(0.1)
    return item


def test_a_map_at_work_looks_for_workers_that_hang_in_items_of_earlier_maps(pool_pids, processes):
    with pytest.raises(ZeroDivisionError):
        list(type(processes)(2, timeout=1, chunksize=1).map(divides_or_hangs, [0, 1]))
    took = pool_pids()
    assert list(processes.map(naps, range(60), chunksize=1)) == list(range(60))
    assert not took & pool_pids()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_map_that_nobody_reads_keeps_its_time_limit(executor, run_script):
    """Its items hang in all workers, and another map waits for one."""
    run_script(UNREAD.format(executor=executor))


UNREAD = """
import os, time
from phylozoo_parallel import {executor}

def hangs(item):
    time.sleep(600)

workers = {executor}(2, chunksize=1, timeout=1)
unread = workers.map(hangs, range(2))
assert list(workers.map(abs, range(4))) == list(range(4))
try:
    next(unread)
except TimeoutError as error:
    assert str(error).startswith("item 0 = 0 took longer than timeout=1"), error
else:
    raise AssertionError("no error")
os._exit(0)  # the threads hang
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_map_keeps_its_time_limit_while_another_is_its_input(executor, run_script):
    run_script(CHAINED.format(executor=executor))


CHAINED = """
import os, time
from phylozoo_parallel import {executor}

def naps(item):
    time.sleep(0.1)
    return item

def hangs(item):
    time.sleep(600)

def workers(count):
    return {executor}(count, chunksize=1, timeout=1)

try:
    list(workers(2).map(hangs, workers(1).map(naps, range(20))))
except TimeoutError as error:
    assert str(error).startswith("item 0 = 0 took longer than timeout=1"), error
else:
    raise AssertionError("no error")
os._exit(0)  # the threads hang
"""


def naps_or_hangs(item):
    time.sleep(0.6 if item < 4 else 0)
    if item == 4:
        raise ValueError("item 4")
    time.sleep(0 if item < 4 else 600)
    return item


def test_an_item_that_hangs_after_the_error_costs_no_earlier_result(processes):
    got = []
    with pytest.raises(ValueError, match="item 4"):
        got.extend(type(processes)(2, timeout=1, retries=0).map(naps_or_hangs, range(12), 4))
    assert got == [0, 1, 2, 3]
    assert list(processes.map(naps, range(30), 1)) == list(range(30))  # ends the worker


def test_time_in_line_does_not_count(workers):
    executor = type(workers)(1, timeout=1.0, chunksize=1)
    assert list(executor.map(lambda item: time.sleep(0.4), range(5))) == [None] * 5


def test_a_chunk_may_take_longer_than_an_item(workers):
    executor = type(workers)(1, timeout=1.0, chunksize=5)
    assert list(executor.map(lambda item: time.sleep(0.4), range(5))) == [None] * 5


def test_a_timeout_does_not_disturb_quick_items(workers):
    executor = type(workers)(2, timeout=60)
    assert list(executor.map(abs, range(20_000))) == list(range(20_000))


def test_engines_that_cannot_limit_time_refuse_a_timeout():
    import joblib

    with joblib.parallel_config("multiprocessing"), pytest.raises(PhyloZooValueError, match="time"):
        MultiprocessingExecutor(2, timeout=1).map(abs, [1])


@pytest.mark.parametrize("make", [MultiprocessingExecutor, ThreadingExecutor, ParallelConfig])
def test_a_wrong_timeout_is_refused(make):
    for timeout in 0, -1.0, float("nan"), float("inf"):
        with pytest.raises(PhyloZooValueError, match="timeout must be a positive number"):
            make(timeout=timeout)
    for timeout in "2", True, [1]:
        with pytest.raises(PhyloZooTypeError, match="timeout must be a positive number"):
            make(timeout=timeout)
    for retries in 1.0, None, "1", True:
        with pytest.raises(PhyloZooTypeError, match="retries must be an integer"):
            make(retries=retries)
    with pytest.raises(PhyloZooValueError, match="retries must be an integer of 0 or more, got -1"):
        make(retries=-1)


def test_repr_shows_timeout_and_retries_that_were_set():
    config = ParallelConfig("threading", 2, retries=3, timeout=2.5)
    assert repr(config).endswith("n_jobs=2, chunksize=None, retries=3, timeout=2.5)")
    assert repr(ParallelConfig("threading", 2)).endswith("n_jobs=2, chunksize=None)")


def test_a_map_that_is_refused_leaves_nothing_open():
    import joblib

    def held():
        me = psutil.Process()
        return me.num_handles() if psutil.WINDOWS else me.num_fds(), len(board.own()._free_slots)

    def capturing(item, large=bytes(1 << 20)):
        return item

    def refused():
        with pytest.raises(PhyloZooValueError):
            MultiprocessingExecutor(2, timeout=1).map(capturing, [1])

    with joblib.parallel_config("multiprocessing"):
        refused()
        before = held()
        for _ in range(5):
            refused()
        files, slots = held()
    assert slots == before[1]
    assert files <= before[0]


@needs_posix("half of a message")
def test_a_worker_that_died_by_itself_is_not_called_late(run_script):
    """It dies while it sends its result, so that the caller hears nothing from it."""
    run_script(
        """
        import logging, os
        from phylozoo_parallel import MultiprocessingExecutor, WorkerLostError

        logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)

        def half(item):
            if item == 1:
                import os, struct
                from multiprocessing.connection import Connection

                def send(self, data, *args):
                    os.write(self._handle, struct.pack("!i", 500_000) + b"x" * 100)
                    os._exit(3)

                Connection._send_bytes = send
            return item

        try:
            list(MultiprocessingExecutor(2, timeout=1.2).map(half, range(2), chunksize=1))
        except WorkerLostError as error:
            assert str(error).startswith("item 1 = 1: "), error
        else:
            raise AssertionError("no error")
        """
    )
