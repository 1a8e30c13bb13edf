"""
Worker threads for joblib's threading backend, in the place of the standard library's pool.

::

    apply_async ──► queue ──► a worker runs the task and tells what came of it

A ``multiprocessing.pool.ThreadPool`` has three more threads, which hand on tasks, hand back
results and count workers; for short tasks their turns with the interpreter's lock cost most.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any


class Threads:
    """
    What joblib's backend asks of a pool.

    Parameters
    ----------
    workers : int
        Threads to start.

    Raises
    ------
    RuntimeError
        The system has no more threads.
    """

    def __init__(self, workers: int) -> None:
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        try:
            self.grow(workers)
        except RuntimeError:
            self.close()
            raise

    def grow(self, workers: int) -> None:
        """Start more workers."""
        for _ in range(workers):
            Thread(target=self._work, daemon=True).start()

    def apply_async(self, func: Callable[..., Any], args: Any, callback: Any, **_: Any) -> None:
        """Have a worker call `func`, which returns what it should raise, and then `callback`."""
        self._tasks.put((partial(func, *args) if args else func, callback))

    def close(self) -> None:
        """Let the workers end when all tasks have run."""
        self._tasks.put(None)  # which each hands on

    def terminate(self) -> None:
        """Do nothing more: a thread cannot be ended."""

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:  # a function, to hold on to nothing while it waits
        task = self._tasks.get()
        if task is None:
            self._tasks.put(None)
            return False
        func, callback = task
        callback(func())
        return True
