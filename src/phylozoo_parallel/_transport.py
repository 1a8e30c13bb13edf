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
from functools import lru_cache, partial
from time import monotonic
from types import FunctionType
from typing import Any

import cloudpickle

from phylozoo_parallel import _board, _shipping, _worker
from phylozoo_parallel._board import Progress
from phylozoo_parallel._engine import Engine
from phylozoo_parallel.errors import line, short

Call = tuple[Callable[..., Any], tuple[Any, ...]]

FUNCTION = 1 << 16
"""Bytes from which a function travels in a segment; less goes with every chunk."""

KEPT_REPLIES = 32
"""Empty segments that stay open, each with a file descriptor."""

_replies: list[_shipping.Segment] = []
"""Empty segments for large results, for the next chunk that is sent."""


class Chunk:
    """Items on their way to a worker, and their results on the way back."""

    __slots__ = (
        "away",
        "cell",
        "first",
        "items",
        "late",
        "losses",
        "nbytes",
        "packed",
        "progress",
        "reply",
        "results",
        "segment",
    )

    def __init__(self, first: int, items: Sequence[Any], losses: int = 0) -> None:
        self.first = first
        self.items = items
        self.away = 0.0
        """Seconds from being sent to coming back."""
        self.losses = losses
        """How often a worker died while it ran these items."""
        self.late = False
        """Whether its worker was ended because an item took too long."""
        self.progress: Progress | None = None
        """How far a worker came with it, as far as it is known."""
        self.cell: int | None = None
        self.nbytes = 0
        """Of the packed items, later with their results."""
        self.packed: _shipping.Packed = None
        self.segment: _shipping.Segment | None = None
        """Where the items are, when `packed` names it."""
        self.reply: _shipping.Segment | None = None
        """Where the worker may put results."""
        self.results: Any = None


class UnpicklableItem(Exception):
    """The item at `position` of a chunk cannot be pickled; `error` is the reason."""

    def __init__(self, position: int, error: Exception) -> None:
        super().__init__(position, error)
        self.position = position
        self.error = error


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
        items = chunk.items
        arguments = (self.func, self._star, items, chunk.first, pace, chunk.results, wanted, note)
        return _worker.run_in_thread, arguments

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

    def lose(self, chunk: Chunk) -> None:
        """Let go of a chunk that comes back without results."""

    def values(self, chunk: Chunk) -> list[Any]:
        """Return the results of a chunk."""
        values: list[Any] = chunk.results
        return values

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

    @property
    def sees(self) -> bool:
        return self._ticket is not None

    def __init__(self, func: Callable[..., Any], star: bool, engine: Engine) -> None:
        self.func = func
        self._engine = engine
        self._key = int.from_bytes(os.urandom(8), "big") | 1
        try:
            pieces = _function_parts(func, star)
        except Exception as error:
            raise pickle.PicklingError(
                f"func = {short(func)} could not be pickled for worker processes: {line(error)}; "
                "what it captures has to be picklable, or use the threading backend"
            ) from error
        self._function, self._segment = self._pack(pieces, FUNCTION)
        self._ticket: _worker.Ticket | None = None
        self._place = None
        self._board = _board.own() if engine.place else None
        if self._board is not None:
            slot = self._board.take_map(self._key)
            self._ticket = (self._board.name, slot) if slot is not None else None
        if engine.place:
            try:
                directory = os.getcwd()
            except OSError:  # it is gone
                directory = None
            lifeline = self._board.lifeline if self._board else None
            self._place = _pickled_place(directory, tuple(sys.path), engine.leak_limit, lifeline)

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
        return _worker.run_in_process, (
            self._key,
            self._ticket,
            self._place,
            self._function,
            chunk.packed,
            chunk.first,
            pace,
            reply,
            chunk.cell,
        )

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

    def accept(self, chunk: Chunk, results: _shipping.Packed, done: int) -> None:
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
            _close(chunk)
        chunk.nbytes += _shipping.size(results)
        if isinstance(chunk.packed, bytes) and done == len(chunk.items):
            chunk.items = ()  # what is packed will do, should they be needed again
        else:
            chunk.items = chunk.items[:done]

    def lose(self, chunk: Chunk) -> None:
        """Let go of a chunk that comes back without results."""
        _close(chunk)

    def values(self, chunk: Chunk) -> list[Any]:
        """
        Return the results of a chunk.

        Raises
        ------
        Exception
            Whatever unpickling raises; the chunk's items are there again then.
        """
        if type(chunk.results) is not bytes:
            values: list[Any] = chunk.results
            return values
        try:
            values = pickle.loads(chunk.results)
        except Exception:
            chunk.items = chunk.items or pickle.loads(chunk.packed)
            raise
        return values

    def end(self, flying: set[Chunk]) -> None:
        """Have the workers stop, and let go of all shared memory."""
        if self._ticket and self._board:
            self._board.drop_map(self._ticket[1])
        if self._segment is not None:
            self._segment.close()
        for chunk in flying:
            _close(chunk)

    def _pack(
        self, pieces: list[Any], large: int
    ) -> tuple[_shipping.Packed, _shipping.Segment | None]:
        if len(pieces) == 1 and len(pieces[0]) < large:
            return pieces[0], None
        if self._engine.place:
            return _shipping.pack(pieces, self._engine.folder)
        return _shipping.Scattered(_shipping.in_message(pieces)), None


@lru_cache(maxsize=8)
def _pickled_place(
    directory: str | None,
    path: tuple[str, ...],
    leak_limit: tuple[str, str],
    lifeline: _shipping.Name | None,
) -> bytes:
    return pickle.dumps(_worker.Place(directory, path, leak_limit, lifeline))


def _function_parts(func: Callable[..., Any], star: bool) -> list[Any]:
    if (
        isinstance(func, FunctionType)
        and func.__module__ != "__main__"
        and not cloudpickle.list_registry_pickle_by_value()
    ):
        try:  # a module's function goes by its name: no need for cloudpickle's long look at it
            return [pickle.dumps((func, star), pickle.HIGHEST_PROTOCOL)]
        except Exception:  # a lambda, or a function inside another
            pass
    return _shipping.parts((func, star), cloudpickle.dumps)


def _reply() -> _shipping.Segment | None:
    try:
        return _replies.pop()
    except IndexError:
        pass
    try:
        return _shipping.Segment()
    except OSError:
        return None


def _unpicklable(items: Sequence[Any], error: Exception) -> UnpicklableItem:
    for position, item in enumerate(items):
        try:
            cloudpickle.dumps(item)
        except Exception as wrong:
            return UnpicklableItem(position, wrong)
    return UnpicklableItem(0, error)


def _close(chunk: Chunk) -> None:
    for segment in (chunk.segment, chunk.reply):
        if segment is not None:
            segment.close()
    chunk.segment = chunk.reply = None


def forget() -> None:
    """Leave the segments to the parent, in a forked child."""
    _replies.clear()
    _board.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
