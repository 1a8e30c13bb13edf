"""
How the chunks of one map travel: as they are to threads, packed to processes.

::

    chunk ──call──► arguments of run_in_thread / run_in_process ──► worker
    chunk ◄──accept── outcome (packed results)  ◄──────────────────┘
      └──values──► results
"""

from __future__ import annotations

import operator
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from time import monotonic
from types import FunctionType
from typing import Any

import cloudpickle

from phylozoo_parallel import _board, _shipping, _worker
from phylozoo_parallel._board import Progress
from phylozoo_parallel._engine import LEAK_LIMIT, Call, Engine
from phylozoo_parallel._shipping import Packed, Segment
from phylozoo_parallel.errors import line, short

FUNCTION = 1 << 16
"""Bytes from which a function travels in a segment; less goes with every chunk."""

KEPT_REPLIES = 32
"""Empty segments that stay open, each with a file descriptor."""

_pickled = lru_cache(maxsize=8)(pickle.dumps)
"""Of each :class:`Place`, which hardly ever changes."""

_replies: list[Segment] = []
"""Empty segments for large results, for the next chunk that is sent."""


@dataclass(slots=True, eq=False, repr=False)
class Chunk:
    """Items on their way to a worker, and their results on the way back."""

    first: int
    items: Sequence[Any]
    losses: int = 0
    """How often a worker died while it ran these items."""
    away: float = 0.0
    """Seconds from being sent to coming back."""
    late: bool = False
    """Whether its worker was ended because an item took too long."""
    progress: Progress | None = None
    """How far a worker came with it, as far as it is known."""
    cell: int | None = None
    nbytes: int = 0
    """Of the packed items, later with their results."""
    packed: Packed = None
    segment: Segment | None = None
    """Where the items are, when `packed` names it."""
    reply: Segment | None = None
    """Where the worker may put results."""
    results: Any = None

    def close(self) -> None:
        """Let go of shared memory: all that a chunk holds that comes back without results."""
        for segment in (self.segment, self.reply):
            if segment is not None:
                segment.close()
        self.segment = self.reply = None


class UnpicklableItem(Exception):
    """The item at a position of a chunk cannot be pickled; `args` are that and the reason."""


class InThread:
    """Hands the caller's own objects to worker threads."""

    sees = True

    def __init__(self, func: Callable[..., Any], star: bool) -> None:
        self.func = func
        self._star = star
        self._ended: list[bool] = []

    def call(self, chunk: Chunk, pace: _worker.Pace) -> Call:
        """Return what the engine has to run for a chunk."""
        chunk.results = []

        def note(done: int, running: int) -> None:
            chunk.progress = Progress(0, done, running, monotonic())

        wanted = partial(operator.not_, self._ended)
        what = self.func, self._star, chunk.items, chunk.first, pace, chunk.results, wanted, note
        return _worker.run_in_thread, (_worker.Task(*what),)

    def look(self, chunk: Chunk) -> Progress | None:
        """Tell how far a chunk in flight is; None when no worker has begun with it."""
        return chunk.progress

    def landed(self, chunk: Chunk) -> None:
        """Note that no worker runs the chunk any more."""

    def accept(self, chunk: Chunk, results: list[Any], done: int) -> None:
        """Keep the results of a chunk; their size is a guess from the first of them."""
        chunk.results = results
        chunk.items = ()
        chunk.nbytes = sys.getsizeof(results)
        if done:
            with suppress(Exception):  # its own __sizeof__
                chunk.nbytes += done * sys.getsizeof(results[0])

    def values(self, chunk: Chunk) -> Any:
        """Return the results of a chunk."""
        return chunk.results

    def end(self, flying: set[Chunk]) -> None:
        """Have the workers stop."""
        self._ended.append(True)


class ToProcess:
    """
    Packs function, items and results for workers in other processes.

    Attributes
    ----------
    sees : bool
        Whether :meth:`look` can tell how far a chunk is.
    """

    def __init__(self, func: Callable[..., Any], star: bool, engine: Engine) -> None:
        self.func = func
        self._engine = engine
        key = int.from_bytes(os.urandom(8), "big") | 1
        try:
            pieces = _function_parts(func, star)
        except Exception as error:
            raise pickle.PicklingError(
                f"func = {short(func)} could not be pickled for worker processes: {line(error)}; "
                "what it captures has to be picklable, or use the threading backend"
            ) from error
        self._function, self._segment = self._pack(pieces, FUNCTION)
        place = None
        self._board = _board.own() if engine.place else None
        self._ticket = self._board.take_map(key) if self._board else None
        if engine.place:
            directory = None
            with suppress(OSError):  # it is gone
                directory = os.getcwd()
            lifeline = self._board.lifeline if self._board else None
            place = _pickled(_worker.Place(directory, tuple(sys.path), LEAK_LIMIT, lifeline))
        self.sees = self._ticket is not None
        self._head = key, self._ticket, place

    def call(self, chunk: Chunk, pace: _worker.Pace) -> Call:
        """
        Return what the engine has to run for a chunk.

        Raises
        ------
        UnpicklableItem
            The chunk cannot travel.
        """
        try:
            pieces = _shipping.parts(chunk.items, cloudpickle.dumps)
        except Exception as error:
            raise _unpicklable(chunk.items, error) from error
        chunk.packed, chunk.segment = self._pack(pieces, _shipping.LARGE)
        chunk.nbytes = _shipping.size(chunk.packed)
        if self._engine.place:
            chunk.reply = _reply()
        reply = chunk.reply.name if chunk.reply else None
        if self._ticket and self._board:
            chunk.cell = self._board.take_cell()
        if chunk.cell is None:
            chunk.progress = Progress(0, 0, 0, 0.0)  # nobody can tell
        sent = chunk.first, pace, reply, chunk.cell
        return _worker.run_in_process, (self._function, chunk.packed, self._head, sent)

    def look(self, chunk: Chunk) -> Progress | None:
        """Tell how far a chunk in flight is; None when no worker has begun with it."""
        cell = chunk.cell
        if cell is not None and self._board:
            progress = self._board.seen(cell)
            if chunk.cell is not None:  # still ours
                chunk.progress = progress
        return chunk.progress

    def landed(self, chunk: Chunk) -> None:
        """Note that no worker runs the chunk any more."""
        cell = chunk.cell
        if cell is not None and self._board:
            chunk.progress = self._board.seen(cell)
            chunk.cell = None
            self._board.drop_cell(cell)

    def accept(self, chunk: Chunk, results: Packed, done: int) -> None:
        """Keep the results of a chunk: large ones unpacked, small ones not yet."""
        try:
            if isinstance(results, tuple) and chunk.reply:
                chunk.results = chunk.reply.read(results[1])
            else:
                chunk.results = results if isinstance(results, bytes) else _shipping.unpack(results)
                if chunk.reply and len(_replies) < KEPT_REPLIES:
                    _replies.append(chunk.reply)
                    chunk.reply = None
        finally:
            chunk.close()
        chunk.nbytes += _shipping.size(results)
        # What is packed will do, should they be needed again.
        spare = isinstance(chunk.packed, bytes) and done == len(chunk.items)
        chunk.items = () if spare else chunk.items[:done]

    def values(self, chunk: Chunk) -> Any:
        """
        Return the results of a chunk.

        Raises
        ------
        Exception
            Whatever unpickling raises; the chunk's items are there again then.
        """
        if type(chunk.results) is not bytes:
            return chunk.results
        try:
            return pickle.loads(chunk.results)
        except Exception:
            chunk.items = chunk.items or pickle.loads(chunk.packed)
            raise

    def end(self, flying: set[Chunk]) -> None:
        """Have the workers stop, and let go of all shared memory."""
        if self._ticket and self._board:
            self._board.drop_map(self._ticket)
        if self._segment is not None:
            self._segment.close()
        for chunk in flying:
            chunk.close()

    def _pack(self, pieces: list[Any], large: int) -> tuple[Packed, Segment | None]:
        if len(pieces) == 1 and len(pieces[0]) < large:
            return pieces[0], None
        if self._engine.place:
            return _shipping.pack(pieces, self._engine.folder)
        return _shipping.Scattered(_shipping.in_message(pieces)), None


def _function_parts(func: Callable[..., Any], star: bool) -> list[Any]:
    by_name = isinstance(func, FunctionType) and func.__module__ != "__main__"
    if by_name and not cloudpickle.list_registry_pickle_by_value():
        with suppress(Exception):  # a lambda, or a function inside another, needs cloudpickle
            return [pickle.dumps((func, star), pickle.HIGHEST_PROTOCOL)]
    return _shipping.parts((func, star), cloudpickle.dumps)


def _reply() -> Segment | None:
    with suppress(IndexError, OSError):  # another thread took the last one; there is no memory
        return _replies.pop() if _replies else Segment()
    return None


def _unpicklable(items: Sequence[Any], error: Exception) -> UnpicklableItem:
    for position, item in enumerate(items):
        try:
            cloudpickle.dumps(item)
        except Exception as wrong:
            return UnpicklableItem(position, wrong)
    return UnpicklableItem(0, error)


def forget() -> None:
    """Leave the segments to the parent, in a forked child."""
    _replies.clear()
    _board.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
