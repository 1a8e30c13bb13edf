"""A chunk: work items on their way to a worker, and their results on the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._shipping.memory import Segment
from phylozoo_parallel._shipping.pickles import Packed
from phylozoo_parallel._worker.run import Failure


@dataclass(slots=True, eq=False, repr=False)
class Chunk:
    """Items on their way to a worker, and their results on the way back."""

    first: int
    """Index of the first item."""
    items: Sequence[Any]
    losses: int = 0
    """How often a worker died while it ran these items."""
    away: float = 0.0
    """Seconds from being sent to coming back, where the way itself takes time."""
    handled: float = 0.0
    """Seconds that the caller needed to submit it, and to settle what came of it."""
    packing: float = 0.0
    """Seconds that the caller needed to pack its items and to unpack its results."""
    late: bool = False
    """Whether its worker was ended because an item took too long."""
    progress: Progress | None = None
    """How far a worker came with it, as far as it is known."""
    cell: int | None = None
    """Where on the board its worker notes that."""
    nbytes: int = 0
    """Of the packed items, later with their results."""
    packed: Packed = None
    segment: Segment | None = None
    """Where the items are, when `packed` names it."""
    reply: Segment | None = None
    """Where the worker may put results."""
    results: Any = None
    failures: Sequence[Failure] = ()
    """Of items whose results are None."""

    def close(self) -> None:
        """Let go of shared memory: all that a chunk holds that comes back without results."""
        for segment in (self.segment, self.reply):
            if segment is not None:
                segment.close()
        self.segment = self.reply = None

    def __str__(self) -> str:
        last = self.first + len(self.items) - 1
        return f"items {self.first} to {last}" if last > self.first else f"item {last}"


class UnpicklableItem(Exception):
    """The item at a position of a chunk cannot be pickled; `args` are that and the reason."""
