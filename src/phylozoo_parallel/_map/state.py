"""
The state of one map: a machine that takes events and says what to do next.

::

    took, sent, came back, was lost, took too long ──► State ──► todo(): read or send this
                                                             └─► ready(), take(): hand this out

Nothing here waits, reads a clock or uses threads. :mod:`.loop` does, and passes the events on.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines.base import WorkersLost
from phylozoo_parallel._map import chunking, recovery
from phylozoo_parallel._map.measured import SECONDS, Measured
from phylozoo_parallel._options import Options
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._worker.run import STRIDE, Pace
from phylozoo_parallel.errors import placed
from phylozoo_parallel.lost import WorkerLostError

PILE = 64 << 20
"""Most bytes of finished items and results that may wait behind a slow item."""

FRUITLESS = 10
"""
Give up after this many deaths, besides `retries`, in which no worker had started a chunk, if none
has started one and returned it in between.
"""

_log = logging.getLogger("phylozoo_parallel")


class Read(NamedTuple):
    """A request for items of the input."""

    size: int
    """Most items to read."""
    seconds: float
    """How long to wait for more than one item."""


class Failed(NamedTuple):
    """What stands in the place of a result."""

    error: BaseException
    ends: bool
    """Whether the map ends with it."""


class State:
    """
    What is sent, finished and failed of one map.

    Parameters
    ----------
    options : Options
        The options of the map.
    total : int or None
        The length of the input, if it has one: a hint for the size of chunks.
    workers : int
        Number of chunks that run at the same time.
    window : int
        Number of chunks to keep in flight.
    measured : Measured
        Measurements of an earlier map of the function.
    timed : bool
        Whether workers take the times of chunks.
    """

    def __init__(
        self,
        options: Options,
        total: int | None,
        workers: int,
        window: int,
        measured: Measured,
        timed: bool = False,
    ) -> None:
        self.options = options
        self.workers = workers
        # Without a length it is unknown how many items the workers have to share.
        self.measured = measured if total is not None else Measured()
        self.read = 0  # items taken from the input
        self.sent = 0  # chunks
        self.done = 0  # items that have a result, or an error in its place
        self.exhausted = False  # no more items are to be read
        self.in_flight: set[Chunk] = set()
        self.total = total
        self._window = window
        self._timed = timed
        self._place = 0  # chunks whose size was chosen; they go in rounds of one for each worker
        self._round = 0  # items that were left when the latest round began
        self._next = 0  # index of the next result to hand out
        self._again: deque[Chunk] = deque()  # chunks to send (again) before any new one
        self._end: int | None = None  # index of the error that ends the map
        self._finished: dict[int, Chunk | Failed] = {}  # by the index of the first result
        self._pile = 0  # bytes in `_finished`
        self._loss: WorkersLost | None = None  # the latest
        self._lost_together: set[Chunk] = set()  # chunks that were in flight then, and still are
        self._fruitless = 0  # losses since a worker began with a chunk

    # What to do next.

    def more(self) -> bool:
        """Return whether there may be anything left to send or to read."""
        return bool(self._again) or not self.exhausted

    def todo(self) -> Chunk | Read | None:
        """Return a chunk to send, or what to read for one; None if nothing is to be done now."""
        if self._lost_together:
            self._lost_together &= self.in_flight
        if self._lost_together or not self._room():
            return None
        if self._again:
            return self._resumed()
        if self.exhausted or self._pile >= PILE:
            return None
        size = self._size(0)
        whole = self.options.chunksize or size == 1
        return Read(size, float("inf") if whole else self.measured.target(self.workers))

    def patience(self) -> float:
        """
        Return how long to wait for a result before the next item of a slow input is read.

        Waiting for a tenth of the time that reading takes costs little. In return, results that are
        soon ready are handed out before the next slow item is waited for.
        """
        wait = self.measured.reading / 10
        return wait if self.in_flight and self.measured.seconds < wait else 0.0

    def pace(self, chunk: Chunk) -> Pace:
        """Return how a worker shall run a chunk that is sent now."""
        budget = None
        if not self.options.chunksize:
            budget = chunking.budget(self.measured, len(chunk.items))
        stride = STRIDE if self.options.timeout is None else 1
        return Pace(budget, stride, self.options.return_exceptions, self._timed)

    def piled(self, chunks: int) -> bool:
        """Return whether finished chunks wait, and with those in flight there are `chunks`."""
        return bool(self._finished) and len(self.in_flight) + len(self._finished) >= chunks

    def ready(self) -> bool:
        """Return whether there is something to hand out next."""
        if self.options.ordered:
            return self._next in self._finished
        for index, found in self._finished.items():
            if isinstance(found, Chunk) or not found.ends:
                self._next = index
                return True
        # The error that ends the map comes after the results of all items before it.
        self._next = min(self._finished, default=self.read)
        before = (chunk for chunk in (*self.in_flight, *self._again) if chunk.first < self._next)
        return self._next in self._finished and next(before, None) is None

    def take(self) -> Chunk | Failed:
        """Return what :meth:`ready` has found, and remove it."""
        found = self._finished.pop(self._next)
        if isinstance(found, Chunk):
            self._pile -= found.nbytes
        return found

    def handed_out(self, results: int) -> None:
        """Note how many results of the chunk taken last were handed out."""
        self._next += results

    def needed(self) -> float:
        """
        Return the index before which items hold up the map if they take too long.

        Later items are not handed out, because the map ends with an error. But if an earlier chunk
        has yet to be sent, it may have to wait for the worker of any of them.
        """
        return math.inf if self._end is None or self._again else self._end

    def starving(self, look: Callable[[Chunk], Any], since: float) -> bool:
        """
        Return whether chunks have waited for a worker since then, and none is running.

        Parameters
        ----------
        look : callable
            Returns how far a chunk is; None if no worker has begun with it.
        since : float
            By ``time.monotonic``.
        """
        waited = any(chunk.sent < since for chunk in self.in_flight)
        return waited and not any(map(look, self.in_flight))

    def read_out(self, chunk: Chunk, items: int, seconds: float) -> None:
        """Note that the results of a chunk were unpacked, and how long that took."""
        unpacked = chunk.packing + seconds
        if items:
            self.measured.caller.add(items, chunk.handled + unpacked, chunk.handled)

    # What has happened.

    def took(
        self, items: Sequence[Any], seconds: float, over: bool, error: BaseException | None
    ) -> Chunk:
        """Note the items that were read, the time it took, and whether the input has ended."""
        self.exhausted = over
        self.measured.reading = seconds / max(len(items), 1)
        chunk = Chunk(self.read, items)
        self.read += len(items)
        if error is not None:
            self.end(self.read, error)
        return chunk

    def sending(self, chunk: Chunk) -> None:
        """Note that a chunk, packed by now, is being sent."""
        self.measured.weight = chunk.nbytes / len(chunk.items)
        self.in_flight.add(chunk)
        self.sent += 1

    def came(self, chunk: Chunk, items: int) -> None:
        """Note that a chunk came back with the results of its first `items` items."""
        self._fruitless = 0
        self._pile += chunk.nbytes
        self.done += items
        self._finished[chunk.first] = chunk

    def rest(self, *chunks: Chunk) -> None:
        """Send chunks of items that have no result yet, unless the map ends before them."""
        waiting = [*chunks, *self._again]
        waiting = [it for it in waiting if self._end is None or it.first < self._end]
        self._again = deque(sorted(waiting, key=lambda chunk: chunk.first))

    def singles(self, first: int, items: Sequence[Any]) -> None:
        """Run items again in chunks of one."""
        self.rest(*(Chunk(first + it, items[it : it + 1]) for it in range(len(items))))

    def lost(self, chunk: Chunk, loss: WorkersLost) -> None:
        """Run the items of a lost chunk again, or end the map."""
        begun = chunk.progress
        if loss.reason and not begun:
            message = f"no worker process can start: {loss.reason}"
            self.end(chunk.first, WorkerLostError(message))
            return
        if loss is not self._loss:
            # The chunks of a pool are lost together, but come back one by one. Nothing is sent
            # again before all are back, because one of them may end the map. What was sent later is
            # in another pool.
            self._loss = loss
            self._lost_together = {it for it in self.in_flight if it.sent < loss.when}
            self._fruitless += begun is None
        if begun:
            self._fruitless = 0
        elif self._fruitless > FRUITLESS + self.options.retries:
            message = f"no worker lived long enough to begin with item {chunk.first}: {loss}"
            self.end(chunk.first, WorkerLostError(message))
            return
        again, failed = recovery.salvage(chunk, loss, self.options)
        self.rest(*again)
        for index, error in failed:
            if begun and begun.at_function:  # the function would kill the worker with any item
                self.end(index, error)
            else:
                self.fail(index, error)
        if begun and again:
            what = ", ".join(map(str, again)) if failed else chunk
            _log.warning("%s; run again: %s", loss, what)
            if not begun.pid or loss.codes is None:  # unknown whose item: one chunk at a time
                self._window = 1

    def late(self, chunk: Chunk, progress: Progress) -> None:
        """Give up an item that takes too long in a worker that cannot be ended."""
        error = TimeoutError(recovery.too_late(chunk, progress, self.options))
        rest = progress.done + 1
        if rest < len(chunk.items):
            self.rest(Chunk(chunk.first + rest, chunk.items[rest:]))
        self.fail(chunk.first + progress.done, error)

    def fail(self, index: int, error: BaseException, cause: BaseException | None = None) -> None:
        """Put an error into the place of an item's result, or end the map with it."""
        if cause is not None:
            error.__cause__ = cause
        if not self.options.return_exceptions or isinstance(error, KeyboardInterrupt):
            self.end(index, error)
            return
        self.done += 1
        self._finished[index] = Failed(placed(error), ends=False)

    def end(self, index: int, error: BaseException) -> None:
        """End the map with this error, once the results before it are handed out."""
        self._finished[index] = Failed(error, ends=True)
        self.exhausted = True
        self._end = index if self._end is None else min(index, self._end)
        self.rest()

    def clear(self) -> None:
        """Drop all results that were not handed out."""
        self._finished.clear()

    # How much.

    def _room(self) -> bool:
        """Return whether another chunk may be sent; more may be in flight if they are short."""
        window, workers, in_flight = self._window, self.workers, len(self.in_flight)
        if in_flight < window or workers >= window or self.options.chunksize:
            return in_flight < window
        ahead = sum(len(chunk.items) for chunk in self.in_flight) * self.measured.seconds
        return in_flight < 2 * window and 0 < ahead < workers * SECONDS

    def _size(self, waiting: int) -> int:
        """Choose the size of the next chunk; `waiting` items are to be sent again."""
        if self.options.chunksize:
            return self.options.chunksize
        if self.total is None:
            return chunking.chunk_size(self.measured, None, self.workers)
        left = max(self.total - self.read, 0) + waiting
        if waiting:  # items that are sent again belong to no round
            return chunking.chunk_size(self.measured, left, self.workers)
        if self._place % self.workers == 0:
            self._round = left
        self._place += 1
        place, begun = self._place - 1, self._round
        return chunking.chunk_size(self.measured, left or None, self.workers, place, begun)

    def _resumed(self) -> Chunk:
        """Return the next chunk to send again, or a part of it if it now seems too long."""
        chunk = self._again.popleft()
        waiting = sum(len(other.items) for other in self._again)
        size = self._size(len(chunk.items) + waiting)
        if size < len(chunk.items):
            self._again.appendleft(Chunk(chunk.first + size, chunk.items[size:], chunk.losses))
            chunk = Chunk(chunk.first, chunk.items[:size], chunk.losses)
        return chunk
