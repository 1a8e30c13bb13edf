"""On a Dask cluster, through joblib's backend for it."""

from __future__ import annotations

from typing import Any

from phylozoo_parallel._engines.base import Done
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._loky import dask
from phylozoo_parallel._transport.base import Call


class DaskEngine(StreamingEngine):
    """
    Cancels what a map leaves behind, as the workers cannot see what is still wanted.

    joblib's backend tells nothing of a task that failed (a lost worker, say): its callback is
    skipped on errors, so this listens to the future itself.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[Done] = set()

    def submit(self, call: Call, done: Done) -> None:
        """Have a call run in a worker; `done` also gets what Dask says of a failed task."""

        def landed(out: Any) -> None:
            self._open.discard(landed)
            done(out)

        def failed(future: Any) -> None:
            if future.exception() is not None:
                landed(future.exception())

        self._open.add(landed)
        future = self._pool.submit(self._pool.task(call), landed)
        future.add_done_callback(failed)

    def release(self) -> None:
        """End this map's use, and cancel what it has not begun."""
        try:
            if self._open:
                dask.cancel(self._pool.backend, self._open)
        finally:
            super().release()
