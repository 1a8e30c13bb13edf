"""
Worker threads for joblib's threading backend, in the place of the standard library's pool.

::

    apply_async ──► queue ──► a worker runs the task and calls the callback

A ``multiprocessing.pool.ThreadPool`` has three more threads: they pass tasks on, pass results
back, and watch the workers. With short tasks, most of the time goes to these threads, which have
to wait for the global interpreter lock in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

_END = object()
"""A task for one thread: to end."""


class Threads:
    """
    A pool of threads with the methods that joblib's backend calls.

    Parameters
    ----------
    workers : int
        Number of threads to start.

    Raises
    ------
    RuntimeError
        The system cannot start more threads.
    """

    def __init__(self, workers: int) -> None:
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        try:
            self.grow(workers)
        except RuntimeError:
            self.close()
            raise

    def grow(self, workers: int) -> None:
        """Start more threads."""
        for _ in range(workers):
            Thread(target=self._work, daemon=True).start()

    def shrink(self, workers: int) -> None:
        """Have so many threads end, once they have nothing else to do."""
        for _ in range(workers):
            self._tasks.put(_END)

    def apply_async(self, func: Callable[..., Any], args: Any, callback: Any, **_: Any) -> None:
        """
        Call `func` in a worker, and `callback` with what it returns.

        joblib's `func` never raises: it returns the exception.
        """
        self._tasks.put((partial(func, *args) if args else func, callback))

    def close(self) -> None:
        """Have the threads end when all tasks have run."""
        self._tasks.put(None)  # each thread puts it back for the next one

    def terminate(self) -> None:
        """Do nothing: a thread cannot be ended."""

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:  # a function of its own, so that no task is held while it waits
        task = self._tasks.get()
        if task is None:
            self._tasks.put(None)
            return False
        if task is _END:
            return False
        func, callback = task
        callback(func())
        return True
