"""
A page of memory that a caller and its workers share: what is wanted, and how far it is.

::

    caller   take_map() ──► slot holds the map's key ··· drop_map() ──► slot holds 0
    worker   wanted(): is the key still there?
    worker   note() ──► cell of a chunk: my pid, items done, items begun, since when
    caller   seen(): who runs this chunk, and how far it is

A look costs the worker a memory read, and a note a memory write: an abandoned map so ends in
its workers without a message to them, and of a dead worker the caller knows what it ran.
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
"""Maps of a process that can be called off at the same time; others run to their end."""

CHUNKS = 8192
"""Chunks in flight whose progress can be seen at the same time."""

SIZE = 8 * (MAPS + 2 * CHUNKS)

MARK = 0x3FF
"""
Bits of a note's time that tell which items it belongs to: the two words of a note are written one
after the other, and some processors (arm64) may show them in another order.
"""

AT_FUNCTION = 0xFFFFFFFF
"""In a note, in the place of the items that have run: the worker unpickles the function."""

LOOKS = 100
"""
Looks at a note whose words do not belong together; those of a worker that was killed between the
two never will.
"""

Ticket = tuple[Name, int]
"""A caller's board, and the map's slot on it."""


class Progress(NamedTuple):
    """How far a worker is with a chunk."""

    pid: int
    done: int
    """Items that have run."""
    running: int
    """Items after them, of which the worker runs one; 0 while it unpickles or pickles."""
    since: float
    """When it began with these, on the clock of ``time.monotonic``."""
    at_function: bool = False
    """Whether it still unpickles the function, for which no item is to blame."""


class Board:
    """
    One process's view of the page.

    Parameters
    ----------
    page : mmap
        Of `SIZE` bytes.
    """

    def __init__(self, page: mmap.mmap) -> None:
        words = memoryview(page).cast("Q")
        self.keys, self.cells = words[:MAPS], words[MAPS:]

    def wanted(self, slot: int, key: int) -> bool:
        """Tell whether the caller still wants a map."""
        return bool(self.keys[slot] == key)

    def noter(self, cell: int) -> Callable[[int, int], None]:
        """Return what writes, in a worker, how far a chunk is: items done, and items begun."""
        cells, me = self.cells, os.getpid() << 40

        def note(done: int, running: int) -> None:
            cells[cell + 1] = (monotonic_ns() & ~MARK) | ((2 * done + running) & MARK)
            cells[cell] = me | done << 8 | running

        return note

    def seen(self, cell: int) -> Progress | None:
        """Read how far a chunk is; None when no worker has begun with it."""
        for _ in range(LOOKS):
            word, at = self.cells[cell], self.cells[cell + 1]
            if not word:
                return None
            pid, done, running = word >> 40, word >> 8 & 0xFFFFFFFF, word & 0xFF
            if at & MARK == (2 * done + running) & MARK:
                break
        if done == AT_FUNCTION:
            return Progress(pid, 0, 0, at / 1e9, at_function=True)
        return Progress(pid, done, running, at / 1e9)


class OwnBoard(Board):
    """
    The caller's board, with its free places.

    Raises
    ------
    OSError
        There is no such memory.
    """

    _every_cell = range(0, 2 * CHUNKS, 2)

    def __init__(self) -> None:
        self._segment = Segment()
        super().__init__(self._segment.share(SIZE))
        self.name = self._segment.name
        self._free_slots = list(range(MAPS))
        # The longest free comes first: a worker about to be killed may write to its cell yet.
        self._free_cells = deque(self._every_cell)

    def take_map(self, key: int) -> Ticket | None:
        """Note that a map is wanted; return where, or None if there is no place left."""
        with suppress(IndexError):
            slot = self._free_slots.pop()
            self.keys[slot] = key
            return self.name, slot
        return None

    def drop_map(self, ticket: Ticket) -> None:
        """Note that a map is no longer wanted."""
        slot = ticket[1]
        self.keys[slot] = 0
        self._free_slots.append(slot)

    def take_cell(self) -> int | None:
        """Return a free cell for a chunk, or None if there is no place left."""
        with suppress(IndexError):
            cell = self._free_cells.popleft()
            self.cells[cell] = 0
            return cell
        return None

    def drop_cell(self, cell: int) -> None:
        """Give back the cell of a chunk that no worker runs any more."""
        self._free_cells.append(cell)

    def latest(self) -> dict[int, float]:
        """Tell when each worker, by its pid, noted something last."""
        noted = [(self.cells[at] >> 40, self.cells[at + 1] / 1e9) for at in self._every_cell]
        return dict(sorted(noted, key=lambda one: one[1]))


_lock = threading.RLock()
_own: OwnBoard | None = None


def own() -> OwnBoard | None:
    """Return this process's board; None where there is no such memory."""
    global _own
    if _own is None:
        with _lock, suppress(OSError):
            _own = _own or OwnBoard()
    return _own


@lru_cache(maxsize=8)
def of(name: Name) -> Board | None:
    """Return a worker's view of its caller's board; None if it may not look."""
    with suppress(OSError):
        return Board(memory.shared(name, SIZE))
    return None


def _forget() -> None:
    """Leave the board to the parent, in a forked child: maps of before write to a copy."""
    global _own, _lock
    if _own is not None:
        _own.keys = memoryview(bytearray(_own.keys)).cast("Q")
    _own, _lock = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
