"""
What a chunk tells its caller besides its results: log records and warnings, in order.

::

    worker   listening(): log record, warning ──► list of this chunk ──pack──► outcome
    caller   deliver(): unpack ──► the caller's loggers and filters, as if it had happened here

What does not happen in a chunk's own thread belongs to the chunk only where it is the only one:
a Dask worker runs several, besides threads of Dask's own.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Protocol

from phylozoo_parallel.errors import line

_log = logging.getLogger("phylozoo_parallel")


class Told(Protocol):
    """Something to tell the caller."""

    def plain(self) -> Told:
        """Return the same with nothing in it that may not pickle."""

    def repeat(self) -> None:
        """Have it happen in the caller."""


_chunks: dict[int, list[Told]] = {}
"""What the chunks that run here have told, by their thread."""

_alone = False
"""Whether a chunk has this process to itself."""


@contextmanager
def listening(alone: bool) -> Iterator[list[Told]]:
    """Collect what this thread tells, and the others of this process if it is `alone`."""
    global _alone
    _alone = alone
    told = _chunks[get_ident()] = []
    try:
        yield told
    finally:
        del _chunks[get_ident()]


def listener() -> list[Told] | None:
    """Return the list of the chunk that this thread works for; None if it works for none."""
    mine = _chunks.get(get_ident())
    if mine is None and _alone:
        return next(iter(list(_chunks.values())), None)
    return mine


def pack(told: list[Told]) -> bytes | None:
    """Pickle what was told; None when it is nothing."""
    if not told:
        return None
    try:
        return pickle.dumps(told, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return pickle.dumps([one.plain() for one in told], pickle.HIGHEST_PROTOCOL)


def deliver(packed: bytes | None) -> None:
    """Have what was told happen here."""
    if packed is None:
        return
    try:
        heard: list[Told] = pickle.loads(packed)
    except Exception as error:  # what a record carries is not known here
        _log.warning("what a worker logged could not be unpickled: %s", line(error))
        return
    for one in heard:
        one.repeat()
