"""
What is measured of the chunks of a map, and how long a chunk should be because of it.

A map starts from the measurements of the latest map of its function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from phylozoo_parallel._worker.run import Took

SECONDS = 0.03
"""Seconds that a chunk of the first round should take in its worker, if chunks cost little."""

MOST = 0.4
"""Most seconds that a chunk should take: so results come twice a second."""

FAR = 1.0
"""The same if the way to the workers takes long."""

CALLER = 30
"""
How many times longer a chunk should take than the caller's thread needs for one chunk of each
worker. So that thread is busy a thirtieth of the time, and joblib's and loky's threads as much.
"""

WORKER = 100
"""
How many times longer a chunk should take than its worker needs besides the items, as measured here.
joblib and loky need as much again.
"""

FIRST = 0.001
"""Most seconds that the first chunk is taken to cost: many things start during its time."""

LAST = 0.12
"""The shortest chunks, at the end of a map, as a share of the time that chunks take before."""

MEMORY = 6
"""About how many chunks the measurements are averaged over; older ones count less and less."""

KEPT = 64
"""Number of functions whose latest measurements are kept for their next map."""

_latest: dict[Hashable, Measured] = {}


@dataclass(slots=True)
class Cost:
    """The seconds that chunks cost, besides the time of their items."""

    chunk: float = 0.0
    """Seconds for each chunk."""
    item: float = math.inf
    """Seconds for each item in a chunk, which depend on no size of chunks."""

    def add(self, items: int, seconds: float, chunk: float = 0.0) -> None:
        """Add the cost of a chunk, in which `chunk` seconds are known not to depend on items."""
        item = (seconds - chunk) / items
        if item < 1.01 * self.item:  # then all of it is put down to the items
            self.item = item
            chunk = chunk or self.chunk or seconds
        else:
            self.item *= 1.01
            chunk = max(chunk, seconds - self.item * items)
        # A chunk whose thread was interrupted took longer, and says little.
        most = 2 * self.chunk or FIRST
        self.chunk += (min(chunk, most) - self.chunk) / (MEMORY if self.chunk else 1)


@dataclass(slots=True)
class Spread:
    """How uneven the items of a map are: sums over all of its chunks."""

    items: int = 0
    seconds: float = 0.0
    steps: int = 0
    """How often the clock was read between items."""
    squares: float = 0.0
    """The sum over these steps of seconds squared, divided by the step's items."""

    def add(self, items: int, seconds: float, steps: int, squares: float) -> None:
        """Add the items of a chunk."""
        self.items += items
        self.seconds += seconds
        self.steps += steps
        self.squares += squares

    def variance(self) -> float:
        """Return the variance of the items' seconds."""
        if self.steps <= 1:
            return 0.0
        return max(self.squares - self.seconds**2 / self.items, 0.0) / (self.steps - 1)


@dataclass(slots=True)
class Measured:
    """The measurements of the chunks of one map so far; the latest chunks count most."""

    seconds: float = 0.0
    """Seconds for each item, with unpickling it and pickling its result."""
    nbytes: float = 0.0
    """Bytes for each item, of the pickled item and its pickled result."""
    alone: float = 0.0
    """Seconds for each item alone, without unpickling and pickling."""
    within: float = 0.0
    """The variance of the items' seconds, from their spread within chunks."""
    between: float = 0.0
    """The same from the spread between chunks; it is larger if neighbouring items are alike."""
    spread: Spread = field(default_factory=Spread)
    """How uneven all items of this map are."""
    caller: Cost = field(default_factory=Cost)
    """What chunks cost the caller's thread."""
    worker: Cost = field(default_factory=Cost)
    """What chunks cost their workers."""
    reading: float = 0.0
    """Seconds for each item that reading the latest chunk took."""
    largest: int = 0
    """Number of items in the largest measured chunk."""
    weight: float = 0.0
    """Bytes for each item of the chunk that was packed last."""
    chunks: int = 0
    """Number of chunks measured in this map."""
    earlier: int = 0
    """Number of items that the latest map of the function has measured."""
    idle: float = 0.0
    """Seconds that a chunk was away, beyond its own run and that of the chunk before it."""

    def target(self, workers: int) -> float:
        """Return the seconds that a chunk should take: many times what it and its way cost."""
        return max(min(self._worthwhile(workers), MOST), min(4 * self.idle, FAR))

    def least(self, workers: int) -> float:
        """Return the shortest time that a chunk should take, when little is left to share."""
        return min(LAST * max(self._worthwhile(workers), 4 * self.idle), self.target(workers))

    def _worthwhile(self, workers: int) -> float:
        return max(SECONDS, CALLER * workers * self.caller.chunk, WORKER * self.worker.chunk)

    def add(self, items: int, took: Took, nbytes: int, away: float = 0.0) -> None:
        """
        Add the measurements of one chunk.

        Parameters
        ----------
        items : int
            Number of items that ran, at least one.
        took : Took
            The times that its worker took.
        nbytes : int
            Pickled bytes of the chunk and of its results; 0 in threads.
        away : float
            Seconds from sending the chunk to its outcome; 0 if the way is short.
        """
        seconds, ran, steps, squares = took
        self.chunks += 1
        known = self.chunks + bool(self.earlier)
        new = 1 / min(known, MEMORY)
        off = ran / items - self.alone
        self.alone += new * off
        self.seconds += new * (seconds / items - self.seconds)
        self.nbytes += new * (nbytes / items - self.nbytes)
        if known > 1:
            self.between += new * (items * off * off - self.between)
        self.spread.add(items, ran, steps, squares)
        if steps > 1:
            spread = max(squares - ran * ran / items, 0.0) / (steps - 1)
            self.within += new * (spread - self.within)
        self.worker.add(items, seconds - ran)
        if away or self.idle:
            # A worker has one chunk running and one waiting, so up to twice its time is no delay.
            self.idle = max(away - 2 * seconds, 0.95 * self.idle)
        self.largest = max(self.largest, items)


def recall(func: Callable[..., Any], way: Hashable) -> tuple[Hashable, Measured]:
    """
    Return a key for a function with this transport, and the measurements of its latest map.

    They may be wrong for other items. So only few items go into a chunk because of them, and a
    worker returns the rest of a chunk that takes too long.
    """
    while isinstance(func, (partial, MethodType)):
        func = func.func if isinstance(func, partial) else func.__func__
    what: Any = func if isinstance(func, BuiltinFunctionType) else type(func)
    if isinstance(func, FunctionType):
        what = func.__code__
    latest = _latest.get((what, way))
    if latest is None:
        return (what, way), Measured()
    return (what, way), Measured(
        latest.seconds,
        latest.nbytes,
        latest.alone,
        # The latest few chunks do not tell how uneven all items are.
        max(latest.within, latest.spread.variance()),
        latest.between,
        caller=Cost(latest.caller.chunk, latest.caller.item),
        worker=Cost(latest.worker.chunk, latest.worker.item),
        largest=latest.largest,
        earlier=latest.spread.items,
    )


def keep(key: Hashable, measured: Measured) -> None:
    """Keep the measurements of a map for the next map with the same key."""
    if measured.chunks:
        if len(_latest) >= KEPT:
            _latest.clear()
        _latest[key] = measured
