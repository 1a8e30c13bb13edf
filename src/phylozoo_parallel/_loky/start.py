"""How loky's worker processes start, and how many there are."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from time import sleep
from typing import Any, TextIO

from phylozoo_parallel._loky import contract

THREADS = {"ExecutorManagerThread", "QueueFeederThread"}
"""Names of loky's threads; a map that waited in one of them would wait for ever."""

LEAK_LIMIT = (f"{contract.LOKY}.process_executor", "_MAX_MEMORY_LEAK_SIZE")
"""Module and name of loky's limit: a worker whose memory grows by so many bytes is replaced."""

MOST = 61 if sys.platform == "win32" else sys.maxsize
"""Most worker processes: Windows cannot wait for more at once; loky does not check it on resize."""

_held: Any = None
"""The executor that maps use; from loky 3.7 on there is one for each thread, and this is one."""

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable that keeps the current directory out of ``sys.path`` (Python 3.11)."""

_SEED = str(int.from_bytes(os.urandom(4), "big") or 1)
"""The hash seed of all workers of this program."""

_of_parent: Any = None

_no_lock = nullcontext()

_signals: Any = sys.modules.get("_signal", signal)
"""What ``signal`` is made of: the same functions, in a tenth of the time."""


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
    """Return whether an executor takes tasks."""
    return executor is not None and not executor._flags.shutdown


def busy(executor: Any) -> bool:
    """Return whether an executor has tasks."""
    return bool(executor._pending_work_items)


def tasks(executor: Any) -> set[int]:
    """Return the numbers of an executor's tasks, which it gives in the order of their coming."""
    return set(executor._pending_work_items)


def size(executor: Any) -> int:
    """Return how many workers an executor has, or will have once they are needed."""
    return int(executor._max_workers)


@contextmanager
def at_hand(executor: Any) -> Iterator[None]:
    """Let joblib find an executor that was opened in another thread (from loky 3.7 on)."""
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
    """Return the executor that loky keeps for the next call in this thread, and its settings."""
    loky: Any = contract.reusable_executor
    storage = getattr(loky, "_executor_storage", None)  # from loky 3.7 on
    if storage is not None:
        return storage.executor, storage.executor_kwargs
    return getattr(loky, "_executor", None), None


def fill_streams() -> None:
    """
    Open stdin, stdout and stderr if they are closed.

    Otherwise joblib's next pipe would get such a number, and what is printed would go into it.
    """
    with suppress(OSError):
        fd = os.open(os.devnull, os.O_RDWR)
        while fd <= 2:
            os.set_inheritable(fd, True)
            fd = os.dup(fd)
        os.close(fd)
    # loky flushes both before it starts a worker; a program may have none, as under pythonw.
    sys.stdout = _nowhere() if sys.stdout is None else sys.stdout
    sys.stderr = _nowhere() if sys.stderr is None else sys.stderr


@cache
def _nowhere() -> TextIO:
    return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)


def pids(executor: Any) -> tuple[int, ...]:
    """Return the process ids of an executor's workers."""
    return tuple(executor._processes)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Make processes that start here ignore Ctrl-C, and this one wait with it until they run."""
    with uninterrupted():
        if sys.platform == "win32":
            from phylozoo_parallel._loky.windows import own_group

            with own_group():
                yield
            return
        # The resource trackers start before: they let interrupts through again once they run.
        with _safe_path():
            contract.resource_tracker.ensure_running()
            multiprocessing.resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class uninterrupted:
    """
    A context: Ctrl-C interrupts this program after what runs here, and not in the middle of it.

    To block the signal is not enough: other threads, such as those of BLAS, receive it, and Python
    then interrupts its main thread. That would leave a worker that was never told what to do, or
    one of loky's locks held, for which the next task and loky's thread would wait for ever.
    """

    def __enter__(self) -> None:
        self._handler: Any = None
        self._came = False
        if threading.get_ident() == threading.main_thread().ident:
            handler = _signals.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                _signals.signal(signal.SIGINT, self._note)

    def _note(self, *_: Any) -> None:
        self._came = True

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            _signals.signal(signal.SIGINT, self._handler)
            if self._came:
                signal.raise_signal(signal.SIGINT)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Keep Python programs that start here from importing a random.py of the current directory."""
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
    Give all workers that an executor starts from now on the same hash seed.

    Otherwise the order of a set, and with it sums and ties, would depend on which worker ran an
    item. It is set on the executor, and not given as one of its arguments, because with other
    arguments joblib would start a new executor.
    """
    chosen = os.environ.get("PYTHONHASHSEED", "random")
    # An executor with processes was started by the user's own Parallel.
    if chosen == "random" and not executor._processes:
        executor._env = {"PYTHONHASHSEED": _SEED} | (getattr(executor, "_env", None) or {})


def submit_lock(executor: Any) -> AbstractContextManager[Any]:
    """Return the lock that loky takes to submit a task and to replace an executor (before 3.7)."""
    lock: AbstractContextManager[Any] = getattr(executor, "_submit_resize_lock", _no_lock)
    return lock


def resize(executor: Any, workers: int) -> None:
    """Resize an idle executor. loky's own way waits for ever if a worker dies meanwhile."""
    if executor is not None and executor._flags.shutdown:
        terminate(executor)  # otherwise its temporary folders stay until the program ends
        return
    if executor is None or executor._pending_work_items:
        return
    # A ValueError: the executor has broken, and its queue is closed.
    with submit_lock(executor), suppress(ValueError):
        with executor._processes_management_lock:
            for _ in range(workers, len(executor._processes)):
                executor._call_queue.put(None)
            executor._max_workers = workers
        manager = executor._executor_manager_thread
        while len(executor._processes) > workers and manager.is_alive():
            sleep(0.001)


def terminate(executor: Any, kill_workers: bool = True) -> None:
    """End an executor, its temporary folders, and its workers: at once or after their tasks."""
    # joblib 1.6 wants a lock that loky 3.7 no longer has. All but the folders is done by then.
    with suppress(AttributeError):
        executor.terminate(kill_workers=kill_workers)


def _forget() -> None:
    """Forget the parent's executor in a forked child: its workers are the parent's."""
    global _held, _of_parent
    # It is kept alive: if it were collected, it would write to the parent's pipes.
    _of_parent = _held, _of_this_thread()
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
