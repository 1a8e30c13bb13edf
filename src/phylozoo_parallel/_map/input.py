"""The input of a map, read in the caller's thread."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import monotonic
from typing import Any

BLOCK = 64
"""Most items that are read between two looks at the clock."""


class Input:
    """
    The items of a map.

    Parameters
    ----------
    items : Iterator
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def read(self, size: int, seconds: float) -> tuple[list[Any], bool, Exception | None]:
        """
        Read items: no more than `size`, and one or as many as come within so many seconds.

        Returns
        -------
        tuple
            The items, whether there are no more, and the error that they ended with.
        """
        items: list[Any] = []
        end = monotonic() + seconds
        over = False
        try:
            while len(items) < size and not over and (not items or monotonic() < end):
                most = min(2 * len(items) or 1, len(items) + BLOCK, size)
                # Into a list that is there, to keep what comes before an error.
                items.extend(islice(self._items, most - len(items)))
                over = len(items) < most
        except Exception as error:
            return items, True, error
        return items, over, None
