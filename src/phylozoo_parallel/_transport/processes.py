"""
The transports to other processes: chunks go there packed, in messages or through shared memory.

::

    chunk ──call──► arguments of run_in_process ──► worker
    chunk ◄──accept── outcome (packed results)  ◄──┘
      └──values──► results
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any

import cloudpickle

from phylozoo_parallel._chunk import Chunk, UnpicklableItem
from phylozoo_parallel._shipping import board, pickles
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._shipping.memory import Segment
from phylozoo_parallel._shipping.pickler import dumps
from phylozoo_parallel._shipping.pickles import Packed
from phylozoo_parallel._transport.base import Call, Transport
from phylozoo_parallel._transport.guard import guarded
from phylozoo_parallel._worker import lifeline, settings
from phylozoo_parallel._worker.known import Caller, Head
from phylozoo_parallel._worker.process import run_in_process
from phylozoo_parallel._worker.run import Pace
from phylozoo_parallel.errors import Refused, line, short

FUNCTION = 1 << 16
"""From this many bytes on, a function goes into a segment; a smaller one goes with every chunk."""

KEPT_REPLIES = 32
"""Most empty segments that stay open, each with a file descriptor."""

_PLAIN = frozenset({int, float, complex, str, bytes, bool, NoneType})
"""Types of items that pickle itself packs correctly, and faster than cloudpickle."""

FEW = 64
"""Most items whose types are checked for this."""

_pickled = lru_cache(maxsize=8)(pickle.dumps)
"""Pickles each :class:`Caller` and its :class:`Settings`, which hardly ever change, once."""

_replies: list[Segment] = []
"""Empty segments for large results, ready for the next chunks."""


class ToMachine(Transport):
    """
    Packs the function, items and results into messages, for workers that may be on other machines.

    Raises
    ------
    pickle.PicklingError
        The function cannot be pickled.
    """

    def __init__(self, func: Callable[..., Any], star: bool) -> None:
        try:
            pieces = _function_parts(func, star)
        except Exception as error:
            raise pickle.PicklingError(
                f"func = {short(func)} could not be pickled for worker processes: {line(error)};"
                " or use the threading backend"
            ) from error
        self._key = int.from_bytes(os.urandom(8), "big") | 1
        self._function, self._segment = self._pack(pieces, FUNCTION)
        self.function = pickles.size(self._function)
        self._settings = _pickled(settings.taken())
        self._head: Head = self._key, None, None, self._settings

    def call(self, chunk: Chunk, pace: Pace) -> Call:
        """
        Return the call that runs a chunk in a worker.

        Raises
        ------
        UnpicklableItem
            An item of the chunk cannot be pickled.
        """
        items = chunk.items
        try:
            if len(items) <= FEW and _PLAIN.issuperset(map(type, items)):
                pieces: list[Any] = [pickle.dumps(items, pickle.HIGHEST_PROTOCOL)]
            else:
                pieces = pickles.parts(items, dumps)
        except Exception as error:
            raise _unpicklable(items, error) from error
        chunk.packed, chunk.segment = self._pack(pieces, pickles.LARGE)
        chunk.nbytes = pickles.size(chunk.packed)
        self._equip(chunk)
        if chunk.cell is None:
            chunk.progress = Progress(0, 0, 0, 0.0)  # unknown
        reply = chunk.reply.name if chunk.reply else None
        sent = chunk.first, tuple(pace), reply, chunk.cell  # no classes of ours: see guard
        return self._run(self._function, chunk.packed, self._head, sent)

    def _run(self, *arguments: Any) -> Call:
        return guarded(*arguments)

    def _equip(self, chunk: Chunk) -> None:
        """Give a chunk what it needs besides its items, if there is shared memory."""

    def _pack(self, pieces: list[Any], large: int) -> tuple[Packed, Segment | None]:
        if len(pieces) == 1 and len(pieces[0]) < large:
            return pieces[0], None
        return pickles.Scattered(pickles.in_message(pieces)), None

    def landed(self, chunk: Chunk, away: float) -> None:
        """Note how long a chunk was away, because the way may take long."""
        chunk.away = away

    def accept(self, chunk: Chunk, results: Packed, done: int) -> None:
        """Keep the results of a chunk: large ones are unpacked now, small ones later."""
        try:
            self._keep(chunk, results)
        finally:
            chunk.close()
        chunk.nbytes += pickles.size(results)
        # The packed items are enough, if they are needed again.
        spare = isinstance(chunk.packed, bytes) and done == len(chunk.items)
        chunk.items = () if spare else chunk.items[:done]

    def _keep(self, chunk: Chunk, results: Packed) -> None:
        chunk.results = results if isinstance(results, bytes) else pickles.unpack(results)

    def values(self, chunk: Chunk) -> Any:
        """
        Return the results of a chunk.

        Raises
        ------
        Exception
            Whatever unpickling raises. The chunk has its items again then, to run them anew.
        """
        if type(chunk.results) is not bytes:
            return chunk.results
        try:
            return pickle.loads(chunk.results)
        except Exception:
            chunk.items = chunk.items or pickle.loads(chunk.packed)
            raise

    def error(self, packed: Packed) -> Any:
        """Return the exception that a worker sent, or None if it cannot be unpickled."""
        if packed is not None:
            with suppress(Exception):
                return pickles.unpack(packed)
        return None

    def end(self, in_flight: set[Chunk]) -> None:
        """Release all shared memory of the map."""
        if self._segment is not None:
            self._segment.close()
        for chunk in in_flight:
            chunk.close()


class ToProcess(ToMachine):
    """
    Does the same for worker processes on this machine; large values go through shared memory.

    Parameters
    ----------
    func : callable
    star : bool
        Whether an item is a tuple of arguments.
    folder : str or None
        The user's folder for temporary files.
    leak_limit : tuple of str
        See :class:`Caller`.

    Raises
    ------
    pickle.PicklingError
        The function cannot be pickled.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        star: bool,
        folder: str | None,
        leak_limit: tuple[str, str],
    ) -> None:
        self._folder = folder
        super().__init__(func, star)
        self._board = board.own()
        self._ticket = self._board.take_map(self._key) if self._board else None
        self.watches = self._ticket is not None
        directory = None
        with suppress(OSError):  # it is gone
            directory = os.getcwd()
        line = lifeline.own(), lifeline.others
        caller = _pickled(Caller(directory, tuple(sys.path), leak_limit, *line))
        self._head = self._key, self._ticket, caller, self._settings

    def _run(self, *arguments: Any) -> Call:
        return run_in_process, arguments

    def _equip(self, chunk: Chunk) -> None:
        """Give a chunk a segment for large results and a cell of the board."""
        chunk.reply = _reply()
        if self._ticket and self._board:
            chunk.cell = self._board.take_cell()

    def _pack(self, pieces: list[Any], large: int) -> tuple[Packed, Segment | None]:
        if len(pieces) == 1 and len(pieces[0]) < large:
            return pieces[0], None
        return pickles.pack(pieces, self._folder)

    def look(self, chunk: Chunk) -> Progress | None:
        """Return how far a chunk in flight is; None if no worker has begun with it."""
        cell = chunk.cell
        if cell is not None and self._board:
            progress = self._board.seen(cell)
            if chunk.cell is not None:  # the cell is still this chunk's
                chunk.progress = progress
        return chunk.progress

    def landed(self, chunk: Chunk, away: float) -> None:
        """Read the chunk's cell for the last time, and give it back."""
        cell = chunk.cell
        if cell is not None and self._board:
            chunk.progress = self._board.seen(cell)
            chunk.cell = None
            self._board.drop_cell(cell)

    def _keep(self, chunk: Chunk, results: Packed) -> None:
        if isinstance(results, tuple) and chunk.reply:
            chunk.results = pickles.read(chunk.reply, results[1])
            return
        super()._keep(chunk, results)
        if chunk.reply and len(_replies) < KEPT_REPLIES:
            _replies.append(chunk.reply)
            chunk.reply = None

    def end(self, in_flight: set[Chunk]) -> None:
        """Tell the workers to stop, and release all shared memory of the map."""
        if self._ticket and self._board:
            self._board.drop_map(self._ticket)
        super().end(in_flight)


def _function_parts(func: Callable[..., Any], star: bool) -> list[Any]:
    if _has_a_name(func) and not cloudpickle.list_registry_pickle_by_value():
        with suppress(Exception):  # lambdas and nested functions need cloudpickle
            return [pickle.dumps((func, star), pickle.HIGHEST_PROTOCOL)]
    try:
        return pickles.parts((func, star), dumps)
    except Refused:
        dumps(func)  # its error names the places from the function on
        raise


def _has_a_name(func: Callable[..., Any]) -> bool:
    """Return whether another process will probably find a function by its name."""
    if isinstance(func, BuiltinFunctionType):
        return isinstance(func.__self__, ModuleType)  # and is no method of an object
    return isinstance(func, FunctionType | type) and func.__module__ != "__main__"


def _reply() -> Segment | None:
    try:
        return _replies.pop() if _replies else Segment()
    except (IndexError, OSError):  # another thread took the last one, or there is no memory
        return None


def _unpicklable(items: Sequence[Any], error: Exception) -> UnpicklableItem:
    for position, item in enumerate(items):
        try:
            dumps(item)
        except Exception as wrong:
            return UnpicklableItem(position, wrong)
    return UnpicklableItem(0, error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replies.clear)  # they stay with the parent
