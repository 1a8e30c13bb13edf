"""
The direct path: a task goes from the caller's thread into the workers' pipe.

loky hands a task from the caller to its manager thread, from there to the thread that feeds the
pipe, and so to a worker: two changes of thread, which cost a short map more than its work. Where
the pipe has room, this writes the message itself, under loky's own locks and in loky's own order.

It is optional. On systems other than Linux, and with a loky that lacks a name it needs, loky's
threads send all tasks. It sends one first task, and no other until that one has come back. The
environment variable ``PHYLOZOO_PARALLEL_DIRECT=0`` switches it off.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from phylozoo_parallel._loky import contract
from phylozoo_parallel._loky.exit import kill
from phylozoo_parallel._loky.start import interrupts_blocked

PIPE = 1 << 20
"""Bytes that a pipe to or from the workers should hold: what fits into it is sent at once."""

_failed = False
"""Whether workers could not read a task that was sent on the direct path."""


class _Wakeup:
    """Wakes loky's manager thread, unless the caller's thread does that thread's work itself."""

    def __init__(self, original: Any, able: bool) -> None:
        self._original, self.able, self.proven = original, able, False
        self.muted = threading.local()

    def prove(self, future: Any) -> None:
        """Send no other task directly until the first one has come back."""
        self.able = False

        def ended(future: Any) -> None:
            global _failed
            error = future.exception()
            # For a worker that died, loky raises a subclass.
            _failed = isinstance(error, contract.LOST) and "un-serialize" in str(error)
            self.able = self.proven = not _failed

        future.add_done_callback(ended)

    def wakeup(self) -> None:
        """Wake loky's manager thread, unless this thread has muted it."""
        if not hasattr(self.muted, "here"):
            self._original.wakeup()


@contextmanager
def sending(executor: Any, ours: Callable[[Any], bool]) -> Iterator[None]:
    """
    Send a task that is submitted in this context directly, if that is possible.

    Parameters
    ----------
    executor : loky's executor
    ours : callable
        Returns whether a task can be pickled by pickle alone.
    """
    wakeup = executor._executor_manager_thread_wakeup
    if wakeup is None or len(executor._processes) < executor._max_workers:
        with interrupts_blocked():
            yield
        # loky woke its thread before it started the workers, so the thread may not know of them.
        _wake(executor)
        return
    if not isinstance(wakeup, _Wakeup):
        wakeup = executor._executor_manager_thread_wakeup = _Wakeup(
            wakeup, _wanted() and _known(executor) and _widen(executor)
        )
    wakeup.muted.here = True
    try:
        yield
    finally:
        del wakeup.muted.here
        future = _sent(executor, ours) if wakeup.able else None
        if future is None:
            _wake(executor)
        elif not wakeup.proven:
            wakeup.prove(future)


def _wanted() -> bool:
    return os.environ.get("PHYLOZOO_PARALLEL_DIRECT") != "0"


def _wake(executor: Any) -> None:
    with executor._shutdown_lock:
        if not executor._flags.shutdown:
            executor._executor_manager_thread_wakeup.wakeup()


def _sent(executor: Any, ours: Callable[[Any], bool]) -> Any:
    """
    Send the task that has waited longest, if it is ours and the pipe has room for it.

    Returns
    -------
    Future or None
        The task's, if it was sent.
    """
    queue, waiting = executor._call_queue, executor._work_ids
    with executor._shutdown_lock, waiting.mutex:
        if executor._flags.shutdown or queue._buffer or not waiting.queue or queue.full():
            return None
        work = executor._pending_work_items[task := waiting.queue[0]]
        taken = begun = False
        try:
            taken = ours(work.fn) and queue._wlock.acquire(False)
            if taken:
                message = pickle.dumps(
                    contract.process_executor._CallItem(task, work.fn, (), {}), 5
                )
                begun = len(message) <= _room(queue)  # nobody else can fill it: we hold its lock
            if begun and queue._sem.acquire(False):
                # The last place is left to loky's thread: it checks for one, and then waits for it.
                if not queue.full():
                    work.future.set_running_or_notify_cancel()
                    waiting.queue.popleft()
                    executor._running_work_items.append(task)
                    queue._writer.send_bytes(message)
                    return work.future
                queue._sem.release()
        except BaseException:  # a handler of a signal raised it, at any point above
            if begun:  # half a message may be in the pipe, and make the next ones unreadable
                kill(executor)
            raise
        finally:
            if taken or queue._wlock._semlock._is_mine():
                queue._wlock.release()
    return None


def _known(executor: Any) -> bool:
    """Return whether loky has all that this module needs."""
    loky: Any = contract.process_executor
    return (
        not _failed
        and contract.optional("its executor", executor)
        and contract.optional("loky.process_executor", loky)
        and contract.takes(loky._CallItem, 0, None, (), {})
    )


if sys.platform == "linux":
    import fcntl
    import termios

    def _widen(executor: Any) -> bool:
        """Make the pipes larger; return whether this system tells how much room a pipe has."""
        with suppress(AttributeError, NotImplementedError, OSError):
            executor._call_queue.full()
            _room(executor._call_queue)
            for queue in executor._call_queue, executor._result_queue:
                with suppress(OSError):  # the system limits the pipe memory of a user
                    fcntl.fcntl(queue._writer, fcntl.F_SETPIPE_SZ, PIPE)
            return True
        return False

    def _room(queue: Any) -> int:
        """Return the bytes a queue's pipe has room for; nobody else may write to it meanwhile."""
        size, waiting = fcntl.fcntl(queue._writer, fcntl.F_GETPIPE_SZ), queue.qsize()
        used = fcntl.ioctl(queue._writer, termios.FIONREAD, bytes(4)) if waiting else b""
        # A pipe consists of pages, and each message may leave two of them partly empty.
        wasted = 2 * mmap.PAGESIZE * (waiting + 1)
        return int(size - int.from_bytes(used, sys.byteorder) - wasted)

else:

    def _widen(executor: Any) -> bool:
        """Return False: this system does not tell how much room a pipe has."""
        return False

    def _room(queue: Any) -> int:
        """Return that there is no room."""
        return 0
