"""The engine for any backend of joblib that takes tasks one by one: the user's own, Ray, Spark."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import Done, Engine
from phylozoo_parallel._engines.limits import Watch
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._loky.start import LEAK_LIMIT
from phylozoo_parallel._transport.base import Call, Transport
from phylozoo_parallel._worker.run import Outcome


class StreamingEngine(Engine):
    """
    Submits each chunk to the backend of an open ``Parallel``.

    Parameters
    ----------
    pool : Pool
    workers : int
        Number of workers of the map; the pool may have more.
    """

    def __init__(self, pool: Pool, workers: int) -> None:
        self.workers = workers
        # If the pool has more workers than this map may use, only the window limits the map.
        self.window = 2 * workers if workers == pool.workers else workers
        self.name = type(pool.backend).__name__
        self.shared: Watch | None = None
        self._pool = pool
        pool.users.add(self)

    def transport(self, func: Callable[..., Any], star: bool) -> Transport:
        """Return the transport for a map of this function, and of its chunks to these workers."""
        # Imported here, and not above, so that the workers of a first map already start meanwhile.
        from phylozoo_parallel._transport.processes import ToMachine, ToProcess

        if self._pool.local:
            return ToProcess(func, star, self._pool.folder, LEAK_LIMIT)
        return ToMachine(func, star)

    def submit(self, call: Call, done: Done) -> None:
        """Run a call in a worker. Then `done` is called with the argument for :meth:`outcome`."""
        self._pool.submit(self._pool.task(call), done)

    def outcome(self, out: Any) -> Outcome:
        """Return the outcome of a chunk, or raise the error that there is in its place."""
        if isinstance(out, BaseException):  # WorkersLost, or Dask's error for a failed task
            raise out
        outcome: Outcome = self._pool.outcome(out)
        return outcome

    def share(self, watch: Watch) -> None:
        """Have other maps look after the chunks of this one, too: it may be away, or ended."""
        self.shared = watch
        self._pool.watches.append(watch)

    def unshare(self, watch: Watch) -> None:
        """End that; if the watch is not over, keep it until it is."""
        # Without a lock: garbage may be collected in joblib's thread, for which its holder waits.
        if watch.over():
            with suppress(ValueError):
                self._pool.watches.remove(watch)

    def look_after(self, starving: bool) -> None:
        """Give up items of other maps that take too long: they keep workers from this map."""
        with pools.lock:
            for watch in list(self._pool.watches):
                for late in watch.late():
                    self.give_up(*late)
                self.unshare(watch)

    def release(self) -> None:
        """End this map's use of the pool."""
        pools.release(self._pool, self)
