"""Arguments held against what is documented: the value to use, or an error that helps."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from operator import index
from typing import Any, TypeVar

from phylozoo_parallel.errors import PhyloZooTypeError, PhyloZooValueError, short

T = TypeVar("T")


def _integer(value: Any, name: str, wanted: str) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError:
        raise PhyloZooTypeError(
            f"{name} must be {wanted}, got {short(value)} of type {type(value).__name__}"
        ) from None


def worker_count(n_jobs: Any) -> int | None:
    """
    Check a number of workers.

    Parameters
    ----------
    n_jobs : int, None
        A positive integer (NumPy's count), -1 or None.

    Returns
    -------
    int or None
        The same as a plain ``int``, or None.

    Raises
    ------
    PhyloZooTypeError
        Not an integer; booleans, floats and strings are not.
    PhyloZooValueError
        Below 1 and not -1.
    """
    if n_jobs is None:
        return None
    wanted = "a positive integer, -1 (every available core) or None"
    number = _integer(n_jobs, "n_jobs", wanted)
    if number < 1 and number != -1:
        raise PhyloZooValueError(f"n_jobs must be {wanted}, got {number}")
    return number


def chunk_size(chunksize: Any) -> int | None:
    """
    Check a chunk size.

    Parameters
    ----------
    chunksize : int, None
        Items in a chunk: a positive integer (NumPy's count) or None.

    Returns
    -------
    int or None
        The same as a plain ``int``, or None.

    Raises
    ------
    PhyloZooTypeError
        Not an integer.
    PhyloZooValueError
        Below 1.
    """
    if chunksize is None:
        return None
    wanted = "a positive integer or None (the library chooses)"
    number = _integer(chunksize, "chunksize", wanted)
    if number < 1:
        raise PhyloZooValueError(f"chunksize must be {wanted}, got {number}")
    return min(number, sys.maxsize)


def map_arguments(func: Any, iterable: Iterable[T]) -> Iterator[T]:
    """
    Check what a map is called with, before any item is read.

    Returns
    -------
    Iterator
        Over the items of `iterable`.

    Raises
    ------
    PhyloZooTypeError
        `func` cannot be called, or `iterable` cannot be iterated over.
    """
    if not callable(func):
        raise PhyloZooTypeError(
            f"func must be callable, got {short(func)} of type {type(func).__name__}; "
            "pass the function itself, without calling it"
        )
    try:
        return iter(iterable)
    except TypeError as error:
        raise PhyloZooTypeError(
            "iterable must be iterable, such as a list or a generator, "
            f"got {short(iterable)} of type {type(iterable).__name__}"
        ) from error


def call_arguments(items: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """
    Turn each item of a starmap into the arguments of one call.

    Raises
    ------
    PhyloZooTypeError
        At its place, when an item is not iterable.
    """
    for position, item in enumerate(items):
        try:
            arguments = iter(item)
        except TypeError as error:
            raise PhyloZooTypeError(
                f"item {position} of starmap must be an iterable of arguments such as a tuple, "
                f"got {short(item)} of type {type(item).__name__}"
            ) from error
        yield tuple(arguments)
