"""
The maps that this worker process knows: their functions, unpickled once, and their callers.

::

    Head of a chunk ──► known(): the map's function ──► _enter(): the caller's directory and path
                          └─ dropped when the map is over, or when there are more than KEPT
"""

from __future__ import annotations

import contextvars
import os
import pickle
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from time import sleep
from typing import Any, NamedTuple

from phylozoo_parallel._shipping import board, pickles
from phylozoo_parallel._shipping.board import Ticket
from phylozoo_parallel._shipping.memory import Name
from phylozoo_parallel._shipping.pickles import Packed
from phylozoo_parallel._worker import lifeline

KEPT = 8
"""Most unpickled functions that a worker keeps, for maps that are read in turn."""

WATCH = 1.0
"""Seconds between two checks whether the caller lives and which maps it still wants."""


class Caller(NamedTuple):
    """What a worker on the caller's machine has to know of the caller."""

    directory: str | None
    """The working directory."""
    path: tuple[str, ...]
    """``sys.path``."""
    leak_limit: tuple[str, str]
    """Module and name of loky's limit: a worker whose memory grows by so many bytes is replaced."""
    lifeline: Name | None
    """The pipe that breaks when the caller is gone; None if workers need none."""
    others: tuple[int, ...]
    """Process ids of workers that started without our initializer."""


Head = tuple[int, Ticket | None, bytes | None, bytes]
"""
What each chunk brings about its map: the map's key, its ticket (where to see whether it is still
wanted), the pickled :class:`Caller` (None on another machine), and the pickled :class:`Settings`.
"""


class Known(NamedTuple):
    """A map that this worker has run a chunk of."""

    func: Callable[..., Any]
    star: bool
    """Whether an item is a tuple of arguments."""
    ticket: Ticket | None
    caller: Caller | None
    held: int
    """Bytes of the pickled function: an estimate of the memory that it holds."""
    context: contextvars.Context
    """The values of the caller's context variables that came with the function."""


unpickled = lru_cache(maxsize=16)(pickle.loads)
"""Unpickles each :class:`Caller` and its :class:`Settings`, which come with every chunk, once."""

_known: dict[int, Known] = {}
_growing = threading.Lock()
_entered = 0
_watcher: threading.Thread | None = None


def known(head: Head, function: Packed) -> Known:
    """
    Return a map, with its function unpacked in the caller's directory and ``sys.path``.

    Raises
    ------
    BaseException
        Whatever unpickling the function raises.
    """
    key = head[0]
    found = _known.get(key) or _get_to_know(head, function)
    _enter(key, found.caller)
    return found


def wanted(key: int, ticket: Ticket | None) -> bool:
    """Return whether the caller still wants a map."""
    page = board.of(ticket[0]) if ticket else None
    return not (ticket and page) or page.wanted(ticket[1], key)


def _get_to_know(head: Head, function: Packed) -> Known:
    key, ticket, packed, _ = head
    caller: Caller | None = unpickled(packed) if packed else None
    _enter(key, caller)
    context = contextvars.copy_context()
    func, star = context.run(pickles.unpack, function)
    found = Known(func, star, ticket, caller, pickles.size(function), context)
    for oldest in list(_known)[: 1 - KEPT]:  # a copy: other threads change it, too
        _let_go(oldest)
    _known[key] = found
    if caller is not None:
        _grow(caller, found.held)
        lifeline.attach(caller.lifeline, caller.others)
        watch(os.getppid())
    return found


def watch(parent: int) -> None:
    """Start the thread that ends this worker when its caller is gone, and drops ended maps."""
    global _watcher
    if _watcher is None:
        _watcher = threading.Thread(target=_watch, args=(parent,), daemon=True)
        _watcher.start()


def _enter(key: int, caller: Caller | None) -> None:
    global _entered
    if caller is None or _entered == key:
        return
    sys.path[:] = caller.path
    if caller.directory is not None:
        with suppress(OSError):  # the directory is gone
            os.chdir(caller.directory)
    _entered = key


def _let_go(key: int) -> None:
    found = _known.pop(key, None)
    if found is not None and found.caller is not None:
        _grow(found.caller, -found.held)


def _grow(caller: Caller, held: int) -> None:
    """Raise loky's limit of memory by what is held on purpose; objects are larger than pickles."""
    module, name = caller.leak_limit
    guard = sys.modules.get(module)
    if hasattr(guard, name) and abs(held) > pickles.LARGE:
        with _growing:  # the watcher's thread lowers it
            setattr(guard, name, getattr(guard, name) + 8 * held)


def _watch(parent: int) -> None:
    while True:
        sleep(WATCH)
        if os.getppid() != parent:
            os._exit(1)
        lifeline.attach_descendants()
        # Only keys are kept in variables here, so that a dropped function is freed.
        for key in [key for key, it in list(_known.items()) if not wanted(key, it.ticket)]:
            _let_go(key)
