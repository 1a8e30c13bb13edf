"""
Who hears how a map runs: nobody, the log or a profile.

::

    executor ──► make(func, kind) ──► Listener ◄── started, turn, sending, came … ── loop, outcomes

What is told here is cheap to tell, some words a chunk; a profile alone has workers take times.
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
What a map's caller does: opens workers, pickles the function, reads input, sends a chunk, waits
for outcomes, takes in results, has left the map (it works with a result), or runs items itself.
"""


class Listener:
    """
    Hears how one map runs, and makes nothing of it.

    Attributes
    ----------
    timed : bool
        Whether workers take the times of chunks.
    """

    timed = False

    def started(self, engine: str, workers: int, function: int) -> None:
        """Take which engine runs the map, on how many workers, and the function's pickled bytes."""

    def turn(self, doing: Doing) -> None:
        """Take what the caller begins to do."""

    def sending(self, chunk: Chunk) -> None:
        """Take that a chunk is packed, and being sent."""

    def arrived(self, chunk: Chunk) -> None:
        """Take, in any thread, that a chunk is back."""

    def came(self, chunk: Chunk, done: int, seconds: float, times: Times | None) -> None:
        """Take what a worker returned of a chunk: the results of so many items."""

    def failed(self, chunk: Chunk, how: str) -> None:
        """Take that nothing comes of a chunk: it was "lost", ran too "late" or "failed"."""

    def ended(self) -> None:
        """Take that the map ends."""

    def in_place(
        self, func: Callable[..., Any], items: Iterator[Any]
    ) -> tuple[Callable[..., Any], Iterator[Any]]:
        """Return what the caller runs itself, the sequential backend's function and items."""
        return func, items

    def short(self) -> str:
        """Return what the log's line on the map says besides."""
        return ""


class Tally(Listener):
    """Adds up what the log's line on a map says."""

    def __init__(self) -> None:
        self.began = self._since = perf_counter()
        self.workers = 1
        self.busy = 0.0
        self._doing: Doing = "pickling"
        self._spent: dict[Doing, float] = {}

    def started(self, engine: str, workers: int, function: int) -> None:
        """Take on how many workers the map runs."""
        self.workers = workers

    def turn(self, doing: Doing) -> None:
        """Add up how long the caller did what it did until now."""
        now = perf_counter()
        self._spent[self._doing] = self._spent.get(self._doing, 0.0) + now - self._since
        self._doing, self._since = doing, now

    def came(self, chunk: Chunk, done: int, seconds: float, times: Times | None) -> None:
        """Add up how long workers were busy."""
        self.busy += seconds

    def ended(self) -> None:
        """End what the caller does."""
        self.turn(self._doing)

    def short(self) -> str:
        """Return the speed-up reached, and what the caller did meanwhile."""
        wall = max(self._since - self.began, 1e-9)
        spent = ", ".join(f"{doing} {took / wall:.0%}" for doing, took in self._spent.items())
        reached = self.busy / wall
        return f"; speed-up {reached:.2f}, workers busy {reached / self.workers:.0%}; {spent}"


make: Callable[[Callable[..., Any], str], Listener] = lambda func, kind: Listener()  # noqa: E731
"""Returns the listener of a map that starts: its function, and its kind of workers if any."""
