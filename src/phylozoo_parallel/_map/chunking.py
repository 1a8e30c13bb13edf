"""
How many items go into the next chunk: a pure function of what has been measured so far.

A map starts from what the latest one of its function measured, else with single items.

A chunk should last long enough to hide what sending it costs (about half a millisecond to a
worker process) and be short enough to balance the load and to answer a stop quickly. Towards
the end of a sized input chunks shrink with what remains, as in guided self-scheduling
(C. D. Polychronopoulos and D. J. Kuck, IEEE Transactions on Computers C-36, 1987), so that no
worker is left with the last big one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

SECONDS = 0.03
"""What a chunk should take in its worker."""

BYTES = 1 << 20
"""What a chunk and its results should weigh at most, in pickled bytes."""

LEAST_SECONDS = 0.002
"""What a chunk should take even when little is left to share, where the way is short."""

MOST_SECONDS = 1.0
"""What a chunk should take at most where the way to the workers is long."""

GROWTH = 16
"""How many times larger than any chunk that was measured the next one may be."""

SHARES = 1.5
"""Chunks for each worker that the rest of a sized input is cut into."""

TRUSTED = 64
"""Items in a chunk at most, for what was only measured in an earlier map."""

WEIGHED = 1 << 15
"""The same, once it is known what such a chunk weighs in this map."""

KEPT = 64
"""Functions whose latest measurements are kept for their next map."""

_latest: dict[Hashable, Measured] = {}


@dataclass
class Measured:
    """What the chunks of one map took so far."""

    seconds: float = 0.0
    """Per item, leaning towards the latest chunks."""
    nbytes: float = 0.0
    """Per item, of the pickled item and its pickled result."""
    reading: float = 0.0
    """Seconds per item that the input took for the latest chunk."""
    largest: int = 0
    """Items in the largest chunk measured."""
    weight: float = 0.0
    """Bytes per item of the chunk that was packed last."""
    here: bool = False
    """Whether anything was measured in this map, and not in an earlier one of its function."""
    idle: float = 0.0
    """Seconds that a chunk was away, beyond its own run and that of the chunk before it."""

    @property
    def target(self) -> float:
        """Seconds that a chunk should take: enough to hide its way to the worker and back."""
        return min(max(SECONDS, 4 * self.idle), MOST_SECONDS)

    def add(self, items: int, seconds: float, nbytes: int, away: float = 0.0) -> None:
        """
        Take in one chunk.

        Parameters
        ----------
        items : int
            Items that ran, at least one.
        seconds : float
            From unpickling the chunk to pickling its results.
        nbytes : int
            Pickled bytes of the chunk and of its results; 0 in threads.
        away : float
            From sending the chunk to its outcome; 0 where the way is short.
        """
        weight = 1.0 if not self.largest else 0.5
        self.seconds += weight * (seconds / items - self.seconds)
        self.nbytes += weight * (nbytes / items - self.nbytes)
        # A worker has one chunk running and one waiting: up to twice its time is no loss.
        self.idle = max(away - 2 * seconds, 0.95 * self.idle)
        self.largest = max(self.largest, items)
        self.here = True


def chunk_size(measured: Measured, remaining: int | None, workers: int) -> int:
    """
    Choose the number of items of the next chunk.

    Parameters
    ----------
    measured : Measured
        Of this map; with nothing measured yet, a chunk is one item.
    remaining : int or None
        Items not yet in a chunk, where the input has a length.
    workers : int
        Workers of the map.

    Returns
    -------
    int
        At least 1.
    """
    if not measured.largest:
        return 1
    seconds = max(measured.seconds, 1e-9)
    size = min(
        measured.target / max(seconds, measured.reading),
        BYTES / max(measured.nbytes, measured.weight, 1e-9),
        GROWTH * measured.largest,
    )
    if remaining is not None:
        share = remaining / (SHARES * workers)
        least = LEAST_SECONDS / SECONDS * measured.target / seconds
        size = min(size, max(share, least) if measured.here else share)
    if not measured.here:
        size = min(size, WEIGHED if measured.weight else TRUSTED)
    return max(int(size), 1)


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
    latest = _latest.get((what, way)) or Measured()
    return (what, way), Measured(latest.seconds, latest.nbytes, largest=latest.largest)


def keep(key: Hashable, measured: Measured) -> None:
    """Keep what a map of the function with this key measured."""
    if measured.here:
        if len(_latest) >= KEPT:
            _latest.clear()
        _latest[key] = measured
