"""
How many items go into the next chunk: a pure function of what was measured so far.

::

    what a chunk costs its caller and its worker ──► how long one should be ──────────┐
    what items take, and how uneven they are ──► how much of the rest can go out now ─┴► size

A map starts from the measurements of the latest map of its function; without one, with single
items.

Chunks go out in rounds of one for each worker. If all items take the same time, a round may be all
that is left: few, large chunks, and all workers end together. If items are uneven, a round is the
part that leaves enough for workers that finish early, as in factoring (S. F. Hummel, E. Schonberg
and L. E. Flynn, Communications of the ACM 35, 1992). How large that part is follows from the
measured spread (adaptive factoring: I. Banicescu and Z. Liu, High Performance Computing Symposium,
2000). Chunks are short in the first round, so that the first results come soon, and up to twice as
long in each round after it, because long chunks cost less.
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
"""Most seconds that a chunk should take: so results come, and progress moves, twice a second."""

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

SEVERAL = 10
"""Fewest items in a chunk that is longer than those of the first round."""

LAST = 0.12
"""The shortest chunks, at the end of a map, as a share of the time that chunks take before."""

BUDGET = 3
"""A worker returns the rest of an automatically sized chunk after BUDGET times the target,"""

LONGEST = 0.5
"""but at the latest after these seconds, if the way to the workers is short."""

BYTES = 1 << 20
"""Most pickled bytes of a chunk and its results."""

GROWTH = 16
"""How many times larger than the largest measured chunk the next one may be."""

TRUSTED = 64
"""Most items in a chunk, while only an earlier map has measured anything."""

WEIGHED = 1 << 15
"""The same, once the bytes of such a chunk in this map are known."""

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
    earlier: bool = False
    """Whether an earlier map of the function has measured something."""
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
            # A worker has one chunk running and one waiting, so up to twice its time is no delay.
            self.idle = max(away - 2 * seconds, 0.95 * self.idle)
        self.largest = max(self.largest, items)


def chunk_size(measured: Measured, remaining: int | None, workers: int, place: int = 0) -> int:
    """
    Choose the number of items of the next chunk.

    Parameters
    ----------
    measured : Measured
        The measurements of this map; without any, a chunk is one item.
    remaining : int or None
        Number of items that were not yet in a chunk when this round of chunks began, if the input
        has a length.
    workers : int
        Number of workers of the map, and of chunks in a round.
    place : int
        Number of earlier chunks in rounds.

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
        rounds, place = divmod(place, workers)
        longer = min(target * 2.0 ** min(rounds, 9), MOST)
        if longer < max(target, SEVERAL * seconds):
            longer = target
        share = _share(measured, remaining * seconds / workers, workers, longer)
        size = min(size * longer / target, share / seconds)
        if (size + 0.5) * workers < remaining:
            size = math.floor(size + 0.5)  # all chunks of a round are equally long
        else:  # in the last one, the fractions that are cut off add up, and go to some of them
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
    """Return the seconds after which a worker returns the rest of a chunk."""
    near = min(BUDGET * max(items * measured.seconds, SECONDS), LONGEST)
    return max(near, BUDGET * min(4 * measured.idle, FAR))


def _share(measured: Measured, load: float, workers: int, target: float) -> float:
    """
    Return the seconds that each chunk of a round should take.

    Parameters
    ----------
    measured : Measured
    load : float
        Seconds of work that are left for each worker, if all get the same.
    workers : int
    target : float
        Seconds that a chunk should take.
    """
    seconds = max(measured.seconds, 1e-9)
    # Adaptive factoring, for equal workers: if nothing varies, this is all of the load.
    spread = workers * max(measured.within, measured.between) / seconds
    sure = load + spread / 2 - math.sqrt(spread * (spread / 4 + load))
    sure = max(sure, load / 4)  # smaller shares cost more than they can save
    least = measured.least(workers)
    if measured.chunks and not measured.earlier:
        # They began with single items, so by now they may be apart by the time of a chunk.
        sure = min(sure, load / 2)
    if load - sure < least:
        sure = load  # the rest would be too little for another round
    best = target
    chunk = measured.worker.chunk + workers * measured.caller.chunk
    items = workers * measured.caller.item
    if chunk and 0 < items < math.inf:
        # Workers wait until the caller has packed a chunk for each of them, which takes longer for
        # longer chunks. Shorter chunks are more, and each has its cost. This length costs least.
        best = min(best, math.sqrt(load * seconds * chunk / items))
    seconds = sure / math.ceil(max(sure / max(best, least), 1))
    # There is something for every worker, whatever an earlier map has measured, and the first items
    # of this one: others may take much longer.
    return max(seconds, least if measured.chunks > workers else min(least, load))


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
    caller = Cost(latest.caller.chunk, latest.caller.item)
    worker = Cost(latest.worker.chunk, latest.worker.item)
    known = latest.seconds, latest.nbytes, latest.alone, latest.within, latest.between
    return (what, way), Measured(*known, caller, worker, largest=latest.largest, earlier=True)


def keep(key: Hashable, measured: Measured) -> None:
    """Keep the measurements of a map for the next map with the same key."""
    if measured.chunks:
        if len(_latest) >= KEPT:
            _latest.clear()
        _latest[key] = measured
