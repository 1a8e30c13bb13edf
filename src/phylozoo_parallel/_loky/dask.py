"""joblib's backend for Dask: who can run its tasks, and how to cancel what a map leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from phylozoo_parallel.errors import line

_able: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""Workers that have what tasks lean on, by client."""


def ask_workers(client: Any) -> None:
    """
    Ask workers that are new whether they have what joblib's tasks lean on.

    A worker that cannot read a task closes, and when the last one has, the task waits for ever:
    https://github.com/dask/dask/issues/4839. Dask itself needs no joblib.

    Raises
    ------
    ImportError
        One lacks it.
    """
    able = _able.setdefault(client, set())
    new = client.ncores().keys() - able
    if not new:
        return
    told = client.run(exec, "import joblib._dask", workers=list(new), on_error="return")
    for address, error in told.items():
        if isinstance(error, ImportError):
            raise ImportError(
                f"the Dask worker at {address} cannot run what joblib sends ({line(error)});"
                " install the same joblib there"
            )
        if error is None:
            able.add(address)


def collect_singly(backend: Any) -> None:
    """
    Have a backend run one collector of results at a time.

    joblib starts one with each call, while that of a call that was left early still waits for
    its tasks. Of two that wait for the same futures, one never hears that there are no more; it
    keeps the result it had last, and with it a task in the cluster, for ever. Nor does one always
    hear of tasks that were cancelled: it ends when there is nothing more to come.
    """
    if "_collect" in vars(backend):
        return
    collect, running, again = backend._collect, False, False

    async def singly() -> None:  # in the thread of Dask's loop, as all of this
        nonlocal running, again
        again = True
        if running:
            return
        running = True
        try:
            while again:  # there was another call meanwhile
                again = False
                await _until_over(backend, collect())
        finally:
            running = False

    backend._collect = singly


async def _until_over(backend: Any, collecting: Coroutine[Any, Any, None]) -> None:
    import asyncio

    task = asyncio.ensure_future(collecting)
    while not task.done():
        # joblib sets `_continue` with its first call.
        if not getattr(backend, "_continue", True) and not backend._callbacks:
            task.cancel()
        await asyncio.wait([task], timeout=0.1)


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
