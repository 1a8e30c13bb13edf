"""
The base class of engines. An engine is one map's use of workers that joblib runs.

A new kind of engine is a subclass in a file of its own, and a line in :mod:`.choose`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines.limits import Watch
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Call, Transport
from phylozoo_parallel._worker.run import Outcome

WATCH = 1.0
"""Seconds after which :meth:`Engine.look_after` is called again."""

Done = Callable[[Any], None]
"""A callback, called in any thread; it takes what :meth:`Engine.outcome` reads."""


class WorkersLost(Exception):
    """
    Worker processes are gone, and with them the chunks that their pool had.

    Attributes
    ----------
    codes : dict of int to str, or None
        How workers ended that died by themselves, by pid; None if that is not known.
    noted : dict of int to float
        When each worker last noted something on the board, by pid.
    reason : str or None
        Why no worker can start; empty if workers can start, None if that was not tried.
    when : float
        When this was noticed, by ``time.monotonic``.
    """

    def __init__(self, codes: dict[int, str] | None, noted: dict[int, float]) -> None:
        died = [f"worker process {pid} died ({how})" for pid, how in (codes or {}).items()]
        none = "a worker process died" if codes is None else "the worker processes were ended"
        super().__init__(" and ".join(died) or none)
        self.codes, self.noted = codes, noted
        self.reason: str | None = None
        self.when = monotonic()

    @property
    def died_at_start(self) -> bool:
        """Whether all workers that died may have died before they began with any chunk."""
        return bool(self.codes) and not self.noted.keys() & set(self.codes or ())

    def may_have_died_in(self, progress: Progress) -> bool:
        """
        Return whether a worker that died may have died while it ran a chunk of this progress.

        It has not, if it noted something later: then it died in another chunk.
        """
        if not progress.pid or self.codes is None:
            return True
        return progress.pid in self.codes and progress.since >= self.noted.get(progress.pid, 0)


class Engine(ABC):
    """
    One map's use of workers. All methods are called in the caller's thread.

    Attributes
    ----------
    name : str
        The class of joblib's backend, for logs.
    workers : int
        Number of chunks that run at the same time.
    window : int
        Number of chunks to keep in flight: those that run, and those next in line.
    limits_time : bool
        Whether :meth:`give_up` can end an item that takes too long.
    """

    name: str
    workers: int
    window: int
    limits_time = False

    @abstractmethod
    def transport(self, func: Callable[..., Any], star: bool) -> Transport:
        """Return the transport for a map of this function, and of its chunks to these workers."""

    def warm_up(self, modules: Sequence[str]) -> bool:
        """Make idle workers import modules, without waiting; return whether they do it."""
        return False

    @abstractmethod
    def submit(self, call: Call, done: Done) -> None:
        """
        Run a call in a worker. Then `done` is called with the argument for :meth:`outcome`.

        Raises
        ------
        WorkersLost
            The workers are gone. New ones are there for the next call.
        """

    def flush(self) -> None:
        """Start all submitted calls, on engines that do not start them at once."""

    @abstractmethod
    def outcome(self, out: Any) -> Outcome:
        """
        Return the outcome of a chunk, from the argument that `done` was called with.

        Raises
        ------
        WorkersLost
            The workers are gone.
        Exception
            An error of a scheduler, which knows nothing of items.
        """

    def give_up(self, chunk: Chunk, progress: Progress) -> bool:
        """
        End the worker that runs a chunk, because an item takes too long; note that in the chunk.

        Returns
        -------
        bool
            Whether the lost worker will be reported as an outcome. A thread cannot be ended, and
            is never reported as lost; what it has done so far is in the chunk.
        """
        return True

    def end_workers(self) -> None:
        """End all workers at once; workers that cannot be ended are replaced by new ones."""

    def look_after(self, starving: bool) -> None:
        """
        Make sure that outcomes, or the news that workers are lost, can still arrive.

        Parameters
        ----------
        starving : bool
            Whether no worker has begun with any of this map's chunks for a while.

        Raises
        ------
        RuntimeError
            They cannot.
        """

    def share(self, watch: Watch) -> None:
        """Have other maps look after the chunks of this one, too: it may be away, or ended."""

    def unshare(self, watch: Watch) -> None:
        """End that; if the watch is not over, keep it until it is."""

    @abstractmethod
    def release(self) -> None:
        """End this map's use of the workers."""
