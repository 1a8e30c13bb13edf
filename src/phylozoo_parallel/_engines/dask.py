"""The engine for a Dask cluster, through joblib's backend for it."""

from __future__ import annotations

from typing import Any

from phylozoo_parallel._engines.base import Done
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._loky import dask
from phylozoo_parallel._transport.base import Call


class DaskEngine(StreamingEngine):
    """
    Runs chunks on a Dask cluster, and cancels those that are left when the map ends.

    They are cancelled because the cluster's workers cannot see the board, and so cannot know that
    a map has ended. joblib's backend does not call its callback for a task that failed (because
    a worker was lost, say), so this class also listens to the task's future.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._in_flight: set[Done] = set()

    def submit(self, call: Call, done: Done) -> None:
        """Run a call in a worker; `done` is also called with Dask's error for a failed task."""

        def ended(out: Any) -> None:
            self._in_flight.discard(ended)
            done(out)

        def failed(future: Any) -> None:
            if future.exception() is not None:
                ended(future.exception())

        self._in_flight.add(ended)
        future = self._pool.submit(self._pool.task(call), ended)
        future.add_done_callback(failed)

    def release(self) -> None:
        """End this map's use of the workers, and cancel the tasks that have not begun."""
        try:
            if self._in_flight:
                dask.cancel(self._pool.backend, self._in_flight)
        finally:
            super().release()
