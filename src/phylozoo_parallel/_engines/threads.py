"""The engine for worker threads, on joblib's threading backend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._engines.thread_pool import Threads
from phylozoo_parallel._loky import contract
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Transport
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
        self._more = 0  # threads that were started because this map was starving

    def transport(self, func: Callable[..., Any], star: bool) -> Transport:
        """Return the transport for a map of this function, and of its chunks to these workers."""
        return InThread(func, star)

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
        self._pool.threads.shrink(self._more)
        self._more = 0
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
        that calls it in a thread of its own). So a map that is starving gets threads of its own.

        Raises
        ------
        RuntimeError
            The interpreter is shutting down, and has ended the threads.
        """
        if sys.is_finalizing():
            raise RuntimeError("the worker threads have ended in the interpreter's shutdown")
        super().look_after(starving)
        if starving and not self._more:
            self._more = self.workers
            self._replace(self._more)


def _pool(workers: int) -> Pool:
    pool = pools.kept.pop(workers, None)
    if pool is None:
        idle = [size for size, it in pools.kept.items() if size != "processes" and not it.users]
        for size in idle[: max(len(idle) + 1 - IDLE_THREAD_POOLS, 0)]:
            pools.kept.pop(size).close()
        pool = Pool(contract.BACKENDS["threading"](nesting_level=0), workers)
        pool.use(Threads(pool.workers))
    pools.kept[workers] = pool  # the one used last is at the end
    return pool
