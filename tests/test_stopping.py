"""What is left running, and what is said, when a map is stopped (S7, S14)."""

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import psutil
import pytest
from systems import KILL, LINUX, needs_posix

from phylozoo_parallel._engines import pools
from phylozoo_parallel._shipping import board


class TestUnread:
    def test_results_dropped_before_the_first_next_warn(self, workers):
        results = workers.map(lambda item: time.sleep(0.01), range(1000))
        with pytest.warns(RuntimeWarning, match=r"never read.*use list\(\.\.\.\)"):
            del results

    def test_dropped_results_do_not_warn_when_all_items_have_run(self, workers, tmp_path):
        results = workers.map(lambda item: (tmp_path / str(item)).touch(), range(2), chunksize=1)
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.005)
        time.sleep(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del results
            gc.collect()

    @pytest.mark.parametrize("stop", ["close", "next", "empty"])
    def test_closing_unread_results_does_not_warn(self, workers, stop):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results = workers.map(abs, [] if stop == "empty" else range(1000))
            if stop == "close":
                results.close()
            elif stop == "next":
                assert next(results) == 0
            del results
            gc.collect()


def test_items_that_have_not_begun_do_not_run_after_a_drop(workers, tmp_path):
    def work(item):
        (tmp_path / str(item)).touch()
        time.sleep(0.3)

    results = type(workers)(2).map(work, range(16), chunksize=1)
    next(results)
    results.close()
    begun = len(list(tmp_path.iterdir()))
    time.sleep(0.8)
    assert len(list(tmp_path.iterdir())) <= begun + 1  # one that was beginning just then


PROGRAM = """
import os, signal, sys, time, threading
from phylozoo_parallel import ParallelConfig

def sleeps(item):
    open(os.path.join({folder!r}, str(os.getpid())), "w").close()
    time.sleep(600)

def spins(item):
    open(os.path.join({folder!r}, str(os.getpid())), "w").close()
    return sum(range(10**14))

executor = ParallelConfig({backend!r}, n_jobs=2).get_executor()
if {warm}:
    assert list(executor.map(abs, [-1, 2])) == [1, 2]
"""


class Program:
    """A program in its own process group, whose items never end."""

    def __init__(self, tmp_path: Path, backend: str, code: str, warm: bool = True) -> None:
        self.folder = tmp_path / "workers"
        self.folder.mkdir()
        text = PROGRAM.format(folder=str(self.folder), backend=backend, warm=warm)
        script = tmp_path / "program.py"
        script.write_text(text + textwrap.dedent(code))
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def workers(self) -> list[int]:
        return [int(path.name) for path in self.folder.iterdir()]

    def end(self) -> tuple[str, str]:
        return self.process.communicate(timeout=60)


@pytest.fixture
def start(tmp_path):
    """Start a program; end it, and its workers, with the test."""
    started = []

    def start_one(*args, **kwargs):
        started.append(Program(tmp_path, *args, **kwargs))
        return started[0]

    yield start_one
    for program in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.process.pid, signal.SIGKILL)
        program.process.communicate()


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid)]


INTERRUPTED = """
for _ in range(2):
    try:
        for result in executor.map({func}, range(6)):
            pass
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
assert list(executor.map(abs, range(-9, 0))) == list(range(9, 0, -1))
"""


@pytest.mark.parametrize("whom", ["parent", "group"])
@pytest.mark.parametrize(
    ("backend", "func"),
    [("multiprocessing", "sleeps"), ("multiprocessing", "spins"), ("threading", "sleeps")],
)
def test_an_interrupt_stops_the_map_at_once(start, wait_until, backend, func, whom):
    program = start(backend, INTERRUPTED.format(func=func))
    count = 2 if backend == "multiprocessing" else 1
    for _ in range(2):
        wait_until(lambda: len(program.workers()) == count)
        time.sleep(0.2)
        before = program.workers()
        for path in program.folder.iterdir():
            path.unlink()
        sent = time.monotonic()
        if whom == "parent":
            program.process.send_signal(signal.SIGINT)
        else:
            os.killpg(program.process.pid, signal.SIGINT)
        assert float(program.process.stdout.readline()) - sent < 10
        if backend == "multiprocessing":
            wait_until(lambda before=before: not alive(before), 10)
    assert program.end() == ("", "")
    assert program.process.returncode == 0


def test_an_interrupt_at_a_prompt_stops_the_map(wait_until):
    pexpect = pytest.importorskip("pexpect")
    session = pexpect.spawn(
        sys.executable, ["-i", "-c", "import time; from phylozoo_parallel import *"], timeout=60
    )
    try:
        for line in (
            "run = MultiprocessingExecutor(2).map",
            "list(run(abs, [-1]))",
            "list(run(time.sleep, [600] * 9))",
        ):
            session.expect(">>> ")
            session.sendline(line)
        workers = psutil.Process(session.pid).children
        time.sleep(1)
        session.sendintr()
        session.expect("KeyboardInterrupt\r\n")
        session.expect(">>> ")
        assert b"Process" not in session.before  # as tracebacks of workers begin
        session.sendline("list(run(abs, [-1, -2]))")
        session.expect_exact("[1, 2]")
        # Two workers, joblib's two trackers, and where there is one the reaper.
        wait_until(lambda: len(workers()) <= 4 + (not LINUX))
    finally:
        session.sendline("exit()")
        session.expect(pexpect.EOF)
        session.close()


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_an_interrupt_while_workers_start_leaves_no_traceback(start, whom):
    code = """
    list(ParallelConfig("threading", 2).get_executor().map(abs, [1]))
    import phylozoo_parallel._engines.processes  # Ctrl-C in an import is Python's own business
    print("go", flush=True)
    try:
        list(executor.map(sleeps, range(6)))
    except KeyboardInterrupt:
        pass
    assert list(executor.map(abs, range(-9, 0))) == list(range(9, 0, -1))
    """
    program = start("multiprocessing", code, warm=False)
    assert program.process.stdout.readline() == "go\n"
    time.sleep(0.3)
    if whom == "parent":
        program.process.send_signal(signal.SIGINT)
    else:
        os.killpg(program.process.pid, signal.SIGINT)
    assert program.end() == ("", "")
    assert program.process.returncode == 0


@needs_posix("fork_exec")
def test_an_interrupt_as_a_worker_starts_waits_until_it_has(run_script):
    """Threads of BLAS take the signal where the caller's does not, and Python then raises there."""
    done = run_script(
        """
        import os, signal, threading, time
        from importlib import import_module
        from phylozoo_parallel._loky.contract import LOKY
        from phylozoo_parallel import MultiprocessingExecutor

        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        fork_exec = import_module(f"{LOKY}.backend.fork_exec")
        start = fork_exec.fork_exec

        def interrupted(*args, **options):
            fork_exec.fork_exec = start
            pid = start(*args, **options)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            return pid

        fork_exec.fork_exec = interrupted
        executor = MultiprocessingExecutor(2)
        try:
            list(executor.map(abs, range(4)))
        except KeyboardInterrupt:
            print("interrupted")
        print(list(executor.map(abs, range(4))))
        """
    )
    assert (done.stdout, done.stderr) == ("interrupted\n[0, 1, 2, 3]\n", "")


INTERRUPTED_IN = """
import signal, sys, threading
from phylozoo_parallel import MultiprocessingExecutor

entered = threading.Condition.__enter__.__code__
def press(frame, event, _):  # the call sets a flag, for which Python looks when it returns
    if event == "return" and frame.f_code is entered and frame.f_back.f_code.co_name == {where!r}:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)

executor = MultiprocessingExecutor(2, timeout=5)
for chunksize in 1, 2:
    list(executor.map(abs, range(4)))
    sys.setprofile(press)
    try:
        list(executor.map(abs, range(100), chunksize))
    except KeyboardInterrupt:
        print("interrupted")
print(list(executor.map(abs, range(4))))
"""


@pytest.mark.parametrize("where", ["put", "add_done_callback"])
def test_an_interrupt_while_a_chunk_is_sent_leaves_no_lock_held(run_script, where):
    """The lock of a queue or of a future, for which the next task or loky's thread would wait."""
    done = run_script(INTERRUPTED_IN.format(where=where), timeout=30)
    assert (done.stdout, done.stderr) == ("interrupted\n" * 2 + "[0, 1, 2, 3]\n", "")


ENDS = {
    "at its last line": ("", 0),
    "with an error": ("raise SystemExit(3)", 3),
    "after a break": ("del results", 0),
    "by SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "by SIGKILL": ("os.kill(os.getpid(), 9)", -KILL),
    "by os._exit": ("os._exit(4)", 4),
}


@pytest.mark.parametrize("func", ["sleeps", "spins"])
@pytest.mark.parametrize("how", ENDS)
def test_a_program_that_ends_leaves_no_worker(start, tmp_path, wait_until, func, how):
    statement, status = ENDS[how]
    code = f"""
    results = executor.map(lambda item: {func}(item) if item else None, range(6))
    next(results)
    while len(os.listdir({str(tmp_path / "workers")!r})) < 2:
        time.sleep(0.01)
    {statement}
    """
    program = start("multiprocessing", code)
    program.end()
    assert program.process.returncode == status
    wait_until(lambda: not alive(program.workers()), 50)


def test_a_program_that_leaves_many_maps_unfinished_ends_quietly(start):
    code = """
    results = [executor.map(time.sleep, [600] * 50) for _ in range(6)]
    for each in results:
        each.close()
    """
    program = start("multiprocessing", code)
    assert program.end() == ("", "")
    assert program.process.returncode == 0


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_a_program_whose_module_holds_a_map_ends_quietly(run_script, tmp_path, backend):
    """At the end Python clears modules in order: this one after some of the library's."""
    (tmp_path / "holder.py").write_text("results = None")
    code = f"""
    import holder, itertools, time
    from phylozoo_parallel import ParallelConfig

    executor = ParallelConfig({backend!r}, n_jobs=2).get_executor()
    holder.results = executor.map(lambda it: time.sleep(600 * it), itertools.count(), 1)
    next(holder.results)
    """
    done = run_script(code)
    assert (done.stdout, done.stderr) == ("", "")


@needs_posix("signal that stops a process")
def test_a_program_ends_although_its_workers_never_answer(run_script):
    """loky removes the worker that it waits for from its list, so it has to be found elsewhere."""
    done = run_script("""
    import os, signal
    from phylozoo_parallel import MultiprocessingExecutor
    from phylozoo_parallel._loky.start import current

    assert list(MultiprocessingExecutor(2).map(abs, range(4), 1)) == [0, 1, 2, 3]
    for pid in current()._processes:
        os.kill(pid, signal.SIGSTOP)
    """)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("how", ["at its last line", "with an error"])
def test_worker_threads_do_not_delay_the_end_of_a_program(start, how):
    statement, status = ENDS[how]
    code = f"""
    results = executor.map(lambda item: time.sleep(item * 600), range(6))
    next(results)
    {statement}
    """
    program = start("threading", code)
    program.end()
    assert program.process.returncode == status


class TestCloseInAnotherThread:
    @pytest.fixture
    def gate(self, tmp_path):
        """A file that the items wait for."""
        file = tmp_path / "gate"
        yield str(file)
        file.touch()

    @staticmethod
    def waits(gate, item):
        while item and not os.path.exists(gate):
            time.sleep(0.01)
        return item

    def test_close_ends_a_next_that_waits_in_another_thread(self, workers, gate):
        results = workers.map(partial(self.waits, gate), range(50), 1)
        assert next(results) == 0
        got = []
        reader = threading.Thread(target=lambda: got.extend(results), daemon=True)
        reader.start()
        time.sleep(0.2)  # until it waits
        results.close()
        reader.join(20)
        assert not reader.is_alive()
        assert got == []
        assert list(results) == []

    def test_close_ends_a_map_that_nobody_reads(self, workers, gate):
        results = workers.map(partial(self.waits, gate), range(50), 1)
        assert next(results) == 0
        closer = threading.Thread(target=results.close)
        closer.start()
        closer.join(20)
        assert not closer.is_alive()
        assert list(results) == []

    def test_close_leaves_the_workers_to_the_next_map(self, workers, gate):
        results = workers.map(partial(self.waits, gate), range(50), 1)
        next(results)
        closer = threading.Thread(target=results.close)
        closer.start()
        closer.join(20)
        open(gate, "w").close()
        assert list(workers.map(abs, range(20))) == list(range(20))

    def test_many_threads_may_close_at_once(self, workers):
        for _ in range(20):
            results = workers.map(abs, range(100000))
            next(results)
            closers = [threading.Thread(target=results.close) for _ in range(4)]
            for closer in closers:
                closer.start()
            list(results)
            for closer in closers:
                closer.join(20)
            assert list(results) == []
        assert list(workers.map(abs, range(20))) == list(range(20))

    def test_close_does_not_wait_for_a_slow_input(self, workers):
        gate, ran, opened = threading.Event(), [], []

        def items():
            yield from range(6)  # more than a map reads before its results are asked for
            opened.append(gate.wait(20))
            yield from range(6, 100)

        results = workers.map(abs, items(), 1)
        reader = threading.Thread(target=lambda: ran.extend(results))
        reader.start()
        time.sleep(0.2)  # until it waits for the input
        results.close()  # in this thread, which alone can open the gate
        gate.set()
        reader.join(20)
        assert opened == [True]
        assert not reader.is_alive()
        assert set(ran) <= set(range(6))

    def test_close_ends_a_map_without_workers_after_its_item(self, sequential):
        began, gate = threading.Event(), threading.Event()

        def waits(item):
            began.set()
            return gate.wait(20)

        results, got = sequential.map(waits, range(5)), []
        reader = threading.Thread(target=lambda: got.extend(results))
        reader.start()
        began.wait(20)
        results.close()
        gate.set()
        reader.join(20)
        assert got == []
        assert repr(results) == "<results: 1 of 5 items done>"


@needs_posix("signals")
def test_close_in_a_signal_handler_while_the_input_is_read_sends_nothing_more(workers):
    def items():
        yield 0
        signal.raise_signal(signal.SIGALRM)
        yield from range(1, 50)

    before = signal.signal(signal.SIGALRM, lambda *_: results.close())
    read = items()
    try:
        results = workers.map(abs, itertools.chain([0] * 8, read), 1)
        assert set(results) <= {0}
        assert next(read) == 2  # after the signal, one item was read
    finally:
        signal.signal(signal.SIGALRM, before)


@needs_posix("signals")
def test_an_interrupt_gives_back_what_the_chunks_in_flight_hold(workers):
    def interrupt(*_):
        raise KeyboardInterrupt

    own, before = board.own(), signal.signal(signal.SIGALRM, interrupt)
    free = len(own._free_slots), len(own._free_cells)
    try:
        for _ in range(3):
            results = type(workers)(2, timeout=60, chunksize=1).map(time.sleep, [5] * 20)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                list(results)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (len(own._free_slots), len(own._free_cells)) == free
    assert all(not pool.watches for pool in pools.kept.values())


def test_close_in_the_handler_of_a_signal_ends_a_map_without_workers(sequential):
    def closes(item):
        results.close()  # as a handler would, in the middle of the item
        return item

    results = sequential.map(closes, range(5))
    assert list(results) == []


def test_close_in_the_handler_of_a_signal_ends_the_map(workers):
    def close(*_):
        results.close()

    before = signal.signal(signal.SIGALRM, close)
    try:
        results = workers.map(lambda item: time.sleep(0.5 * item), range(4), 1)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert len(list(results)) < 4
    finally:
        signal.signal(signal.SIGALRM, before)
