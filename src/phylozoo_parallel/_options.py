"""Arguments held against what is documented: the value to use, or an error that helps."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from numbers import Real
from operator import index
from types import ModuleType
from typing import Any, NamedTuple

from phylozoo_parallel import _progress
from phylozoo_parallel.errors import PhyloZooValueError, wrong_type

BACKEND = "PHYLOZOO_PARALLEL_BACKEND"
"""Environment variable that has every map run sequentially, whatever its program says."""


class Options(NamedTuple):
    """How the items of a map run, checked; for more see :class:`ParallelConfig`."""

    chunksize: int | None
    retries: int
    timeout: float | None
    progress: bool | str
    star: bool = False
    """Whether items are tuples of arguments."""
    ordered: bool = True
    """Whether results come in the order of the items, or as they are ready."""
    return_exceptions: bool = False
    """Whether the exception of a failed item stands in the place of its result."""


USUAL = {"n_jobs": None, "chunksize": None, "retries": 1, "timeout": None, "progress": False}
"""Of the arguments of executors; they show where they are something else."""


def unusual(workers: int | None, chosen: Options) -> str:
    """Return the arguments of an executor with these options, as they are written in a call."""
    given = {"n_jobs": workers, **chosen._asdict()}
    shown = (f"{name}={given[name]!r}" for name, usual in USUAL.items() if given[name] != usual)
    return ", ".join(shown)


def _integer(value: Any, name: str, wanted: str, least: int, also: int | None = None) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise wrong_type(value, name, wanted) from None
    if number < least and number != also:
        raise PhyloZooValueError(f"{name} must be {wanted}, got {number}")
    return number


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
    wanted = "a positive integer, -1 (every available core) or None"
    return None if n_jobs is None else _integer(n_jobs, "n_jobs", wanted, 1, -1)


def chunk_size(chunksize: Any, call: bool = False) -> int | None:
    """
    Check a chunk size.

    Parameters
    ----------
    chunksize : int, None
        Items in a chunk: a positive integer (NumPy's count) or None.
    call : bool, optional
        Whether it was given to a call, where the built-in ``map`` takes more iterables.

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
    if call and isinstance(chunksize, Iterable):
        advice = (
            "; to call func with an item of each of several iterables use starmap(func, zip(a, b))"
        )
        raise wrong_type(chunksize, "chunksize", wanted, advice)
    return min(_integer(chunksize, "chunksize", wanted, 1), sys.maxsize)


def options(chunksize: Any, retries: Any, timeout: Any, progress: Any) -> Options:
    """
    Check how the items of a map run.

    Parameters
    ----------
    chunksize : int, None
        See :func:`chunk_size`.
    retries : int
        How often an item may run again because a worker died under it: 0 or more.
    timeout : float, int, None
        Seconds that an item may run, above 0 (NumPy's numbers count); None for no limit.
    progress : bool, str
        Whether to show a bar, or its description.

    Raises
    ------
    ImportError
        A bar is wanted, and tqdm is not installed.
    PhyloZooTypeError
        Not of these types.
    PhyloZooValueError
        A negative number of retries, or a time that is not positive and finite.
    """
    retries = _integer(retries, "retries", "an integer of 0 or more", 0)
    if timeout is not None:
        wanted = "a positive number of seconds or None (no limit)"
        if isinstance(timeout, bool) or not isinstance(timeout, Real):
            raise wrong_type(timeout, "timeout", wanted)
        timeout = float(timeout)
        if not 0 < timeout < math.inf:
            raise PhyloZooValueError(f"timeout must be {wanted}, got {timeout}")
    return Options(chunk_size(chunksize), retries, timeout, _progress.check(progress))


def flag(value: Any, name: str) -> bool:
    """
    Check a choice between two.

    Raises
    ------
    PhyloZooTypeError
        Not a boolean.
    """
    if not isinstance(value, bool):
        raise wrong_type(value, name, "True or False")
    return value


def sequential_wanted() -> bool:
    """
    Tell whether the environment has every map run sequentially.

    Raises
    ------
    PhyloZooValueError
        It names something else.
    """
    wanted = os.environ.get(BACKEND, "").strip().lower()
    if wanted not in ("", "sequential"):
        raise PhyloZooValueError(
            f"the environment variable {BACKEND} must be 'sequential' or unset, got {wanted!r}"
        )
    return bool(wanted)


def module_names(modules: Iterable[Any]) -> list[str]:
    """
    Return the names of modules, which are given by name or as they are.

    Raises
    ------
    PhyloZooTypeError
        One is neither.
    ModuleNotFoundError
        There is none of this name.
    """
    names = []
    for module in modules:
        name = module.__name__ if isinstance(module, ModuleType) else module
        if not isinstance(name, str):
            raise wrong_type(module, "a module to warm up", "a module or its name")
        if name not in sys.modules and find_spec(name) is None:
            raise ModuleNotFoundError(f"there is no module {name!r} to warm up", name=name)
        names.append(name)
    return names


def map_arguments(func: Any, iterable: Iterable[Any]) -> Iterator[Any]:
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
        advice = "; pass the function itself, without calling it"
        raise wrong_type(func, "func", "callable", advice)
    try:
        return iter(iterable)
    except TypeError as error:
        wanted = "iterable, such as a list or a generator"
        raise wrong_type(iterable, "iterable", wanted) from error


def length(iterable: Iterable[Any]) -> int | None:
    """Return the length of an input that has one; a wrong one does no harm."""
    with suppress(Exception):
        return len(iterable)  # type: ignore[arg-type]
    return None


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
            wanted = "an iterable of arguments such as a tuple"
            raise wrong_type(item, f"item {position} of starmap", wanted) from error
        yield tuple(arguments)
