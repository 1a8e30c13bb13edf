"""How loky's worker processes start, and how many they are."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep
from typing import Any

from joblib.externals.loky import reusable_executor
from joblib.externals.loky.backend import resource_tracker

THREADS = {"ExecutorManagerThread", "QueueFeederThread"}
"""Names of loky's threads, in which no map must wait."""

LEAK_LIMIT = ("joblib.externals.loky.process_executor", "_MAX_MEMORY_LEAK_SIZE")
"""Where a worker finds the bytes that it may grow by before loky replaces it."""

_SEED = str(int.from_bytes(os.urandom(4), "big") or 1)
"""Of the hashes of texts, in all workers of this program."""

_left_behind: Any = None


def current() -> Any:
    """Return joblib's executor, or None."""
    return reusable_executor._executor


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


def hash_alike(executor: Any) -> None:
    """
    Have all workers that an executor starts from now on hash alike.

    The order of a set, and with it sums and ties, would else depend on which worker ran an item.
    Set here it is not one of the executor's arguments: another one there has joblib start anew.
    """
    theirs = os.environ.get("PYTHONHASHSEED", "random")
    if theirs == "random" and not executor._processes:  # else those of the user's own Parallel
        executor._env = {"PYTHONHASHSEED": _SEED} | (executor._env or {})


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


def _forget() -> None:
    """Let go, in a forked child, of the executor that stayed with the parent."""
    global _left_behind
    # Kept alive: collecting it would write to the parent's pipes.
    _left_behind = reusable_executor._executor
    reusable_executor._executor = None
    reusable_executor._executor_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
