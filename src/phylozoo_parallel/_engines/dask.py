"""On a Dask cluster, through joblib's backend for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from phylozoo_parallel._engines.base import Done
from phylozoo_parallel._engines.streaming import StreamingEngine
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
        future = self._pool.backend.submit(self._pool.task(call), callback=landed)
        future.add_done_callback(failed)

    def release(self) -> None:
        """End this map's use, and cancel what it has not begun."""
        try:
            if self._open:
                backend = self._pool.backend
                with suppress(RuntimeError):  # Dask's loop is closed
                    backend.client.loop.add_callback(self._cancel, backend)
        finally:
            super().release()

    async def _cancel(self, backend: Any) -> None:
        import asyncio

        for _ in range(100):  # what was submitted last is not there yet
            # Finished results are on their way, and let come: Dask would complain.
            left = [
                future
                for future, landed in backend._callbacks.items()
                if landed in self._open and future.status == "pending"
            ]
            # Cancel the newest first; otherwise Dask starts the next task in each freed slot.
            for future in reversed(left):
                await backend.client.cancel([future], asynchronous=True)
            await asyncio.sleep(0.01)
            if not self._open:
                break
