"""
The board: memory that a caller and its workers share. It says what is wanted, and how far it is.

::

    caller   take_map() ──► slot holds the map's key ··· drop_map() ──► slot holds 0
    worker   wanted(): is the key still there?
    worker   note() ──► cell of a chunk: my pid, items done, items begun, since when
    caller   seen(): who runs this chunk, and how far it is

To look at the board costs a worker one read of memory, and a note costs one write. So a map that
the caller has left ends in its workers without a message to them, and of a worker that died the
caller knows which items it was running.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from time import monotonic_ns
from typing import NamedTuple

from phylozoo_parallel._shipping import memory
from phylozoo_parallel._shipping.memory import Name, Segment

MAPS = 4096
"""Number of maps that have a slot at the same time; others cannot be stopped early."""

CHUNKS = 8192
"""Number of chunks in flight that have a cell; the progress of others is unknown."""

SIZE = 8 * (MAPS + 2 * CHUNKS)
"""Bytes of the board: a word for each slot, and two for each cell."""

MARK = 0x3FF
"""
The bits of a note's second word (the time) that repeat a part of its first word (the items). The
two words are written one after the other, and some processors (arm64) may show them in another
order: the mark says whether they belong together.
"""

AT_FUNCTION = 0xFFFFFFFF
"""In a note, in the place of the number of items: the worker is unpickling the function."""

LOOKS = 100
"""
How often a note is read again while its two words do not belong together. The words of a worker
that was killed between writing the two never will.
"""

Ticket = tuple[Name, int]
"""The name of a caller's board, and the map's slot on it."""


class Progress(NamedTuple):
    """How far a worker is with a chunk."""

    pid: int
    """The worker's process id; 0 if it is not known."""
    done: int
    """Number of items that have run."""
    running: int
    """Number of next items, of which the worker runs one; 0 while it unpickles or pickles."""
    since: float
    """When it began with these, by ``time.monotonic``."""
    at_function: bool = False
    """Whether it still unpickles the function, so that no item is to blame."""


class Board:
    """
    One process's view of the board.

    Parameters
    ----------
    page : mmap
        Shared memory of `SIZE` bytes.
    """

    def __init__(self, page: mmap.mmap) -> None:
        words = memoryview(page).cast("Q")
        self.keys, self.cells = words[:MAPS], words[MAPS:]

    def wanted(self, slot: int, key: int) -> bool:
        """Return whether the caller still wants a map."""
        return bool(self.keys[slot] == key)

    def noter(self, cell: int) -> Callable[[int, int], None]:
        """Return the function with which a worker notes its items done and items begun."""
        cells, me = self.cells, os.getpid() << 40

        def note(done: int, running: int) -> None:
            cells[cell + 1] = (monotonic_ns() & ~MARK) | ((2 * done + running) & MARK)
            cells[cell] = me | done << 8 | running

        return note

    def seen(self, cell: int) -> Progress | None:
        """Return how far a chunk is; None if no worker has begun with it."""
        for _ in range(LOOKS):
            word, since = self.cells[cell], self.cells[cell + 1]
            if not word:
                return None
            pid, done, running = word >> 40, word >> 8 & 0xFFFFFFFF, word & 0xFF
            if since & MARK == (2 * done + running) & MARK:
                break
        if done == AT_FUNCTION:
            return Progress(pid, 0, 0, since / 1e9, at_function=True)
        return Progress(pid, done, running, since / 1e9)


class OwnBoard(Board):
    """
    The caller's own board, which knows the slots and cells that are free.

    Raises
    ------
    OSError
        There is no shared memory.
    """

    _every_cell = range(0, 2 * CHUNKS, 2)

    def __init__(self) -> None:
        self._segment = Segment()
        super().__init__(self._segment.share(SIZE))
        self.name = self._segment.name
        self._free_slots = list(range(MAPS))
        # The cell that was free longest is taken first: a worker that is about to be killed may
        # still write to its old cell.
        self._free_cells = deque(self._every_cell)

    def take_map(self, key: int) -> Ticket | None:
        """Note that a map is wanted; return its ticket, or None if no slot is free."""
        try:
            slot = self._free_slots.pop()
        except IndexError:
            return None
        self.keys[slot] = key
        return self.name, slot

    def drop_map(self, ticket: Ticket) -> None:
        """Note that a map is no longer wanted."""
        slot = ticket[1]
        self.keys[slot] = 0
        self._free_slots.append(slot)

    def take_cell(self) -> int | None:
        """Return a free cell for a chunk, or None if there is none."""
        try:
            cell = self._free_cells.popleft()
        except IndexError:
            return None
        self.cells[cell] = 0
        return cell

    def drop_cell(self, cell: int) -> None:
        """Give back the cell of a chunk that no worker runs any more."""
        self._free_cells.append(cell)

    def latest(self) -> dict[int, float]:
        """Return when each worker, by its pid, last noted something."""
        cells = self._every_cell
        noted = [(self.cells[cell] >> 40, self.cells[cell + 1] / 1e9) for cell in cells]
        return dict(sorted(noted, key=lambda one: one[1]))


_lock = threading.RLock()
_own: OwnBoard | None = None


def own() -> OwnBoard | None:
    """Return this process's own board; None if there is no shared memory."""
    global _own
    if _own is None:
        with _lock, suppress(OSError):
            _own = _own or OwnBoard()
    return _own


@lru_cache(maxsize=8)
def of(name: Name) -> Board | None:
    """Return a worker's view of its caller's board; None if it cannot be opened."""
    with suppress(OSError):
        return Board(memory.shared(name, SIZE))
    return None


def _forget() -> None:
    """Leave the board to the parent in a forked child; inherited maps write to a copy of it."""
    global _own, _lock
    if _own is not None:
        _own.keys = memoryview(bytearray(_own.keys)).cast("Q")
    _own, _lock = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
