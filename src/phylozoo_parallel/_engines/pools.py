"""
Open ``joblib.Parallel`` objects, which maps share.

::

    map ──► Engine (its use of a pool) ──submit──► backend of the pool's open Parallel
                                       ◄──done(out), in a joblib thread──┘

A ``Parallel`` that is called polls for results, dispatches from callbacks and kills its workers
when a call is abandoned. One that is only held open has none of these habits: a map submits
to its backend from the caller's thread, and the callback does no more than put what came out
into the map's queue.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

from phylozoo_parallel._engines.base import Engine
from phylozoo_parallel._loky.opened import Opened

here = threading.local()
"""``here.busy`` is true while this thread is inside joblib, which is not reentrant."""

lock = threading.RLock()
"""Held while pools are opened, closed or looked up, and while a task is submitted to processes."""

kept: dict[int | str, Pool] = {}
"""Open for the next map: of worker threads by how many they are, and of "processes"."""

lent: dict[int, Pool] = {}
"""On backends of the user's contexts, by the backend's id; open while a map uses them."""

_left_behind: Any = None


class Pool(Opened):
    """
    An open ``Parallel`` and the maps that use it.

    Attributes
    ----------
    kept : bool
        Whether it stays open for the next map; otherwise it closes with its last one.
    users : WeakSet of Engine
    """

    def __init__(self, backend: Any, workers: int) -> None:
        self.users: WeakSet[Engine] = WeakSet()
        self.kept = True
        self.calling = threading.Lock()
        super().__init__(backend, workers)


def close_idle(which: int | str) -> None:
    """Close a pool that stays open for the next map, unless a map uses it."""
    with lock:
        if which in kept and not kept[which].users:
            kept.pop(which).close()


def release(pool: Pool, engine: Engine) -> None:
    """End a map's use of a pool."""
    pool.users.discard(engine)
    if not pool.kept:
        with lock:
            if not pool.users:
                lent.pop(id(pool.backend), None)
                pool.close()


def _forget() -> None:
    """Let go, in a forked child, of the pools that stayed with the parent."""
    global lock, kept, lent, _left_behind
    # Kept alive: collecting them would write to the parent's pipes.
    _left_behind = kept, lent
    lock, kept, lent = threading.RLock(), {}, {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
