"""
Notices: the log records and warnings of a chunk, which its outcome brings to the caller, in order.

::

    worker   collecting(): log record, warning ──► list of this chunk ──pack──► outcome
    caller   deliver(): unpack ──► the caller's loggers and filters, as if it had happened here

A notice of another thread belongs to a chunk only if no other chunk runs in this process. A Dask
worker may run several chunks, and has threads of its own.
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


class Notice(Protocol):
    """A log record or a warning."""

    def plain(self) -> Notice:
        """Return the same without anything that may be impossible to pickle."""

    def repeat(self) -> None:
        """Log it, or issue it, in the caller."""


_chunks: dict[int, list[Notice]] = {}
"""The notices of the chunks that run here, by the thread of each chunk."""

_alone = False
"""Whether a chunk has this process to itself."""


@contextmanager
def collecting(alone: bool) -> Iterator[list[Notice]]:
    """Collect the notices of this thread; if the chunk is `alone`, of all threads here."""
    global _alone
    _alone = alone
    notices = _chunks[get_ident()] = []
    try:
        yield notices
    finally:
        del _chunks[get_ident()]


def current() -> list[Notice] | None:
    """Return the list of the chunk that this thread works for; None if it works for none."""
    mine = _chunks.get(get_ident())
    if mine is None and _alone:
        return next(iter(list(_chunks.values())), None)
    return mine


def pack(notices: list[Notice]) -> bytes | None:
    """Pickle notices; None if there are none."""
    if not notices:
        return None
    try:
        return pickle.dumps(notices, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return pickle.dumps([one.plain() for one in notices], pickle.HIGHEST_PROTOCOL)


def deliver(packed: bytes | None) -> None:
    """Log and issue the notices of a chunk in the caller."""
    if packed is None:
        return
    try:
        notices: list[Notice] = pickle.loads(packed)
    except Exception as error:  # a record has an attribute that cannot be unpickled here
        _log.warning("what a worker logged could not be unpickled: %s", line(error))
        return
    for one in notices:
        try:
            one.repeat()
        except Exception as error:  # of a handler; or the caller has made warnings errors by now
            _log.warning("what a worker logged or warned of ended in an error: %s", line(error))
