"""
How many items go into the next chunk: a pure function of what has been measured so far.

::

    what a chunk costs its caller and its worker ──► how long one should be ──────────┐
    what items take, and how uneven they are ──► how much of the rest can go out now ─┴► size

A map starts from what the latest one of its function measured, else with single items.

Chunks go out in rounds of one for each worker. Of even items a round may be all that is left:
few, large chunks and an even end. Of uneven ones it is what workers can surely do before the
first of them runs out of work, as in factoring (S. F. Hummel, E. Schonberg and L. E. Flynn,
Communications of the ACM 35, 1992); how much that is follows from the spread that was measured
(adaptive factoring: I. Banicescu and Z. Liu, High Performance Computing Symposium, 2000).
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
"""What a chunk should take in its worker where chunks are cheap."""

MOST = 0.4
"""What a chunk should take at most: results come, and progress moves, twice a second."""

FAR = 1.0
"""The same, where the way to the workers is long."""

CALLER = 30
"""How many times longer a chunk should take than the caller's thread needs for one of each
worker: it is busy a thirtieth of the time then, and joblib's and loky's threads are as much."""

WORKER = 100
"""How many times longer a chunk should take than its worker needs besides the items, in what is
measured here; joblib and loky need as much again."""

FIRST = 0.001
"""What the first chunk is taken to cost at most: it comes with the start of many things."""

LAST = 0.12
"""The shortest chunks, at the end of a map, as a share of what they should take before."""

BUDGET = 3
"""A worker returns the rest of a chunk after this many times what it should take,"""

LONGEST = 0.5
"""but after these seconds at the latest, where the way is short."""

BYTES = 1 << 20
"""What a chunk and its results should weigh at most, in pickled bytes."""

GROWTH = 16
"""How many times larger than any chunk that was measured the next one may be."""

TRUSTED = 64
"""Items in a chunk at most, for what was only measured in an earlier map."""

WEIGHED = 1 << 15
"""The same, once it is known what such a chunk weighs in this map."""

MEMORY = 6
"""Chunks whose measurements count; older ones fade."""

KEPT = 64
"""Functions whose latest measurements are kept for their next map."""

_latest: dict[Hashable, Measured] = {}


@dataclass(slots=True)
class Cost:
    """Seconds that chunks take besides their items' own."""

    chunk: float = 0.0
    """For any chunk."""
    item: float = math.inf
    """For each of its items, which no size of a chunk can spare."""

    def add(self, items: int, seconds: float, chunk: float = 0.0) -> None:
        """Take in what a chunk took, of which so many seconds have nothing to do with items."""
        item = (seconds - chunk) / items
        if item < 1.01 * self.item:  # and what is left of this chunk is not known
            self.item = item
            chunk = chunk or self.chunk or seconds
        else:
            self.item *= 1.01
            chunk = max(chunk, seconds - self.item * items)
        # One that was interrupted says little.
        most = 2 * self.chunk or FIRST
        self.chunk += (min(chunk, most) - self.chunk) / (MEMORY if self.chunk else 1)


@dataclass(slots=True)
class Measured:
    """What the chunks of one map took so far."""

    seconds: float = 0.0
    """Per item, unpickled and with its result pickled, leaning towards the latest chunks."""
    nbytes: float = 0.0
    """Per item, of the pickled item and its pickled result."""
    alone: float = 0.0
    """The same of the item alone."""
    within: float = 0.0
    """The variance of items' seconds, from their spread within chunks."""
    between: float = 0.0
    """The same from the spread of chunks: larger where neighbours are alike."""
    caller: Cost = field(default_factory=Cost)
    """What chunks cost the caller's thread."""
    worker: Cost = field(default_factory=Cost)
    """What chunks cost their workers."""
    reading: float = 0.0
    """Seconds per item that the input took for the latest chunk."""
    largest: int = 0
    """Items in the largest chunk measured."""
    weight: float = 0.0
    """Bytes per item of the chunk that was packed last."""
    chunks: int = 0
    """Measured in this map."""
    earlier: bool = False
    """Whether an earlier map of the function has measured something."""
    idle: float = 0.0
    """Seconds that a chunk was away, beyond its own run and that of the chunk before it."""

    def target(self, workers: int) -> float:
        """Seconds that a chunk should take: enough to hide what it costs, and its way."""
        return max(min(self._worthwhile(workers), MOST), min(4 * self.idle, FAR))

    def least(self, workers: int) -> float:
        """Seconds that a chunk should take at least, when little is left to share."""
        return min(LAST * max(self._worthwhile(workers), 4 * self.idle), self.target(workers))

    def _worthwhile(self, workers: int) -> float:
        return max(SECONDS, CALLER * workers * self.caller.chunk, WORKER * self.worker.chunk)

    def add(self, items: int, took: Took, nbytes: int, away: float = 0.0) -> None:
        """
        Take in one chunk.

        Parameters
        ----------
        items : int
            Items that ran, at least one.
        took : Took
            What its worker says.
        nbytes : int
            Pickled bytes of the chunk and of its results; 0 in threads.
        away : float
            From sending the chunk to its outcome; 0 where the way is short.
        """
        seconds, ran, steps, squares = took
        self.chunks += 1
        known = self.chunks + self.earlier
        new = 1 / min(known, MEMORY)
        off = ran / items - self.alone
        self.alone += new * off
        self.seconds += new * (seconds / items - self.seconds)
        self.nbytes += new * (nbytes / items - self.nbytes)
        if known > 1:
            self.between += new * (items * off * off - self.between)
        if steps > 1:
            spread = max(squares - ran * ran / items, 0.0) / (steps - 1)
            self.within += new * (spread - self.within)
        self.worker.add(items, seconds - ran)
        if away or self.idle:
            # A worker has one chunk running and one waiting: up to twice its time is no loss.
            self.idle = max(away - 2 * seconds, 0.95 * self.idle)
        self.largest = max(self.largest, items)


def chunk_size(measured: Measured, remaining: int | None, workers: int, place: int = 0) -> int:
    """
    Choose the number of items of the next chunk.

    Parameters
    ----------
    measured : Measured
        Of this map; with nothing measured yet, a chunk is one item.
    remaining : int or None
        Items that were not yet in a chunk when this round of chunks began, where the input has
        a length.
    workers : int
        Workers of the map, and chunks in a round.
    place : int
        Of the chunk in its round.

    Returns
    -------
    int
        At least 1.
    """
    if not measured.largest or (not measured.chunks and remaining and remaining <= workers):
        return 1
    seconds, target = max(measured.seconds, 1e-9), measured.target(workers)
    size = target / max(seconds, measured.reading)
    if remaining is not None:
        share = _share(measured, remaining * seconds / workers, workers, target) / seconds
        size = min(size, share)
        # What a fraction adds up to within a round goes to one of its chunks.
        size = math.floor((place + 1) * size + 1e-6) - math.floor(place * size + 1e-6)
    size = min(
        size,
        BYTES / max(measured.nbytes, measured.weight, 1e-9),
        GROWTH * measured.largest,
    )
    if not measured.chunks:
        size = min(size, WEIGHED if measured.weight else TRUSTED)
    return max(int(size), 1)


def budget(measured: Measured, items: int) -> float:
    """Return the seconds after which a worker leaves the rest of a chunk to others."""
    near = min(BUDGET * max(items * measured.seconds, SECONDS), LONGEST)
    return max(near, BUDGET * min(4 * measured.idle, FAR))


def _share(measured: Measured, load: float, workers: int, target: float) -> float:
    """
    Return the seconds that each chunk of a round should take.

    Parameters
    ----------
    measured : Measured
    load : float
        Seconds that each worker has left to do, if all do the same.
    workers : int
    target : float
        Seconds that a chunk should take.
    """
    seconds = max(measured.seconds, 1e-9)
    # Adaptive factoring, for workers that are alike: all of the load where nothing varies.
    spread = workers * max(measured.within, measured.between) / seconds
    sure = load + spread / 2 - math.sqrt(spread * (spread / 4 + load))
    sure = max(sure, load / 4)  # smaller shares cost more than they could win
    least = measured.least(workers)
    if measured.chunks and not measured.earlier:
        # They began with single items, and are out of step by as much as a chunk by now.
        sure = min(sure, load / 2)
    if load - sure < least:
        sure = load  # what would be left is not worth another round
    best = target
    chunk = measured.worker.chunk + workers * measured.caller.chunk
    items = workers * measured.caller.item
    if chunk and 0 < items < math.inf:
        # Workers wait until the caller has packed a chunk for each: the longer the chunks are,
        # the longer. Of all sizes this one costs least, with what the chunks cost.
        best = min(best, math.sqrt(load * seconds * chunk / items))
    seconds = sure / math.ceil(max(sure / max(best, least), 1))
    # Whatever an earlier map says, there is something for every worker.
    return max(seconds, least if measured.chunks else min(least, load))


def recall(func: Callable[..., Any], way: Hashable) -> tuple[Hashable, Measured]:
    """
    Return a key for a function on this way to workers, and what its latest map measured.

    It may be far off for other items: few go into a chunk on its word, and a worker hands back
    the rest of a chunk that takes long.
    """
    while isinstance(func, (partial, MethodType)):
        func = func.func if isinstance(func, partial) else func.__func__
    what: Any = func if isinstance(func, BuiltinFunctionType) else type(func)
    if isinstance(func, FunctionType):
        what = func.__code__
    latest = _latest.get((what, way))
    if latest is None:
        return (what, way), Measured()
    caller, worker = (Cost(cost.chunk, cost.item) for cost in (latest.caller, latest.worker))
    known = latest.seconds, latest.nbytes, latest.alone, latest.within, latest.between
    return (what, way), Measured(*known, caller, worker, largest=latest.largest, earlier=True)


def keep(key: Hashable, measured: Measured) -> None:
    """Keep what a map of the function with this key measured."""
    if measured.chunks:
        if len(_latest) >= KEPT:
            _latest.clear()
        _latest[key] = measured
