"""How loky's worker processes start, and how many they are."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from time import sleep
from typing import Any, TextIO

from phylozoo_parallel._loky import contract

THREADS = {"ExecutorManagerThread", "QueueFeederThread"}
"""Names of loky's threads, in which no map must wait."""

LEAK_LIMIT = (f"{contract.LOKY}.process_executor", "_MAX_MEMORY_LEAK_SIZE")
"""Where a worker finds the bytes that it may grow by before loky replaces it."""

MOST = 61 if sys.platform == "win32" else sys.maxsize
"""Worker processes at most: Windows waits for no more at once, and loky forgets when resized."""

_held: Any = None
"""The executor that maps use; loky from 3.7 on has one for each thread, of which this is one."""
SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable for the start of workers; from Python 3.11 on."""

_SEED = str(int.from_bytes(os.urandom(4), "big") or 1)
"""Of the hashes of texts, in all workers of this program."""

_left_behind: Any = None


def hold(executor: Any) -> None:
    """Keep the executor that maps use."""
    global _held
    _held = executor


def current() -> Any:
    """Return the executor that maps use, else the one that joblib would use here, or None."""
    if is_open(_held):
        return _held
    executor, _ = _of_this_thread()
    return _held if executor is None else executor


def is_open(executor: Any) -> bool:
    """Tell whether an executor takes tasks."""
    return executor is not None and not executor._flags.shutdown


def busy(executor: Any) -> bool:
    """Tell whether an executor has tasks."""
    return bool(executor._pending_work_items)


def size(executor: Any) -> int:
    """Tell how many workers an executor has, or will have when they are needed."""
    return int(executor._max_workers)


@contextmanager
def at_hand(executor: Any) -> Iterator[None]:
    """Have joblib find an executor that was opened in another thread."""
    here, settings = _of_this_thread()
    storage = getattr(contract.reusable_executor, "_executor_storage", None)
    if storage is None or here is executor or not is_open(executor):
        yield
        return
    storage.executor = executor
    try:
        yield
    finally:
        storage.executor, storage.executor_kwargs = here, settings


def _of_this_thread() -> tuple[Any, Any]:
    """Return what loky keeps for the next call in this thread: an executor, and its settings."""
    loky: Any = contract.reusable_executor
    storage = getattr(loky, "_executor_storage", None)  # from loky 3.7 on
    if storage is not None:
        return storage.executor, storage.executor_kwargs
    return getattr(loky, "_executor", None), None


def fill_streams() -> None:
    """Open what is closed of stdin, stdout and stderr: no pipe of joblib's may be printed to."""
    with suppress(OSError):
        fd = os.open(os.devnull, os.O_RDWR)
        while fd <= 2:
            os.set_inheritable(fd, True)
            fd = os.dup(fd)
        os.close(fd)
    # loky flushes both for each new worker; a program may have none, as under pythonw.
    sys.stdout = _nowhere() if sys.stdout is None else sys.stdout
    sys.stderr = _nowhere() if sys.stderr is None else sys.stderr


@cache
def _nowhere() -> TextIO:
    return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)


def pids(executor: Any) -> tuple[int, ...]:
    """Return the process ids of an executor's workers."""
    return tuple(executor._processes)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Have processes that start here inherit a blocked SIGINT: Ctrl-C is the caller's alone."""
    if sys.platform == "win32":
        from phylozoo_parallel._loky.windows import own_group

        with own_group():
            yield
        return
    # They let interrupts through again when they have started.
    with _safe_path():
        contract.resource_tracker.ensure_running()
        multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Have Python programs that start here not take a random.py of this directory for Python's."""
    if SAFE_PATH in os.environ:
        yield
        return
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        del os.environ[SAFE_PATH]


def hash_alike(executor: Any) -> None:
    """
    Have all workers that an executor starts from now on hash alike.

    The order of a set, and with it sums and ties, would else depend on which worker ran an item.
    Set here it is not one of the executor's arguments: another one there has joblib start anew.
    """
    theirs = os.environ.get("PYTHONHASHSEED", "random")
    if theirs == "random" and not executor._processes:  # else those of the user's own Parallel
        executor._env = {"PYTHONHASHSEED": _SEED} | (getattr(executor, "_env", None) or {})


def resize(executor: Any, workers: int) -> None:
    """Resize an idle executor; loky's own way waits for ever if a worker dies meanwhile."""
    if executor is not None and executor._flags.shutdown:
        terminate(executor)  # or its folders stay until the program ends
        return
    if executor is None or executor._pending_work_items:
        return
    lock = getattr(executor, "_submit_resize_lock", nullcontext())  # before loky 3.7
    with lock, suppress(ValueError):  # it broke: its queue is closed
        with executor._processes_management_lock:
            for _ in range(workers, len(executor._processes)):
                executor._call_queue.put(None)
            executor._max_workers = workers
        manager = executor._executor_manager_thread
        while len(executor._processes) > workers and manager.is_alive():
            sleep(0.001)


def terminate(executor: Any, kill_workers: bool = True) -> None:
    """End an executor and its folders, and its workers at once or after their tasks."""
    # The lock of joblib 1.6 is not there when loky 3.7 is; all but the folders has been done then.
    with suppress(AttributeError):
        executor.terminate(kill_workers=kill_workers)


def _forget() -> None:
    """Let go, in a forked child, of the executor that stayed with the parent."""
    global _held, _left_behind
    # Kept alive: collecting it would write to the parent's pipes.
    _left_behind = _held, _of_this_thread()
    _held = None
    loky: Any = contract.reusable_executor
    if hasattr(loky, "_executor_storage"):
        loky._executor_storage.executor = None
    elif loky is not None:
        loky._executor = None
    if loky is not None:
        loky._executor_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
