"""
The base class of transports.

A transport makes a call out of each chunk of one map, and results out of what comes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._worker.run import Pace

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function, and its arguments."""


class Transport(ABC):
    """
    Carries the chunks of one map to its workers and back.

    Methods are called in the caller's thread, unless they say otherwise.

    Attributes
    ----------
    watches : bool
        Whether :meth:`look` can tell how far a chunk is.
    function : int
        Bytes of the pickled function; 0 if it is not pickled.
    """

    watches = False
    function = 0

    @abstractmethod
    def call(self, chunk: Chunk, pace: Pace) -> Call:
        """
        Return the call that runs a chunk in a worker.

        Raises
        ------
        UnpicklableItem
            An item of the chunk cannot be pickled.
        """

    def landed(self, chunk: Chunk, away: float) -> None:
        """Note that a chunk came back, `away` seconds after it was sent; called in any thread."""

    def look(self, chunk: Chunk) -> Progress | None:
        """Return how far a chunk in flight is; None if no worker has begun with it."""
        return chunk.progress

    def done(self, chunk: Chunk) -> int:
        """Return how many items of a chunk in flight are known to have run; in any thread."""
        progress = self.look(chunk)
        return progress.done if progress else 0

    @abstractmethod
    def accept(self, chunk: Chunk, results: Any, done: int) -> None:
        """Keep in the chunk what its worker returned: the results of its first `done` items."""

    def values(self, chunk: Chunk) -> Any:
        """
        Return the results of a chunk.

        Raises
        ------
        Exception
            Whatever unpickling raises. The chunk has its items again then, to run them anew.
        """
        return chunk.results

    def error(self, packed: Any) -> Any:
        """Return the exception that a worker sent, or None if it cannot be unpickled."""
        return packed

    @abstractmethod
    def end(self, in_flight: set[Chunk]) -> None:
        """Tell the workers to stop with the chunks in flight, and release what the map holds."""
