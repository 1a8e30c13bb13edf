"""The transport to worker threads: chunks go there as they are."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Call, Transport
from phylozoo_parallel._worker import settings
from phylozoo_parallel._worker.run import Pace, Task, run_in_thread


class InThread(Transport):
    """Hands the caller's own objects to worker threads."""

    watches = True

    def __init__(self, func: Callable[..., Any], star: bool) -> None:
        self._func = func
        self._star = star
        self._ended: list[bool] = []  # not empty once the map has ended
        self._context = contextvars.copy_context()
        self._errors = settings.outside_context()

    def call(self, chunk: Chunk, pace: Pace) -> Call:
        """Return the call that runs a chunk in a worker."""
        chunk.results, chunk.failures = [], []

        def note(done: int, running: int) -> None:
            chunk.progress = Progress(0, done, running, monotonic())

        def wanted() -> bool:
            return not (self._ended or chunk.late)

        given = self._func, self._star, chunk.items, chunk.first, pace
        task = Task(*given, chunk.results, chunk.failures, wanted, note)
        # Only one thread at a time can enter a context, so each chunk gets a copy.
        return self._context.copy().run, (run_in_thread, task, self._errors)

    def done(self, chunk: Chunk) -> int:
        """Return how many items of a chunk in flight have run; called in any thread."""
        return len(chunk.results)

    def accept(self, chunk: Chunk, results: list[Any], done: int) -> None:
        """Keep the results of a chunk; their size is estimated from the first one."""
        chunk.results = results
        chunk.items = ()
        chunk.nbytes = sys.getsizeof(results)
        if done:
            try:
                chunk.nbytes += done * sys.getsizeof(results[0])
            except Exception:  # of the result's own __sizeof__
                return

    def end(self, in_flight: set[Chunk]) -> None:
        """Tell the workers to stop."""
        self._ended.append(True)
