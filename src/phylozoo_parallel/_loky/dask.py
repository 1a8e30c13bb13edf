"""joblib's backend for Dask: which workers can run its tasks, and how to cancel tasks."""

from __future__ import annotations

from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

_able: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""By client, the addresses of workers that can read the tasks of joblib."""


def ask_workers(client: Any) -> None:
    """
    Ask the workers that were not asked before whether they can read the tasks of joblib.

    A worker that cannot read a task closes. After the last one, the task waits for ever:
    https://github.com/dask/dask/issues/4839. Dask itself needs no joblib.

    Raises
    ------
    ImportError
        One of them has no joblib.
    """
    able = _able.setdefault(client, set())
    new = client.ncores().keys() - able
    if not new:
        return
    answers = client.run(exec, "import joblib._dask", workers=list(new), on_error="return")
    for address, error in answers.items():
        if isinstance(error, ImportError):
            raise ImportError(
                f"the Dask worker at {address} cannot run what joblib sends"
                f" ({type(error).__name__}: {error}); install the same joblib there"
            )
        if error is None:
            able.add(address)


def collect_singly(backend: Any) -> None:
    """
    Make a backend run only one collector of results at a time.

    joblib starts a collector with each call, also while the collector of an earlier call, which
    was left early, still waits for its tasks. If two wait for the same futures, one of them is
    never told that there are no more. It then keeps its last result, and with it a task of the
    cluster, for ever. A collector is not always told about cancelled tasks either, so it is
    ended when nothing more can come.
    """
    if "_collect" in vars(backend):
        return
    collect, running, again = backend._collect, False, False

    async def singly() -> None:  # all of this runs in the thread of Dask's event loop
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
