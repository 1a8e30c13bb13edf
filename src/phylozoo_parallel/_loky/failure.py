"""When loky's pool breaks: which workers died, when all are gone, and how to free loky's thread."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

from phylozoo_parallel._loky.exit import kill

STATUS = {
    0xC0000005: ", access violation",
    0xC0000017: ", no memory",
    0xC000001D: ", illegal instruction",
    0xC0000094: ", integer division by zero",
    0xC00000FD: ", stack overflow",
    0xC0000135: ", a DLL was not found",
    0xC0000374: ", heap corruption",
    0xC0000409: ", abort",
}
"""Meanings of the exit codes that crashed processes have on Windows."""


def ended(executor: Any) -> dict[int, str] | None:
    """
    Return which workers of a broken executor have ended by themselves, and how, by their pid.

    Returns
    -------
    dict or None
        None if that is not known: the program waits for its child processes itself, or ignores
        SIGCHLD, so that their exit codes are gone.
    """
    workers = list(executor._processes.items())
    codes = {pid: _ending(code) for pid, it in workers if (code := it.exitcode) is not None}
    return codes or (None if executor._flags.broken else {})


def when_gone(executor: Any, call: Callable[[], None]) -> None:
    """Call a function once all workers of a broken executor are gone: until then they may run."""
    manager = executor._executor_manager_thread

    def wait() -> None:
        if manager is not None:
            manager.join()
        call()

    try:
        threading.Thread(target=wait, daemon=True).start()
    except RuntimeError:  # the interpreter is shutting down, and starts no more threads
        call()


def free(executor: Any) -> None:
    """
    Free loky's thread from waiting for the rest of a result that a dead worker was sending.

    Nothing else ends that wait, because this process also holds an end of the pipe for writing.
    This writes zeros in the place of the rest. Then the result cannot be unpickled, and loky takes
    the executor for broken.
    """
    # On Windows no part of a result is missing, but loky may not notice that the worker died.
    if sys.platform == "win32":
        with suppress(OSError):
            executor._result_queue._writer.send_bytes(bytes(1))
        return
    pipe, room = executor._result_queue._writer.fileno(), select.poll()
    room.register(pipe, select.POLLOUT)
    with suppress(OSError):  # loky has closed it
        while not executor._flags.broken and room.poll(1000):
            os.write(pipe, bytes(select.PIPE_BUF))


def _ending(code: int) -> str:
    """Describe an exit code; a negative one is a signal, and a huge one is an error of Windows."""
    with suppress(ValueError):
        return f"exit code {code}, {signal.Signals(-code).name}"
    if code >= 1 << 31:
        return f"exit code 0x{code:X}{STATUS.get(code, '')}"
    return f"exit code {code}"


def has_stopped(executor: Any) -> bool:
    """
    Return whether loky's manager thread has died of an error, so that nobody does its work.

    loky tells nobody (https://github.com/joblib/loky/pull/663). A worker that cannot be replaced is
    enough, or loky's warning that a worker stopped (https://github.com/joblib/joblib/issues/883),
    if warnings are errors.
    """
    manager = executor._executor_manager_thread
    if manager is None or manager.ident is None or manager.is_alive():
        return False
    return bool(executor._pending_work_items) or not executor._flags.shutdown


def break_up(executor: Any) -> None:
    """End an executor whose manager thread has died, as loky ends one that a worker has broken."""
    error = BrokenProcessPool("loky's thread has died")
    executor._flags.flag_as_broken(error)
    kill(executor)
    with suppress(Exception):  # it may fail for the same reason again
        executor._executor_manager_thread.terminate_broken(error)


def let_break(executor: Any) -> None:
    """Have loky take a pool for broken, and end it."""
    executor._flags.flag_as_broken(BrokenProcessPool("a worker could not be replaced"))
    kill(executor)


def has_dead(executor: Any) -> bool:
    """Return whether a worker of an executor has died, and loky does not know it yet."""
    workers = list(executor._processes.values())
    return not executor._flags.shutdown and any(it.exitcode is not None for it in workers)
