"""
The direct path: a task goes from the caller's thread into the workers' pipe.

loky hands a task from the caller to its manager thread, from there to the thread that feeds the
pipe, and so to a worker: two changes of thread, which cost a short map more than its work. Where
the pipe has room, this writes the message itself, under loky's own locks and in loky's own order.

It is optional: on systems other than Linux, and where loky is not as it needs it, loky's threads
do all. It sends a first task, and no more until that has come back. The environment variable
``PHYLOZOO_PARALLEL_DIRECT=0`` switches it off.
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
from phylozoo_parallel._loky.start import deaf_to_interrupts

PIPE = 1 << 20
"""Bytes that a pipe to or from the workers should hold; what fits into it waits for nobody."""

_refuted = False
"""Whether workers did not understand what was sent to them."""


class _Bell:
    """What wakes loky's manager thread; silent where the caller's thread does its work."""

    def __init__(self, bell: Any, able: bool) -> None:
        self._bell, self.able, self.proven = bell, able, False
        self.muted = threading.local()

    def prove(self, future: Any) -> None:
        """Send no more past loky until the first task that was sent so has come back."""
        self.able = False

        def landed(future: Any) -> None:
            global _refuted
            error = future.exception()
            # Of a worker that died, loky raises a subclass.
            _refuted = isinstance(error, contract.LOST) and "un-serialize" in str(error)
            self.able = self.proven = not _refuted

        future.add_done_callback(landed)

    def wakeup(self) -> None:
        """Ring, unless this thread has muted it."""
        if not hasattr(self.muted, "here"):
            self._bell.wakeup()


@contextmanager
def sending(executor: Any, ours: Callable[[Any], bool]) -> Iterator[None]:
    """
    Have a task that is submitted in this context skip two threads of loky.

    Parameters
    ----------
    executor : loky's executor
    ours : callable
        Tells whether a task needs no more than pickle.
    """
    bell = executor._executor_manager_thread_wakeup
    if bell is None or len(executor._processes) < executor._max_workers:
        with deaf_to_interrupts():
            yield
        _ring(executor)  # loky did before the workers started, and may not know of them
        return
    if not isinstance(bell, _Bell):
        bell = executor._executor_manager_thread_wakeup = _Bell(
            bell, _wanted() and _known(executor) and _widen(executor)
        )
    bell.muted.here = True
    try:
        yield
    finally:
        del bell.muted.here
        future = _sent(executor, ours) if bell.able else None
        if future is None:
            _ring(executor)
        elif not bell.proven:
            bell.prove(future)


def _wanted() -> bool:
    return os.environ.get("PHYLOZOO_PARALLEL_DIRECT") != "0"


def _ring(executor: Any) -> None:
    with executor._shutdown_lock:
        if not executor._flags.shutdown:
            executor._executor_manager_thread_wakeup.wakeup()


def _sent(executor: Any, ours: Callable[[Any], bool]) -> Any:
    """
    Send the task that has waited longest, if it is ours and takes no waiting for room.

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
                begun = len(message) <= _room(queue)  # which nobody else can take now
            if begun and queue._sem.acquire(False):
                # The last place is for loky's thread: it looks for one, and then waits for it.
                if not queue.full():
                    work.future.set_running_or_notify_cancel()
                    waiting.queue.popleft()
                    executor._running_work_items.append(task)
                    queue._writer.send_bytes(message)
                    return work.future
                queue._sem.release()
        except BaseException:  # of a signal's handler
            if begun:  # half a message would be the end of the others
                kill(executor)
            raise
        finally:
            if taken or queue._wlock._semlock._is_mine():
                queue._wlock.release()
    return None


def _known(executor: Any) -> bool:
    """Tell whether all that this module leans on is there."""
    loky: Any = contract.process_executor
    return (
        not _refuted
        and contract.optional("its executor", executor)
        and contract.optional("loky.process_executor", loky)
        and contract.takes(loky._CallItem, 0, None, (), {})
    )


if sys.platform == "linux":
    import fcntl
    import termios

    def _widen(executor: Any) -> bool:
        """Have the pipes hold more, and tell whether it can be seen how much there is room for."""
        with suppress(AttributeError, NotImplementedError, OSError):
            executor._call_queue.full()
            _room(executor._call_queue)
            for queue in executor._call_queue, executor._result_queue:
                with suppress(OSError):  # the user has many of them
                    fcntl.fcntl(queue._writer, fcntl.F_SETPIPE_SZ, PIPE)
            return True
        return False

    def _room(queue: Any) -> int:
        """Return how long a message a queue's pipe takes at once, if nobody else writes to it."""
        size, waiting = fcntl.fcntl(queue._writer, fcntl.F_GETPIPE_SZ), queue.qsize()
        used = fcntl.ioctl(queue._writer, termios.FIONREAD, bytes(4)) if waiting else b""
        # A pipe holds pages, and each message two that are not full.
        wasted = 2 * mmap.PAGESIZE * (waiting + 1)
        return int(size - int.from_bytes(used, sys.byteorder) - wasted)

else:

    def _widen(executor: Any) -> bool:
        """Tell that it cannot be seen how much there is room for."""
        return False

    def _room(queue: Any) -> int:
        """Return that there is no room."""
        return 0
