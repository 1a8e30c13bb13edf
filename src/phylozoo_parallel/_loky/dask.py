"""joblib's backend for Dask: how to cancel what a map leaves behind."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any


def cancel(backend: Any, callbacks: Collection[Any]) -> None:
    """Cancel the tasks that were submitted with these callbacks, which leave when they end."""
    with suppress(RuntimeError):  # Dask's loop is closed
        backend.client.loop.add_callback(_cancel, backend, callbacks)


async def _cancel(backend: Any, callbacks: Collection[Any]) -> None:
    import asyncio

    for _ in range(100):  # what was submitted last is not there yet
        # Finished results are on their way, and let come: Dask would complain.
        left = [
            future
            for future, callback in backend._callbacks.items()
            if callback in callbacks and future.status == "pending"
        ]
        # Cancel the newest first; otherwise Dask starts the next task in each freed slot.
        for future in reversed(left):
            await backend.client.cancel([future], asynchronous=True)
        await asyncio.sleep(0.01)
        if not callbacks:
            break
