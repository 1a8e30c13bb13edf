"""
The input of a map, read in the caller's thread, which hands out the results as well.

An input may be slow: a file on a network, a server, a computation. It is then read item by item,
and none is waited for while a result waits for the reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import monotonic
from typing import Any

BLOCK = 64
"""Most items that are read from a container between two looks at the clock."""

SLOW = 0.002
"""Seconds; an item that takes longer to read is slow."""

_EMPTY: tuple[Iterable[Any], ...] = [], (), range(0), {}, {}.values(), {}.items(), set(), "", b""
_CONTAINERS = {type(iter(it)) for it in _EMPTY}
"""Types of iterators whose items are there; others may be long in coming."""


class Input:
    """
    The items of a map.

    Parameters
    ----------
    items : Iterator

    Attributes
    ----------
    slow : bool
        Whether the item that was read last was long in coming.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self.slow = False
        self._items = items
        self._begun: list[Any] = []  # a chunk that has to be whole, and is not yet
        self._read_on = self._read_blocks if type(items) in _CONTAINERS else self._read_singly

    def read(
        self, size: int, seconds: float, hurry: Callable[[], bool] = lambda: False
    ) -> tuple[list[Any], bool, Exception | None]:
        """
        Read items: no more than `size`, and one or as many as come within so many seconds.

        Parameters
        ----------
        size : int
        seconds : float
            Infinite for `size` items and no fewer, unless the input ends.
        hurry : callable
            Tells whether there is something better to do than to wait for a slow item.

        Returns
        -------
        tuple
            The items, whether there are no more, and the error that they ended with.
        """
        items, self._begun = self._begun, []
        try:
            # Into a list that is there, to keep what comes before an error.
            over = self._read_on(items, size, seconds, hurry)
        except Exception as error:
            return items, True, error
        if seconds == math.inf and len(items) < size and not over:
            self._begun, items = items, []
        return items, over, None

    def _read_blocks(self, items: list[Any], size: int, seconds: float, _: Any) -> bool:
        end = monotonic() + seconds
        while len(items) < size and (not items or monotonic() < end):
            most = min(2 * len(items) or 1, len(items) + BLOCK, size)
            items.extend(islice(self._items, most - len(items)))
            if len(items) < most:
                return True
        return False

    def _read_singly(
        self, items: list[Any], size: int, seconds: float, hurry: Callable[[], bool]
    ) -> bool:
        now = monotonic()
        end = now + seconds
        for item in islice(self._items, size - len(items)):
            items.append(item)
            before, now = now, monotonic()
            self.slow = now - before > SLOW
            if now > end or (self.slow and hurry()):
                return False
        return len(items) < size
