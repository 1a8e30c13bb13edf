"""How loky's pool breaks: who died, when the others are gone, and what frees loky itself."""

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
"""What Windows' exit codes of processes that crash mean."""


def ended(executor: Any) -> dict[int, str] | None:
    """
    Tell which workers of a broken executor have ended by themselves, and how, by their pid.

    Returns
    -------
    dict or None
        None where nobody can tell: the program reaps its children itself, or ignores SIGCHLD.
    """
    workers = list(executor._processes.items())
    codes = {pid: _ending(code) for pid, it in workers if (code := it.exitcode) is not None}
    return codes or (None if executor._flags.broken else {})


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
    if sys.platform == "win32":  # there the rest is never missing, but news of the death may be
        with suppress(OSError):
            executor._result_queue._writer.send_bytes(bytes(1))
        return
    pipe, room = executor._result_queue._writer.fileno(), select.poll()
    room.register(pipe, select.POLLOUT)
    with suppress(OSError):  # loky has closed it
        while not executor._flags.broken and room.poll(1000):
            os.write(pipe, bytes(select.PIPE_BUF))


def _ending(code: int) -> str:
    """Describe an exit code; a negative one is the number of a signal, a huge one Windows' own."""
    with suppress(ValueError):
        return f"exit code {code}, {signal.Signals(-code).name}"
    if code >= 1 << 31:
        return f"exit code 0x{code:X}{STATUS.get(code, '')}"
    return f"exit code {code}"


def has_stopped(executor: Any) -> bool:
    """
    Tell whether loky's thread has died of an error, with work left that nobody else does.

    Its warning about a worker that stopped will do, where warnings are errors
    (https://github.com/joblib/joblib/issues/883), or a worker that cannot be replaced.
    """
    manager = executor._executor_manager_thread
    if manager is None or manager.ident is None or manager.is_alive():
        return False
    return bool(executor._pending_work_items) or not executor._flags.shutdown


def break_up(executor: Any) -> None:
    """Do for a pool whose thread has died what loky does for one that a worker has broken."""
    error = BrokenProcessPool("loky's thread has died")
    executor._flags.flag_as_broken(error)
    kill(executor)
    with suppress(Exception):  # it may die of the same again
        executor._executor_manager_thread.terminate_broken(error)


def let_break(executor: Any) -> None:
    """Have loky take a pool for broken, and end it."""
    executor._flags.flag_as_broken(BrokenProcessPool("a worker could not be replaced"))
    kill(executor)


def has_dead(executor: Any) -> bool:
    """Tell whether a worker of an executor has died, and loky does not know of it yet."""
    workers = list(executor._processes.values())
    return not executor._flags.shutdown and any(it.exitcode is not None for it in workers)
