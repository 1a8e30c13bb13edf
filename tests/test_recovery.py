"""What is left of a map when its workers die (S6), told and tried."""

import logging
import os
import pickle
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest
from systems import KILL, KILLED, TERMINATED, needs_posix

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig, WorkerLostError
from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines import processes
from phylozoo_parallel._engines.base import WorkersLost
from phylozoo_parallel._loky.start import current
from phylozoo_parallel._map.recovery import salvage
from phylozoo_parallel._options import Options
from phylozoo_parallel._shipping.board import Progress


class TestSalvage:
    """The rule itself, on chunks that no process has run."""

    DEATH = WorkersLost({5: "exit code 3"}, {5: 1.0, 6: 1.5})

    def left(self, progress, retries=1, losses=0, late=False, size=6, keep=False):
        chunk = Chunk(100, list(range(size)), losses)
        chunk.progress = progress
        chunk.late = late
        options = Options(None, retries, 2.0, False, return_exceptions=keep)
        again, failed = salvage(chunk, self.DEATH, options)
        return [(part.first, list(part.items), part.losses) for part in again], failed

    def test_a_chunk_that_had_not_begun_runs_again_at_no_cost(self):
        for retries in 0, 1:
            assert self.left(None, retries) == ([(100, [0, 1, 2, 3, 4, 5], 0)], [])

    def test_a_chunk_of_another_worker_runs_again_at_no_cost(self):
        progress = Progress(6, 2, 1, 1.0)
        assert self.left(progress) == ([(100, [0, 1, 2, 3, 4, 5], 0)], [])
        assert self.left(progress, losses=1, size=1) == ([(100, [0], 1)], [])

    def test_a_chunk_that_the_dead_worker_had_finished_runs_again_at_no_cost(self):
        progress = Progress(5, 6, 0, 0.9)  # it noted something later, of another chunk
        assert self.left(progress) == ([(100, [0, 1, 2, 3, 4, 5], 0)], [])

    def test_items_that_the_dead_worker_ran_are_tried_one_by_one(self):
        again, failed = self.left(Progress(5, 2, 2, 1.0))
        assert again == [(100, [0, 1], 0), (102, [2], 1), (103, [3], 1), (104, [4, 5], 0)]
        assert failed == []

    def test_a_death_while_unpickling_or_pickling_suspects_every_item(self):
        again, _ = self.left(Progress(5, 6, 0, 1.0))
        assert again == [(100 + at, [at], 1) for at in range(6)]

    def test_one_death_more_than_retries_names_the_item(self):
        again, [(index, error)] = self.left(Progress(5, 0, 1, 1.0), losses=1, size=1)
        assert (again, index) == ([], 100)
        assert isinstance(error, WorkerLostError)
        assert str(error).startswith("item 100 = 0: its worker process died (exit code 3)")

    def test_without_retries_items_that_had_begun_do_not_run_again(self):
        for pid in 5, 6:
            again, [(index, error)] = self.left(Progress(pid, 2, 1, 1.0), retries=0)
            assert (again, index) == ([], 100)
            assert isinstance(error, WorkerLostError)
            assert str(error).startswith("item 102 = 2: its worker process died")
            assert str(error).endswith("items before it, from 100 on, are lost with that worker")

    def test_without_retries_a_late_item_says_which_results_are_lost_with_it(self):
        again, [(index, error)] = self.left(Progress(5, 2, 1, 1.0), retries=0, late=True)
        assert (again, index) == ([], 100)
        assert isinstance(error, TimeoutError)
        assert str(error) == (
            "item 102 = 2 took longer than timeout=2.0 seconds; "
            "results of items before it, from 100 on, are lost with that worker"
        )
        _, [(_, first)] = self.left(Progress(5, 0, 1, 1.0), retries=0, late=True)
        assert str(first) == "item 100 = 0 took longer than timeout=2.0 seconds"

    def test_a_late_item_ends_the_map_after_those_before_it(self):
        again, [(index, error)] = self.left(Progress(5, 2, 1, 1.0), late=True)
        assert (again, index) == ([(100, [0, 1], 0)], 102)
        assert isinstance(error, TimeoutError)
        assert str(error) == "item 102 = 2 took longer than timeout=2.0 seconds"

    def test_items_of_a_late_chunk_are_tried_to_find_the_late_one(self):
        again, failed = self.left(Progress(5, 0, 0, 1.0), late=True, size=2)
        assert (again, failed) == ([(100, [0], 0), (101, [1], 0)], [])

    def test_with_exceptions_as_results_all_but_the_failed_item_runs_again(self):
        again, [(index, error)] = self.left(Progress(5, 2, 1, 1.0), late=True, keep=True)
        assert again == [(100, [0, 1], 0), (103, [3, 4, 5], 0)]
        assert (index, type(error)) == (102, TimeoutError)

    def test_with_exceptions_as_results_and_no_retries_items_that_had_begun_have_failed(self):
        again, failed = self.left(Progress(6, 2, 1, 1.0), retries=0, keep=True)
        assert again == [(103, [3, 4, 5], 0)]
        assert [index for index, _ in failed] == [100, 101, 102]
        assert len({id(error) for _, error in failed}) == 3


def test_worker_lost_error_is_a_broken_process_pool():
    assert issubclass(WorkerLostError, RuntimeError)
    assert issubclass(WorkerLostError, BrokenProcessPool)


def dies_once(mark, item):
    if item == 30:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return item
        os._exit(3)
    time.sleep(0.001)
    return item


@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_one_death_costs_nothing_but_time(tmp_path, caplog, chunksize):
    mark = str(tmp_path / "died")
    executor = MultiprocessingExecutor(2, chunksize=chunksize)
    results = executor.map(lambda item: dies_once(mark, item), range(100))
    assert list(results) == list(range(100))
    assert os.path.exists(mark)
    told = [record for record in caplog.records if record.name == "phylozoo_parallel"]
    assert told
    assert all(record.levelno == logging.WARNING for record in told)
    assert "(exit code 3)" in told[0].getMessage()
    assert "run again: item" in told[0].getMessage()


def counted(directory, dies):
    """Return a function that counts its runs, waits with items 0 and 1, and may end its worker."""

    def run(item):
        number = len(list(directory.glob(f"run {item} *")))
        (directory / f"run {item} {number}").touch()
        while item < 2 and not (directory / f"end {item}").exists():
            time.sleep(0.01)
        if dies(item, number):
            os._exit(1)
        return item

    return run


def test_an_item_is_not_charged_for_what_its_worker_did_after_it(tmp_path):
    """Item 1 ends, its worker dies in item 2, and the broken pool delivers neither outcome."""

    # Item 1 dies in its second run, the others in their first.
    run = counted(tmp_path, lambda item, number: number == (item == 1))
    results = MultiprocessingExecutor(2, chunksize=1).map(run, range(3))
    until(lambda: len(list(tmp_path.glob("run *"))) == 2)
    with current()._flags.shutdown_lock:  # holds loky's thread up
        (tmp_path / "end 0").touch()
        time.sleep(0.5)
        (tmp_path / "end 1").touch()
        until(lambda: (tmp_path / "run 2 0").exists())
        time.sleep(0.5)
    assert list(results) == [0, 1, 2]
    assert len(list(tmp_path.glob("run 1 *"))) == 3


def test_without_retries_items_that_began_while_the_pool_ended_do_not_run_again(tmp_path):
    """Item 2 has not begun when loky reports the death, but begins before the pool is killed."""

    run = counted(tmp_path, lambda item, number: item == 0)
    executor = MultiprocessingExecutor(2, chunksize=1, retries=0)
    results = executor.map(run, range(2))
    until(lambda: len(list(tmp_path.glob("run *"))) == 2)
    late = executor.map(run, [2])
    held, go = threading.Event(), threading.Event()

    def hold(_):  # loky's thread up, after it told of the others
        held.set()
        go.wait(60)

    current().submit(int).add_done_callback(hold)
    (tmp_path / "end 0").touch()
    assert held.wait(60)
    (tmp_path / "end 1").touch()
    until(lambda: (tmp_path / "run 2 0").exists())
    go.set()
    for lost in results, late:
        with pytest.raises(WorkerLostError, match="retries=0"):
            list(lost)
    assert len(list(tmp_path.glob("run 2 *"))) == 1


def until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os._exit(3), "exit code 3"),
        (lambda: os.kill(os.getpid(), KILL), KILLED),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), TERMINATED),
    ],
)
def test_an_item_that_always_kills_its_worker_is_named(end, how):
    results = (
        ParallelConfig("multiprocessing", 2)
        .get_executor()
        .map(lambda item: end() if item == 25 else item, range(60))
    )
    got = []
    with pytest.raises(WorkerLostError, match=r"^item 25 = 25: ") as raised:
        got.extend(results)
    assert got == list(range(25))
    assert how in str(raised.value)
    assert list(MultiprocessingExecutor(2).map(abs, [-1, 2])) == [1, 2]


def test_retries_are_counted_for_each_item(tmp_path):
    def deadly(item):
        with open(tmp_path / str(item), "a") as runs:
            runs.write("x")
        if item == 3:
            os._exit(1)
        return item

    for retries in 0, 2:
        with pytest.raises(WorkerLostError):
            list(MultiprocessingExecutor(2, retries=retries, chunksize=1).map(deadly, range(8)))
        assert (tmp_path / "3").read_text() == "x" * (retries + 1)
        (tmp_path / "3").unlink()


def test_without_retries_nothing_runs_twice(tmp_path):
    def once(item):
        os.close(os.open(tmp_path / str(item), os.O_CREAT | os.O_EXCL))
        time.sleep(0.005)
        if item == 40:
            os._exit(1)
        return item

    got = []
    with pytest.raises(WorkerLostError, match="retries=0"):
        got.extend(MultiprocessingExecutor(2, retries=0).map(once, range(100)))
    assert got == list(range(len(got)))
    assert len(got) <= 40


def test_a_map_survives_workers_that_are_killed_at_random(run_script):
    run_script(
        """
        import logging, os, random, signal, threading, time
        from phylozoo_parallel._loky.start import current
        from phylozoo_parallel import MultiprocessingExecutor

        logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
        killed, end = 0, time.monotonic() + 40

        def kill():
            global killed
            while killed <= 5 and time.monotonic() < end:
                time.sleep(0.2)
                pids = list(current()._processes)
                if pids:
                    try:
                        os.kill(random.choice(pids), 9)
                        killed += 1
                    except ProcessLookupError:
                        pass

        def work(item):
            time.sleep(0.005)
            return item

        executor = MultiprocessingExecutor(2, retries=100)
        assert list(executor.map(work, range(4))) == list(range(4))
        thread = threading.Thread(target=kill)
        thread.start()
        results = list(executor.map(work, range(2000)))
        thread.join()
        assert results == list(range(2000))
        assert killed > 5, killed
        """,
        timeout=120,
    )


def test_a_death_counts_against_the_items_of_its_own_map(tmp_path):
    """The other map's item is lost three times with its pool, and has one retry."""

    def waits(item):
        while not (tmp_path / "done").exists():
            time.sleep(0.005)
        return item

    def deadly(item):
        if item in {5, 10, 15}:
            try:
                os.close(os.open(tmp_path / str(item), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return item
            os._exit(3)
        return item

    executor = MultiprocessingExecutor(2, chunksize=1)
    neighbour = executor.map(waits, [0])
    assert list(executor.map(deadly, range(20))) == list(range(20))
    (tmp_path / "done").touch()
    assert list(neighbour) == [0]


def test_workers_that_never_begin_a_chunk_end_the_map(run_script):
    """What kills each worker before it can run anything is an error, and no endless loop."""
    run_script(
        """
        import logging, os, signal, threading, time
        from phylozoo_parallel._loky.start import current
        from phylozoo_parallel import MultiprocessingExecutor, WorkerLostError

        logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
        done = False

        def kill():
            while not done:
                executor = current()
                for pid in list(executor._processes) if executor else ():
                    try:
                        os.kill(pid, 9)
                    except ProcessLookupError:
                        pass
                time.sleep(0.005)

        threading.Thread(target=kill, daemon=True).start()
        try:
            list(MultiprocessingExecutor(2).map(abs, range(100)))
        except WorkerLostError as error:
            assert "item 0" in str(error), error
        else:
            raise AssertionError("no error")
        done = True
        assert list(MultiprocessingExecutor(2).map(abs, range(100))) == list(range(100))
        """,
        timeout=120,
    )


def test_a_pool_that_breaks_between_two_maps_is_not_noticed(pool_pids):
    executor = MultiprocessingExecutor(2)
    for _ in range(3):
        assert list(executor.map(abs, range(10))) == list(range(10))
        os.kill(min(pool_pids()), KILL)
        assert list(executor.map(abs, range(10))) == list(range(10))


def test_a_task_belongs_to_the_pool_it_was_sent_to(run_script):
    """Another thread opens the pool again meanwhile; then it would be unknown how workers ended."""
    done = run_script(
        """
        import os, signal, threading, time
        from phylozoo_parallel import MultiprocessingExecutor
        from phylozoo_parallel._engines import pools

        executor = MultiprocessingExecutor(2, retries=0)
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
        backend = pools.kept["processes"].backend
        submit, before = backend.submit, backend._workers

        def wait_until(ready, seconds):
            end = time.monotonic() + seconds
            while not ready() and time.monotonic() < end:
                time.sleep(0.01)

        def late(*args, **kwargs):
            del backend.submit
            os.kill(next(iter(before._processes)), 9)
            wait_until(lambda: before._flags.broken, 20)
            other = MultiprocessingExecutor(2)
            threading.Thread(target=lambda: list(other.map(abs, [1]))).start()
            wait_until(lambda: backend._workers is not before, 2)
            return submit(*args, **kwargs)

        backend.submit = late
        try:
            list(executor.map(os._exit, [3], 1))
        except RuntimeError as error:
            print(error)
        """
    )
    assert "(exit code 3)" in done.stdout


def test_a_loss_that_two_threads_notice_at_once_is_one_loss(monkeypatch):
    """Chunks of one pool that told of two losses would count as lost twice."""
    executor, first = SimpleNamespace(), WorkersLost({}, {})

    def ended(executor):
        executor.loss = first  # as loky's thread may do just then
        return {}

    monkeypatch.setattr(processes.failure, "ended", ended)
    assert processes._lost(executor) is first


class PickledOnce:
    """An item that can be sent, but not again."""

    def __init__(self):
        self.left = 1

    def __reduce__(self):
        if not self.left:
            raise ValueError("not again")
        self.left -= 1
        return int, (7,)


@pytest.mark.parametrize("method", ["map", "map_unordered"])
def test_items_that_cannot_be_pickled_again_are_an_error(method):
    run = getattr(MultiprocessingExecutor(2), method)
    with pytest.raises(pickle.PicklingError, match=r"item 0 could not be pickled.*not again"):
        list(run(lambda item: os._exit(1), [PickledOnce()]))


@needs_posix("signal that it could ignore")
@pytest.mark.parametrize("guilty", [3, 31, 32])
def test_results_are_right_when_it_is_unknown_who_died(run_script, guilty):
    """A program that ignores SIGCHLD learns no exit code."""
    run_script(
        """
        import logging, os, signal, sys, time
        from phylozoo_parallel import MultiprocessingExecutor, WorkerLostError

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
        guilty, got = int(sys.argv[1]), []

        def work(item):
            time.sleep(0.01)
            if item == guilty:
                os._exit(7)
            time.sleep(0.02)  # others are at work when it dies
            return item

        try:
            for result in MultiprocessingExecutor(2).map(work, range(40)):
                got.append(result)
        except WorkerLostError as error:
            assert str(error).startswith(f"item {guilty} = {guilty}: "), error
            assert got == list(range(guilty)), got
        else:
            raise AssertionError(got)
        """,
        guilty,
    )


def test_results_are_right_when_it_is_unknown_what_a_worker_ran(run_script, tmp_path):
    """Without shared memory it is unknown, but chunks that were never sent did not run."""
    done = run_script(
        """
        import logging, os, pathlib, sys, time
        from phylozoo_parallel import MultiprocessingExecutor
        from phylozoo_parallel._shipping import memory

        def none(folder):
            raise OSError("no memory")

        memory.made = none
        logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
        died = pathlib.Path(sys.argv[1])

        def work(item):
            time.sleep(0.004)
            if item == 61 and not died.exists():
                died.touch()
                os._exit(7)
            return item

        print(list(MultiprocessingExecutor(2).map(work, range(200))) == list(range(200)))
        """,
        tmp_path / "died",
    )
    assert done.stdout == "True\n"
