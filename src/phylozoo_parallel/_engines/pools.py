"""
Pools: open ``joblib.Parallel`` objects, which maps share.

::

    map ──► Engine (its use of a pool) ──submit──► backend of the pool's open Parallel
                                       ◄──done(out), in a joblib thread──┘

A ``Parallel`` that is called polls for results, submits tasks from callbacks, and kills its
workers when a call is left early. One that is only held open does none of that: a map submits to
its backend from the caller's thread, and the callback only puts the outcome into the map's queue.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from phylozoo_parallel._engines.base import Engine
from phylozoo_parallel._engines.limits import Watch
from phylozoo_parallel._loky.opened import Opened

here = threading.local()
"""``here.busy`` is true while this thread is inside joblib, which cannot be entered again."""

lock = threading.RLock()
"""Held while pools are opened, closed or looked up, and while a task is submitted to processes."""

kept: dict[int | str, Pool] = {}
"""Pools that stay open for the next map, by their number of threads, or by "processes"."""

of_contexts: dict[int, Pool] = {}
"""Pools on the backends of users' contexts, by the backend's id; open while a map uses them."""

_of_parent: Any = None


class Pool(Opened):
    """
    An open ``Parallel`` and the maps that use it.

    Attributes
    ----------
    kept : bool
        Whether the pool stays open for the next map; otherwise its last map closes it.
    users : WeakSet of Engine
        The maps that use it now.
    watches : list of Watch
        The chunks of maps that have ended and had a time limit, while any is in flight.
    """

    def __init__(self, backend: Any, workers: int) -> None:
        self.users: WeakSet[Engine] = WeakSet()
        self.watches: list[Watch] = []
        self.kept = True
        self.calling = threading.Lock()
        super().__init__(backend, workers)


def close_idle(which: int | str) -> None:
    """Close one of the pools that stay open, unless a map uses it."""
    with lock:
        if which in kept and not kept[which].users:
            kept.pop(which).close()


def release(pool: Pool, engine: Engine) -> None:
    """End a map's use of a pool."""
    pool.users.discard(engine)
    if pool.kept:
        return
    if lock.acquire(blocking=False):
        try:
            _close_unused(pool)
        finally:
            lock.release()
        return
    # Maps may be collected in joblib's thread, for which the lock's holder may wait.
    with suppress(RuntimeError):  # the interpreter is shutting down
        threading.Thread(target=_close_unused, args=(pool,), daemon=True).start()


def _close_unused(pool: Pool) -> None:
    with lock:
        if not pool.users:
            of_contexts.pop(id(pool.backend), None)
            pool.close()


def _forget() -> None:
    """Forget the parent's pools in a forked child: their workers are the parent's."""
    global lock, kept, of_contexts, _of_parent
    # They are kept alive: if they were collected, they would write to the parent's pipes.
    _of_parent = kept, of_contexts
    lock, kept, of_contexts = threading.RLock(), {}, {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
