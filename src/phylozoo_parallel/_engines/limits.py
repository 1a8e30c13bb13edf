"""
How long a worker may take for an item, and for what it does before and after the items.

The user's `timeout` is for the item alone. An import that takes long is not the item's fault, and
would take as long in another worker. But imports, pickling and unpickling have a limit, too, a much
longer one: without it, one that hangs would stop the map for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._shipping.board import Progress

LEAST = 60.0
"""Seconds that what is before and after the items may take, however short `timeout` is."""

TIMES = 10
"""How many times `timeout` it may take, if that is longer."""


def limit(progress: Progress, timeout: float) -> float:
    """Return how many seconds a worker may take for what it does now."""
    return timeout if progress.running else max(LEAST, TIMES * timeout)


def exceeded(progress: Progress, timeout: float) -> str:
    """Return which limit a worker has exceeded, as the end of a sentence about an item."""
    if progress.running:
        return f" took longer than timeout={timeout} seconds"
    doing = "pickling results" if progress.done else "importing or unpickling"
    return (
        f": its worker was {doing} for longer than {limit(progress, timeout):g} seconds; "
        f"timeout={timeout} itself counts only while an item runs"
    )


class Watch:
    """
    Tells which chunks of a map with a time limit take too long.

    Parameters
    ----------
    timeout : float
        Seconds that an item may take.
    in_flight : set of Chunk
        The chunks to watch.
    look : callable
        Returns how far a chunk is.
    needed : callable
        Returns the index before which items hold up the map if they take too long.

    Attributes
    ----------
    ended : bool
        Whether the map has ended; what is still in flight then only keeps workers from other maps.
    """

    def __init__(
        self,
        timeout: float,
        in_flight: set[Chunk],
        look: Callable[[Chunk], Progress | None],
        needed: Callable[[], float],
    ) -> None:
        self._timeout = timeout
        self._in_flight = in_flight
        self._look = look
        self._needed = needed
        self.ended = False

    def time_left(self) -> float:
        """Return for how many seconds no more chunks can be late."""
        now = monotonic()
        ends = [it.since + limit(it, self._timeout) - now for _, it in self._running()]
        return min([self._timeout, *ends])

    def late(self) -> list[tuple[Chunk, Progress]]:
        """Return the chunks that take too long now, each with its progress."""
        now = monotonic()
        return [it for it in self._running() if now - it[1].since > limit(it[1], self._timeout)]

    def over(self) -> bool:
        """Return whether no chunk is left to watch, nor will be."""
        return self.ended and all(chunk.late or chunk.back for chunk in list(self._in_flight))

    def _running(self) -> list[tuple[Chunk, Progress]]:
        looks = [(it, self._look(it)) for it in list(self._in_flight) if not it.back]
        needed = math.inf if self.ended else self._needed()
        if any(progress is None and chunk.first < needed for chunk, progress in looks):
            needed = math.inf  # that chunk may wait for the worker of any other one
        return [(it, at) for it, at in looks if at and at.since and it.first < needed]
