"""joblib's backend for Dask: how to cancel the tasks that a map leaves behind."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any


def collect_singly(backend: Any) -> None:
    """
    Make a backend run only one collector of results at a time.

    joblib starts a collector with each call, also while the collector of an earlier call, which
    was left early, still waits for its tasks. If two wait for the same futures, one of them is
    never told that there are no more. It then keeps its last result, and with it a task of the
    cluster, for ever.
    """
    if "_collect" in vars(backend):
        return
    collect, running = backend._collect, False

    async def singly() -> None:  # all of this runs in the thread of Dask's event loop
        nonlocal running
        if running:
            return
        running = True
        try:
            while backend._continue:
                await collect()
        finally:
            running = False

    backend._collect = singly


def cancel(backend: Any, callbacks: Collection[Any]) -> None:
    """Cancel the tasks that were submitted with these callbacks; the set shrinks as tasks end."""
    with suppress(RuntimeError):  # Dask's loop is closed
        backend.client.loop.add_callback(_cancel, backend, callbacks)


async def _cancel(backend: Any, callbacks: Collection[Any]) -> None:
    import asyncio

    for _ in range(100):  # the tasks submitted last may not be in the backend's list yet
        # Finished tasks are left alone: their results are on the way, and Dask would complain.
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
