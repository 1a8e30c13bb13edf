"""On worker threads of joblib's threading backend."""

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
"""Pools of worker threads, of different sizes, that stay open; more while maps use them."""


class ThreadEngine(StreamingEngine):
    """On worker threads, which nobody can end: a pool with one that hangs takes no more maps."""

    limits_time = True

    def __init__(self, workers: int) -> None:
        super().__init__(_pool(workers), workers)
        self._gave_up = False

    def transport(self, func: Callable[..., Any], star: bool) -> Transport:
        """Return what carries the chunks of a map of this function to these workers."""
        return InThread(func, star)

    def give_up(self, chunk: Chunk, progress: Progress) -> bool:
        """Do without the thread that runs a chunk."""
        chunk.late = self._gave_up = True
        self._replace(1)
        return False

    def end_workers(self) -> None:
        """Do without these threads: the next map gets others."""
        self._replace(self.workers)

    def release(self) -> None:
        """End this map's use; others on its threads may wait for one that it has left hanging."""
        if self._gave_up and len(self._pool.users) > 1:
            self._replace(self.workers)
        super().release()

    def _replace(self, workers: int) -> None:
        with pools.lock, suppress(RuntimeError):  # the system has no more threads
            if pools.kept.get(self.workers) is self._pool:
                del pools.kept[self.workers]
                self._pool.kept = False
            self._pool.threads.grow(workers)

    def look_after(self) -> None:
        """
        See to it that outcomes can arrive.

        Raises
        ------
        RuntimeError
            The interpreter has ended the threads.
        """
        if sys.is_finalizing():
            raise RuntimeError("the worker threads have ended in the interpreter's shutdown")


def _pool(workers: int) -> Pool:
    pool = pools.kept.pop(workers, None)
    if pool is None:
        idle = [it for it, pool in pools.kept.items() if it != "processes" and not pool.users]
        for size in idle[: max(len(idle) + 1 - IDLE_THREAD_POOLS, 0)]:
            pools.kept.pop(size).close()
        pool = Pool(contract.BACKENDS["threading"](nesting_level=0), workers)
        pool.use(Threads(pool.workers))
    pools.kept[workers] = pool  # the latest used comes last
    return pool
