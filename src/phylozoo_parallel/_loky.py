"""
loky's executor of worker processes, as joblib opens it: how it starts, breaks, and ends.

::

    starts   deaf_to_interrupts, fill_streams     breaks   lost, when_gone, free
    works    straight, resize                     ends     end, leave_with

Together with :mod:`._engine` the only place that leans on what joblib does not export.
"""

from __future__ import annotations

import mmap
import multiprocessing.resource_tracker
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from queue import Empty
from time import monotonic, sleep
from typing import Any

from joblib.externals.loky import process_executor, reusable_executor
from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.backend.utils import kill_process_tree
from joblib.parallel import BatchedCalls

from phylozoo_parallel import _board
from phylozoo_parallel._worker import run_in_process

LOST = (BrokenProcessPool, process_executor.ShutdownExecutorError)
"""What loky raises for the tasks of a pool whose workers are gone."""

THREADS = {"ExecutorManagerThread", "QueueFeederThread"}
"""Names of loky's threads, in which no map must wait."""

LEAVE = 2.0
"""Seconds that workers have to end when the program does, unless a thread still needs them."""

PIPE = 1 << 20
"""Bytes that a pipe to or from the workers should hold; what fits into it waits for nobody."""


class WorkersLost(Exception):
    """
    Worker processes are gone, and the chunks that their pool had with them.

    Attributes
    ----------
    codes : dict of int to str, or None
        How those ended that died by themselves, by pid; None where nobody can tell.
    noted : dict of int to float
        When each worker noted something last, by pid.
    """

    def __init__(self, codes: dict[int, str] | None, noted: dict[int, float]) -> None:
        died = [f"worker process {pid} died ({how})" for pid, how in (codes or {}).items()]
        none = "a worker process died" if codes is None else "the worker processes were ended"
        super().__init__(" and ".join(died) or none)
        self.codes, self.noted = codes, noted

    def hit(self, at: _board.Progress) -> bool:
        """
        Tell whether what was seen of a chunk may be the last of a worker that died.

        It may have ended the chunk, its answer unread, and died in the next one.
        """
        if not at.pid or self.codes is None:
            return True
        return at.pid in self.codes and at.since >= self.noted.get(at.pid, 0)


def fill_streams() -> None:
    """Open what is closed of stdin, stdout and stderr: no pipe of joblib's may be printed to."""
    with suppress(OSError):
        fd = os.open(os.devnull, os.O_RDWR)
        while fd <= 2:
            os.set_inheritable(fd, True)
            fd = os.dup(fd)
        os.close(fd)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Have processes that start here inherit a blocked SIGINT: Ctrl-C is the caller's alone."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # They let interrupts through again when they have started.
    resource_tracker.ensure_running()
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Bell:
    """What wakes loky's manager thread; silent where the caller's thread does its work."""

    def __init__(self, bell: Any, able: bool) -> None:
        self._bell, self.able = bell, able
        self.muted = threading.local()

    def wakeup(self) -> None:
        """Ring, unless this thread has muted it."""
        if not hasattr(self.muted, "here"):
            self._bell.wakeup()


@contextmanager
def straight(executor: Any) -> Iterator[None]:
    """Have a task that is submitted here skip two threads of loky on its way to a worker."""
    bell = executor._executor_manager_thread_wakeup
    if bell is None or len(executor._processes) < executor._max_workers:
        with deaf_to_interrupts():
            yield
        _ring(executor)  # loky did before the workers started, and may not know of them
        return
    if not isinstance(bell, _Bell):
        bell = executor._executor_manager_thread_wakeup = _Bell(bell, _widen(executor))
    bell.muted.here = True
    try:
        yield
    finally:
        del bell.muted.here
        if not (bell.able and _sent(executor)):
            _ring(executor)


def _ring(executor: Any) -> None:
    with executor._shutdown_lock:
        if not executor._flags.shutdown:
            executor._executor_manager_thread_wakeup.wakeup()


def _sent(executor: Any) -> bool:
    """Send the task that has waited longest, if it is ours and takes no waiting for room."""
    queue, waiting = executor._call_queue, executor._work_ids
    with executor._shutdown_lock, waiting.mutex:
        if executor._flags.shutdown or queue._buffer or not waiting.queue or queue.full():
            return False
        work = executor._pending_work_items[task := waiting.queue[0]]
        calls = work.fn.items if isinstance(work.fn, BatchedCalls) else ()
        taken = begun = False
        try:
            # A task of others may need more than pickle.
            taken = bool(calls and calls[0][0] is run_in_process and queue._wlock.acquire(False))
            if taken:
                message = pickle.dumps(process_executor._CallItem(task, work.fn, (), {}), 5)
                begun = len(message) <= _room(queue)  # which nobody else can take now
            if begun and queue._sem.acquire(False):
                # The last place is for loky's thread: it looks for one, and then waits for it.
                if not queue.full():
                    work.future.set_running_or_notify_cancel()
                    waiting.queue.popleft()
                    executor._running_work_items.append(task)
                    queue._writer.send_bytes(message)
                    return True
                queue._sem.release()
        except BaseException:  # of a signal's handler
            if begun:  # half a message would be the end of the others
                _kill(list(executor._processes.values()))
            raise
        finally:
            if taken or queue._wlock._semlock._is_mine():
                queue._wlock.release()
    return False


def _widen(executor: Any) -> bool:
    """Have the pipes hold more, and tell whether it can be seen how much there is room for."""
    with suppress(ImportError, AttributeError, NotImplementedError, OSError):  # not Linux
        import fcntl

        executor._call_queue.full()
        _room(executor._call_queue)
        for queue in executor._call_queue, executor._result_queue:
            with suppress(OSError):  # the user has many of them
                fcntl.fcntl(queue._writer, fcntl.F_SETPIPE_SZ, PIPE)
        return True
    return False


def _room(queue: Any) -> int:
    """Return how long a message the pipe of a queue takes at once, if nobody else writes to it."""
    import fcntl
    import termios

    used = int.from_bytes(fcntl.ioctl(queue._writer, termios.FIONREAD, bytes(4)), sys.byteorder)
    # A pipe holds pages, and each message two that are not full.
    wasted = 2 * mmap.PAGESIZE * (queue.qsize() + 1)
    return int(fcntl.fcntl(queue._writer, fcntl.F_GETPIPE_SZ) - used - wasted)


def resize(executor: Any, workers: int) -> None:
    """Resize an idle executor; loky's own way waits for ever if a worker dies meanwhile."""
    if executor is not None and executor._flags.shutdown:
        executor.terminate(kill_workers=True)  # or its folders stay until the program ends
        return
    if executor is None or executor._pending_work_items:
        return
    with executor._submit_resize_lock, suppress(ValueError):  # it broke: its queue is closed
        with executor._processes_management_lock:
            for _ in range(workers, len(executor._processes)):
                executor._call_queue.put(None)
            executor._max_workers = workers
        while len(executor._processes) > workers and not executor._flags.shutdown:
            sleep(0.001)


def lost(executor: Any) -> WorkersLost:
    """Tell which workers of a broken executor died; loky ends the others after its tasks know."""
    loss: WorkersLost | None = getattr(executor, "loss", None)
    if loss is None:  # at the first question, when the others still run
        workers = list(executor._processes.items())
        ended = {pid: _ended(code) for pid, it in workers if (code := it.exitcode) is not None}
        # There are none where the program reaps its children itself, or ignores SIGCHLD.
        board = _board.own()
        noted = board.latest() if board else {}
        loss = executor.loss = WorkersLost(ended or (None if executor._flags.broken else {}), noted)
    return loss


def when_gone(executor: Any, call: Callable[[], None]) -> None:
    """Call when the workers of a broken executor are gone: until then they begin what is left."""
    manager = executor._executor_manager_thread

    def wait() -> None:
        if manager is not None:
            manager.join()
        call()

    try:
        threading.Thread(target=wait, daemon=True).start()
    except RuntimeError:  # the interpreter ends
        call()


def free(executor: Any) -> None:
    """
    Free loky from waiting for the rest of what a dead worker was sending.

    Nothing else ends that wait, as the pipe is open in this process too. With zeros for the
    rest, what arrives cannot be unpickled, and loky takes the executor for broken.
    """
    pipe, room = executor._result_queue._writer.fileno(), select.poll()
    room.register(pipe, select.POLLOUT)
    with suppress(OSError):  # loky has closed it
        while not executor._flags.broken and room.poll(1000):
            os.write(pipe, bytes(select.PIPE_BUF))


def _ended(code: int) -> str:
    """Describe an exit code; a negative one is the number of a signal."""
    with suppress(ValueError):
        return f"exit code {code}, {signal.Signals(-code).name}"
    return f"exit code {code}"


def leave_with(executor: Any) -> None:
    """Have :func:`_leave` run before loky's own hook, which it registers with each executor."""
    if not hasattr(executor, "leaves"):
        threading._register_atexit(_leave)  # type: ignore[attr-defined]
        executor.leaves = True


def _leave() -> None:
    """
    End, with the program, its workers: loky's own hook would wait for whatever they do.

    A worker that dies while it waits for work takes the lock of the queue with it, and the
    others never hear that they may go; one that dies while it answers leaves loky reading.
    """
    executor: Any = reusable_executor._executor
    manager = getattr(executor, "_executor_manager_thread", None)
    if manager is None:
        return
    workers, pending = list(executor._processes.values()), executor._pending_work_items
    threads = set(threading.enumerate()) - {threading.main_thread(), manager}
    if pending and all(thread.daemon for thread in threads):
        _kill(workers)  # nobody will read what they still do
    answers = executor._result_queue._writer
    process_executor._global_shutdown = True  # as loky's hook does
    with executor._shutdown_lock:
        executor._executor_manager_thread_wakeup.wakeup()
    end = monotonic() + LEAVE
    while manager.is_alive() and (
        monotonic() < end or (pending and all(worker.is_alive() for worker in workers))
    ):
        manager.join(0.05)
    if manager.is_alive():
        _kill(workers)
        answers.close()  # the last end of the pipe: loky reads no further
        manager.join(LEAVE)


def _kill(workers: list[Any]) -> None:
    for worker in workers:
        kill_process_tree(worker)


def end(executor: Any) -> None:
    """End all workers at once."""
    # First what waits in line: loky's thread would stumble over it.
    with suppress(Empty):
        while True:
            executor._work_ids.get_nowait()
    executor.terminate(kill_workers=True)  # cleans up, unlike shutdown
