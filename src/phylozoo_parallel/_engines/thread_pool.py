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
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any


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
        self.tasks: SimpleQueue[Any] = SimpleQueue()
        try:
            self.grow(workers)
        except RuntimeError:
            self.close()
            raise

    def grow(self, workers: int) -> None:
        """Start more threads."""
        for _ in range(workers):
            Thread(target=self._work, daemon=True).start()

    def pass_on(self, chosen: Callable[[Any], bool], to: Threads) -> None:
        """Let another pool run the waiting tasks whose callbacks are chosen."""
        with suppress(Empty):  # the threads of this pool take tasks meanwhile
            for _ in range(self.tasks.qsize()):
                task = self.tasks.get_nowait()
                pool = to if task is not None and chosen(task[1]) else self
                pool.tasks.put(task)

    def apply_async(self, func: Callable[..., Any], args: Any, callback: Any, **_: Any) -> None:
        """
        Call `func` in a worker, and `callback` with what it returns.

        joblib's `func` never raises: it returns the exception.
        """
        self.tasks.put((partial(func, *args) if args else func, callback))

    def close(self) -> None:
        """Have the threads end when all tasks have run."""
        self.tasks.put(None)  # each thread puts it back for the next one

    def terminate(self) -> None:
        """Do nothing: a thread cannot be ended."""

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:  # a function of its own, so that no task is held while it waits
        task = self.tasks.get()
        if task is None:
            self.tasks.put(None)
            return False
        func, callback = task
        callback(func())
        return True
