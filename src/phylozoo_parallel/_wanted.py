"""
Which maps are still wanted: one page of memory that the caller writes and its workers read.

::

    caller   take() ──► slot holds the map's key ··· drop() ──► slot holds 0
    worker   wanted(page, slot, key): is the key still there?

A worker looks between items, which costs it a memory read; an abandoned map so ends in its
workers without a message to them, and without harm to the pool.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import Any

from phylozoo_parallel._shipping import Name, Segment, opened

SLOTS = 4096
"""Maps of a process that can be called off at the same time; others run to their end."""


class _Page:
    def __init__(self) -> None:
        segment = Segment()
        os.ftruncate(segment.fd, 8 * SLOTS)
        self.segment = segment
        self.keys = memoryview(mmap.mmap(segment.fd, 8 * SLOTS)).cast("Q")
        self.free = list(range(SLOTS))


_lock = threading.Lock()
_page: _Page | None = None
_opened: dict[Name, Any] = {}


def take(key: int) -> tuple[Name, int] | None:
    """
    Note that a map is wanted.

    Parameters
    ----------
    key : int
        The map's, positive and below 2**64.

    Returns
    -------
    tuple or None
        The page's name and the map's slot; None where there is no such memory.
    """
    global _page
    try:
        if _page is None:
            with _lock:
                _page = _page or _Page()
        page = _page
        slot = page.free.pop()
    except (OSError, IndexError):
        return None
    page.keys[slot] = key
    return page.segment.name, slot


def drop(page: Name, slot: int) -> None:
    """Note that a map is no longer wanted; in a forked child the parent's maps stay so."""
    if _page is not None and _page.segment.name == page:
        _page.keys[slot] = 0
        _page.free.append(slot)


def wanted(page: Name, slot: int, key: int) -> bool:
    """Tell, in a worker, whether the caller still wants the map."""
    keys = _opened.get(page)
    if keys is None:
        fd = opened(page, os.O_RDONLY)
        try:
            mapped = mmap.mmap(fd, 8 * SLOTS, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        keys = _opened[page] = memoryview(mapped).cast("Q")
    return bool(keys[slot] == key)


def forget() -> None:
    """Leave the page to the parent, in a forked child."""
    global _page, _lock
    _page, _lock = None, threading.Lock()
