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
2000), and from how late the last of so many workers will be (C. P. Kruskal and A. Weiss, IEEE
Transactions on Software Engineering 11, 1985). Chunks are short in the first round, so that the
first results come soon, and up to twice as long in each round after it, because long chunks cost
less.
"""

from __future__ import annotations

import math

from phylozoo_parallel._map.measured import FAR, MOST, SECONDS, Measured

ONCE = 6
"""
All items go out at once, one chunk for each worker, if as many were even before, and they take at
most so many times the target.
"""

SEVERAL = 10
"""Fewest items in a chunk that is longer than those of the first round."""

BUDGET = 3
"""A worker returns the rest of an automatically sized chunk after BUDGET times the target,"""

LONGEST = 0.5
"""
but at the latest after these seconds, if the way to the workers is short, and the chunk was not
expected to take longer.
"""

BYTES = 1 << 20
"""Most pickled bytes of a chunk and its results."""

GROWTH = 16
"""How many times larger than the largest measured chunk the next one may be."""

TRUSTED = 128
"""Most items in a chunk, while only an earlier map has measured anything."""

WEIGHED = 1 << 15
"""The same, once the bytes of such a chunk in this map are known."""


def chunk_size(
    measured: Measured,
    left: int | None,
    workers: int,
    place: int = 0,
    begun: int | None = None,
) -> int:
    """
    Choose the number of items of the next chunk.

    Parameters
    ----------
    measured : Measured
        The measurements of this map; without any, a chunk is one item.
    left : int or None
        Number of items that are not yet in a chunk, if the input has a length.
    workers : int
        Number of workers of the map, and of chunks in a round.
    place : int
        Number of earlier chunks in rounds.
    begun : int or None
        Number of items that were left when this round began; None for a round that begins now.

    Returns
    -------
    int
        At least 1.
    """
    begun = left if begun is None else begun
    if not measured.largest or (not measured.chunks and begun and begun <= workers):
        return 1
    seconds, target = max(measured.seconds, 1e-9), measured.target(workers)
    size = target / max(seconds, measured.reading)
    if left is not None and begun is not None:
        rounds, place = divmod(place, workers)
        longer = min(target * 2.0 ** min(rounds, 9), MOST)
        if longer < max(target, SEVERAL * seconds):
            longer = target
        share = _share(measured, begun * seconds / workers, workers, longer)
        size = min(share / seconds, longer / max(measured.reading, 1e-9))
        if (size + 0.5) * workers < begun:
            size = math.floor(size + 0.5)  # all chunks of a round are equally long
        else:  # in the last one, some take one item more, so that nothing is left for another
            size = math.floor(size)
            size += left > size * (workers - place)
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
    expected = items * measured.seconds
    near = min(BUDGET * max(expected, SECONDS), max(LONGEST, 1.5 * expected))
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
    # Adaptive factoring, for equal workers: if nothing varies, this is all of the load. The last of
    # `workers` sums that are spread by chance is sqrt(2 log(workers)) of their deviations late;
    # twice that variance is for costs that have a few very large ones.
    latest = min(workers, 4 * math.log(workers))
    spread = latest * max(measured.within, measured.between) / seconds
    sure = load + spread / 2 - math.sqrt(spread * (spread / 4 + load))
    sure = max(sure, load / 4)  # smaller shares cost more than they can save
    least = measured.least(workers)
    if measured.chunks and not measured.earlier:
        # They began with single items, so by now they may be apart by the time of a chunk.
        sure = min(sure, load / 2)
    if load - sure < least:
        sure = load  # the rest would be too little for another round
    at_once = min(ONCE * measured.target(workers), 2 * MOST)
    at_once = at_once if measured.earlier * seconds >= load * workers else 0.0
    best = load if sure == load <= at_once and not measured.chunks else target
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
