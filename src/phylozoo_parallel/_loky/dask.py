"""joblib's backend for Dask: how to cancel what a map leaves behind."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any


def collect_singly(backend: Any) -> None:
    """
    Have a backend run one collector of results at a time.

    joblib starts one with each call, while that of a call that was left early still waits for
    its tasks. Of two that wait for the same futures, one never hears that there are no more; it
    keeps the result it had last, and with it a task in the cluster, for ever.
    """
    if "_collect" in vars(backend):
        return
    collect, running = backend._collect, False

    async def singly() -> None:  # in the thread of Dask's loop, as all of this
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
