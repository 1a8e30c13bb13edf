"""The executor protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Arguments = Iterable[Any]
"""The arguments of one call of a starmap's function."""


class ParallelExecutor(Protocol):
    """An executor: any object with these two methods."""

    def map(
        self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None
    ) -> Iterator[R]:
        """
        Apply `func` to each item.

        Parameters
        ----------
        func : Callable[[T], R]
            Called with one item.
        iterable : Iterable[T]
            The items; there may be endlessly many.
        chunksize : int or None, optional
            Number of items that are sent to a worker together. By default None (backend chooses).

        Returns
        -------
        Iterator[R]
            The results, in the order of the items.
        """
        ...

    def starmap(
        self, func: Callable[..., R], iterable: Iterable[Arguments], chunksize: int | None = None
    ) -> Iterator[R]:
        """
        Call `func` with the values of each item as its arguments.

        Parameters
        ----------
        func : Callable[..., R]
            Called with the values of one item as its arguments.
        iterable : Iterable[Iterable[Any]]
            The arguments of one call after the other, such as tuples; there may be endlessly many.
        chunksize : int or None, optional
            Number of items that are sent to a worker together. By default None (backend chooses).

        Returns
        -------
        Iterator[R]
            The results, in the order of the items.
        """
        ...
