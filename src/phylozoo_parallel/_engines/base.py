"""
What an engine is: one map's use of workers that joblib runs.

A new kind of engine is a subclass in a file of its own, and a line in :mod:`.choose`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Call, Transport
from phylozoo_parallel._worker.run import Outcome

Done = Callable[[Any], None]
"""Takes what came of a call, for :meth:`Engine.outcome`; called in any thread."""


class WorkersLost(Exception):
    """
    Worker processes are gone, and the chunks that their pool had with them.

    Attributes
    ----------
    codes : dict of int to str, or None
        How those ended that died by themselves, by pid; None where nobody can tell.
    noted : dict of int to float
        When each worker noted something last, by pid.
    reason : str or None
        Why no worker can start; empty where they can, None where nobody has looked.
    """

    def __init__(self, codes: dict[int, str] | None, noted: dict[int, float]) -> None:
        died = [f"worker process {pid} died ({how})" for pid, how in (codes or {}).items()]
        none = "a worker process died" if codes is None else "the worker processes were ended"
        super().__init__(" and ".join(died) or none)
        self.codes, self.noted = codes, noted
        self.reason: str | None = None

    @property
    def unborn(self) -> bool:
        """Whether those that died may never have come to work."""
        return bool(self.codes) and not self.noted.keys() & set(self.codes or ())

    def hit(self, progress: Progress) -> bool:
        """
        Tell whether what was seen of a chunk may be the last of a worker that died.

        It may have ended the chunk, its answer unread, and died in the next one.
        """
        if not progress.pid or self.codes is None:
            return True
        return progress.pid in self.codes and progress.since >= self.noted.get(progress.pid, 0)


class Engine(ABC):
    """
    One map's use of workers; used in the caller's thread alone.

    Attributes
    ----------
    name : str
        The class of joblib's backend, for logs.
    workers : int
        Chunks that run at the same time.
    window : int
        Chunks to keep in flight: running, and waiting next in line.
    limits_time : bool
        Whether :meth:`give_up` can end an item that takes too long.
    """

    name: str
    workers: int
    window: int
    limits_time = False

    @abstractmethod
    def transport(self, func: Callable[..., Any], star: bool) -> Transport:
        """Return what carries the chunks of a map of this function to these workers."""

    def warm_up(self, modules: Sequence[str]) -> bool:
        """Have idle workers import modules, and tell whether they do, without waiting for it."""
        return False

    @abstractmethod
    def submit(self, call: Call, done: Done) -> None:
        """
        Have a call run in a worker; `done` gets what :meth:`outcome` takes.

        Raises
        ------
        WorkersLost
            The workers are gone. Others are there for the next call.
        """

    def flush(self) -> None:
        """Start what was submitted, on engines that do not start it at once."""

    @abstractmethod
    def outcome(self, out: Any) -> Outcome:
        """
        Return what a worker returned.

        Raises
        ------
        WorkersLost
            The workers are gone.
        Exception
            Of a scheduler, which knows nothing of items.
        """

    def give_up(self, chunk: Chunk, progress: Progress) -> bool:
        """
        End the worker that runs a chunk, because an item takes too long; note that in the chunk.

        Returns
        -------
        bool
            Whether the loss will come as an outcome. Of a thread, which nobody can end, nothing
            will come; what it has done so far is in the chunk.
        """
        return True

    def end_workers(self) -> None:
        """End all workers at once, or do without them."""

    def look_after(self) -> None:
        """
        See to it that outcomes, or the news of their loss, can arrive.

        Raises
        ------
        RuntimeError
            They can not.
        """

    @abstractmethod
    def release(self) -> None:
        """End this map's use."""
