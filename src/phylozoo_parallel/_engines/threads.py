"""The engine for worker threads, on joblib's threading backend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import Done
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._engines.thread_pool import Threads
from phylozoo_parallel._loky import contract
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Call, Transport
from phylozoo_parallel._transport.threads import InThread

IDLE_THREAD_POOLS = 4
"""Number of unused thread pools (of different sizes) that stay open; maps may use more."""


class ThreadEngine(StreamingEngine):
    """
    Runs chunks in worker threads.

    A thread cannot be ended. One that hangs is replaced, and its pool takes no more new maps.
    """

    limits_time = True

    def __init__(self, workers: int) -> None:
        super().__init__(_pool(workers), workers)
        self._gave_up = False

    def transport(self, func: Callable[..., Any], star: bool) -> Transport:
        """Return the transport for a map of this function, and of its chunks to these workers."""
        return InThread(func, star)

    def submit(self, call: Call, done: Done) -> None:
        """Run a call in a worker. Then `done` is called with the argument for :meth:`outcome`."""
        super().submit(call, _Callback(self, done))

    def give_up(self, chunk: Chunk, progress: Progress) -> bool:
        """Replace the thread that runs a chunk, unless another map has done that."""
        if not chunk.late:
            self._replace(1)
        chunk.late = self._gave_up = True
        return False

    def end_workers(self) -> None:
        """Replace all threads: the next map gets another pool."""
        self._replace(self.workers)

    def release(self) -> None:
        """
        End this map's use of the pool.

        Other maps of the pool may wait for threads that hang in this map's items, so they get as
        many new threads.
        """
        if self._gave_up and len(self._pool.users) > 1:
            self._replace(self.workers)
        super().release()

    def _replace(self, workers: int) -> None:
        with pools.lock, suppress(RuntimeError):  # the system cannot start more threads
            if pools.kept.get(self.workers) is self._pool:
                del pools.kept[self.workers]
                self._pool.kept = False
            self._pool.threads.grow(workers)

    def look_after(self, starving: bool) -> None:
        """
        Make sure that outcomes can still arrive.

        Items of other maps that hold all threads may take long, or even wait for this map (an item
        that calls it in a thread of its own). So a map that is starving moves to a pool of its own.

        Raises
        ------
        RuntimeError
            The interpreter is shutting down, and has ended the threads.
        """
        if sys.is_finalizing():
            raise RuntimeError("the worker threads have ended in the interpreter's shutdown")
        super().look_after(starving)
        if starving:
            with suppress(RuntimeError):  # the system cannot start more threads
                self._move()

    def _move(self) -> None:
        with pools.lock:
            pools.here.busy = True
            try:
                own = _opened(self.workers)
            finally:
                pools.here.busy = False
        old, self._pool = self._pool, own
        own.kept = False
        own.users.add(self)
        own.watches = [it for it in old.watches if it is self.shared]
        for watch in own.watches:
            old.watches.remove(watch)
        old.threads.pass_on(lambda callback: callback.engine is self, own.threads)
        pools.release(old, self)


class _Callback:
    """A callback that says whose it is."""

    __slots__ = "_done", "engine"

    def __init__(self, engine: ThreadEngine, done: Done) -> None:
        self.engine, self._done = engine, done

    def __call__(self, out: Any) -> None:
        self._done(out)


def _pool(workers: int) -> Pool:
    pool = pools.kept.pop(workers, None)
    if pool is None:
        idle = [size for size, it in pools.kept.items() if size != "processes" and not it.users]
        for size in idle[: max(len(idle) + 1 - IDLE_THREAD_POOLS, 0)]:
            pools.kept.pop(size).close()
        pool = _opened(workers)
    pools.kept[workers] = pool  # the one used last is at the end
    return pool


def _opened(workers: int) -> Pool:
    pool = Pool(contract.BACKENDS["threading"](nesting_level=0), workers)
    pool.use(Threads(pool.workers))
    return pool
