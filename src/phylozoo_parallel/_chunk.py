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
    sent: float = 0.0
    """When it was sent, by ``time.monotonic``."""
    away: float = 0.0
    """Seconds from sending the chunk to its outcome; 0 if the way takes no time worth counting."""
    handled: float = 0.0
    """Seconds that the caller needed to submit the chunk and to handle its outcome."""
    packing: float = 0.0
    """Seconds that the caller needed to pack the items, and to unpack the results."""
    late: bool = False
    """Whether its worker was ended because an item took too long."""
    back: bool = False
    """Whether it has come back, or is known to be lost."""
    progress: Progress | None = None
    """How far a worker has come with it, if that is known."""
    cell: int | None = None
    """The cell of the board in which its worker notes that."""
    nbytes: int = 0
    """Bytes of the packed items; later of the items and their results."""
    packed: Packed = None
    """The packed items, or the name of the segment that holds them."""
    segment: Segment | None = None
    """The segment that holds the items, if they are in shared memory."""
    reply: Segment | None = None
    """The segment into which the worker may write large results."""
    results: Any = None
    failures: Sequence[Failure] = ()
    """The failures of items, whose results are None."""

    def close(self) -> None:
        """Release the shared memory that the chunk holds."""
        for segment in (self.segment, self.reply):
            if segment is not None:
                segment.close()
        self.segment = self.reply = None

    def __str__(self) -> str:
        last = self.first + len(self.items) - 1
        return f"items {self.first} to {last}" if last > self.first else f"item {last}"


class UnpicklableItem(Exception):
    """An item cannot be pickled; `args` are its position in the chunk and the reason."""
