"""
The input of a map. It is read in the caller's thread, which also hands out the results.

An input may be slow: a file on a network, a server, a computation. It is then read item by item,
and the map does not wait for the next item while it has a result to hand out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import length_hint
from time import monotonic
from typing import Any

BLOCK = 64
"""Number of items that are read from a container at most before the clock is read again."""

SLOW = 0.002
"""Seconds; an item that takes longer to read is slow."""

_EMPTY: tuple[Iterable[Any], ...] = [], (), range(0), {}, {}.values(), {}.items(), set(), "", b""
_CONTAINERS = {type(iter(it)) for it in _EMPTY}
"""Types of iterators over items that exist already; items of others may have to be waited for."""

_COUNTED = {type(iter(it)) for it in _EMPTY[:3]}
"""Those of them that know how many items are left, and raise no error at their end."""


class Input:
    """
    The items of a map.

    Parameters
    ----------
    items : Iterator

    Attributes
    ----------
    slow : bool
        Whether the item that was read last was slow.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self.slow = False
        self._items = items
        self._begun: list[Any] = []  # the items so far of a chunk that must be complete
        self._read_on = self._read_blocks if type(items) in _CONTAINERS else self._read_singly
        self._counted = type(items) in _COUNTED

    def read(
        self, size: int, seconds: float, hurry: Callable[[], bool] = lambda: False
    ) -> tuple[list[Any], bool, BaseException | None]:
        """
        Read the items of the next chunk: at least one, and at most `size`.

        Parameters
        ----------
        size : int
        seconds : float
            How long to read. If it is infinite, the chunk must have `size` items, unless the input
            ends.
        hurry : callable
            Returns whether there is something more useful to do than to wait for a slow item.

        Returns
        -------
        tuple
            The items, whether the input has ended, and the error that it ended with or None.
        """
        items, self._begun = self._begun, []
        try:
            # The list exists before, so that it keeps the items that come before an error.
            over = self._read_on(items, size, seconds, hurry)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit, of a parser say
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
        return self._counted and not length_hint(self._items)

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
