"""What a transport is: it makes calls of the chunks of one map, and results of what comes back."""

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
    The way of one map's chunks to its workers and back; used in the caller's thread alone.

    Attributes
    ----------
    watches : bool
        Whether :meth:`look` can tell how far a chunk is.
    function : int
        Bytes of the pickled function; 0 where it is not.
    """

    watches = False
    function = 0

    @abstractmethod
    def call(self, chunk: Chunk, pace: Pace) -> Call:
        """
        Return what the engine has to run for a chunk.

        Raises
        ------
        UnpicklableItem
            The chunk cannot travel.
        """

    def landed(self, chunk: Chunk, away: float) -> None:
        """Note, in any thread, that no worker runs a chunk any more, after so many seconds."""

    def look(self, chunk: Chunk) -> Progress | None:
        """Tell how far a chunk in flight is; None when no worker has begun with it."""
        return chunk.progress

    def done(self, chunk: Chunk) -> int:
        """Tell, in any thread, how many items of a chunk in flight have run, as far as is known."""
        progress = self.look(chunk)
        return progress.done if progress else 0

    @abstractmethod
    def accept(self, chunk: Chunk, results: Any, done: int) -> None:
        """Keep in the chunk what its worker returned: the results of so many items."""

    def values(self, chunk: Chunk) -> Any:
        """
        Return the results of a chunk.

        Raises
        ------
        Exception
            Whatever unpickling raises; the chunk's items are there again then.
        """
        return chunk.results

    def error(self, packed: Any) -> Any:
        """Return the exception that a worker sent, or None where it cannot be unpickled."""
        return packed

    @abstractmethod
    def end(self, flying: set[Chunk]) -> None:
        """Have the workers stop with these chunks, and let go of all that the map holds."""
