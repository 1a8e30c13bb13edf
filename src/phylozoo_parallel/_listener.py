"""
Listeners are told how a map runs: one that does nothing, one for the log, or a profile.

::

    executor ──► make(func, kind) ──► Listener ◄── started, turn, sending, came … ── loop, outcomes

The map calls a listener a few times for each chunk, which costs little. Only for a profile do
workers take times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from phylozoo_parallel._chunk import Chunk
    from phylozoo_parallel._worker.run import Times

Doing = Literal[
    "opening", "pickling", "reading", "sending", "waiting", "taking", "away", "computing"
]
"""
What the caller's thread does: it opens workers, pickles the function, reads input, sends a chunk,
waits for outcomes, takes in results, is away (in the user's loop, with a result), or computes
(runs items itself).
"""


class Listener:
    """
    Is told how one map runs, and does nothing with it; the base class of those that do.

    Attributes
    ----------
    timed : bool
        Whether workers shall take the times of chunks.
    """

    timed = False

    def started(self, engine: str, workers: int, function: int) -> None:
        """Note the engine, its number of workers, and the bytes of the pickled function."""

    def turn(self, doing: Doing) -> None:
        """Note what the caller begins to do."""

    def sending(self, chunk: Chunk) -> None:
        """Note that a chunk, packed by now, is being sent."""

    def arrived(self, chunk: Chunk) -> None:
        """Note that a chunk is back; called in any thread."""

    def came(self, chunk: Chunk, done: int, seconds: float, times: Times | None) -> None:
        """Note that a chunk came back with the results of `done` items."""

    def failed(self, chunk: Chunk, how: str) -> None:
        """Note that a chunk has no results, and why: it is "lost", "late" or "failed"."""

    def ended(self) -> None:
        """Note that the map ends."""

    def in_place(
        self, func: Callable[..., Any], items: Iterator[Any]
    ) -> tuple[Callable[..., Any], Iterator[Any]]:
        """Return the function and the items that the caller runs itself, on sequential maps."""
        return func, items

    def short(self) -> str:
        """Return what to add to the map's line in the log."""
        return ""


class Tally(Listener):
    """Adds up the times for the map's line in the log."""

    def __init__(self) -> None:
        self.began = self._since = perf_counter()
        self.workers = 1
        self.busy = 0.0
        self._doing: Doing = "pickling"
        self._spent: dict[Doing, float] = {}

    def started(self, engine: str, workers: int, function: int) -> None:
        """Note the number of workers."""
        self.workers = workers

    def turn(self, doing: Doing) -> None:
        """Add up how long the caller did what it was doing until now."""
        now = perf_counter()
        self._spent[self._doing] = self._spent.get(self._doing, 0.0) + now - self._since
        self._doing, self._since = doing, now

    def came(self, chunk: Chunk, done: int, seconds: float, times: Times | None) -> None:
        """Add up how long workers were busy."""
        self.busy += seconds

    def ended(self) -> None:
        """Add up how long the caller did the last thing."""
        self.turn(self._doing)

    def short(self) -> str:
        """Return the speed-up that was reached, and the shares of what the caller did."""
        wall = max(self._since - self.began, 1e-9)
        spent = ", ".join(f"{doing} {took / wall:.0%}" for doing, took in self._spent.items())
        reached = self.busy / wall
        return f"; speed-up {reached:.2f}, workers busy {reached / self.workers:.0%}; {spent}"


make: Callable[[Callable[..., Any], str], Listener] = lambda func, kind: Listener()  # noqa: E731
"""Makes the listener of a map from its function and its kind of workers; a profile replaces it."""
