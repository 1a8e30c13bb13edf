"""Checks of arguments: each returns the value to use, or raises an error that says what to do."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from numbers import Real
from operator import index
from types import ModuleType
from typing import Any, NamedTuple

from phylozoo_parallel import _progress
from phylozoo_parallel.errors import PhyloZooValueError, wrong_type

BACKEND = "PHYLOZOO_PARALLEL_BACKEND"
"""Environment variable that makes every map run sequentially, whatever the program asks for."""


class Options(NamedTuple):
    """How the items of a map run, checked; see :class:`ParallelConfig` for the first four."""

    chunksize: int | None
    retries: int
    timeout: float | None
    progress: bool | str
    star: bool = False
    """Whether items are tuples of arguments."""
    ordered: bool = True
    """Whether results come in the order of the items; otherwise as they are ready."""
    return_exceptions: bool = False
    """Whether the exception of a failed item is returned in the place of its result."""


DEFAULTS = {"n_jobs": None, "chunksize": None, "retries": 1, "timeout": None, "progress": False}
"""Defaults of the executors' arguments; ``repr`` shows only other values."""


def shown(workers: int | None, chosen: Options) -> str:
    """Return the arguments that differ from their defaults, as they are written in a call."""
    given = {"n_jobs": workers, **chosen._asdict()}
    names = [name for name, default in DEFAULTS.items() if given[name] != default]
    return ", ".join(f"{name}={given[name]!r}" for name in names)


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
        A positive integer (of NumPy, too), -1 or None.

    Returns
    -------
    int or None
        The number as a plain ``int``, or None.

    Raises
    ------
    PhyloZooTypeError
        It is not an integer; booleans, floats and strings are not.
    PhyloZooValueError
        It is below 1 and not -1.
    """
    wanted = "a positive integer, -1 (every available core) or None"
    return None if n_jobs is None else _integer(n_jobs, "n_jobs", wanted, 1, -1)


def chunk_size(chunksize: Any, call: bool = False) -> int | None:
    """
    Check a chunk size.

    Parameters
    ----------
    chunksize : int, None
        Number of items in a chunk: a positive integer (of NumPy, too) or None.
    call : bool, optional
        Whether it was an argument of ``map``: the built-in ``map`` takes a second iterable there,
        and the error then says what to call instead.

    Returns
    -------
    int or None
        The number as a plain ``int``, or None.

    Raises
    ------
    PhyloZooTypeError
        It is not an integer.
    PhyloZooValueError
        It is below 1.
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
    Check the options that an executor is made with.

    Parameters
    ----------
    chunksize : int, None
        See :func:`chunk_size`.
    retries : int
        How often an item may run again after its worker died: 0 or more.
    timeout : float, int, None
        Seconds that an item may run, above 0 (a number of NumPy, too); None for no limit.
    progress : bool, str
        Whether to show a progress bar, or the bar's description.

    Raises
    ------
    ImportError
        `progress` is wanted and tqdm is not installed.
    PhyloZooTypeError
        An option has the wrong type.
    PhyloZooValueError
        `retries` is negative, or `timeout` is not positive and finite.
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
    Check an argument that is True or False.

    Raises
    ------
    PhyloZooTypeError
        It is not a boolean.
    """
    if not isinstance(value, bool):
        raise wrong_type(value, name, "True or False")
    return value


def sequential_wanted() -> bool:
    """
    Return whether the environment variable makes every map run sequentially.

    Raises
    ------
    PhyloZooValueError
        The variable names another backend.
    """
    wanted = os.environ.get(BACKEND, "").strip().lower()
    if wanted not in ("", "sequential"):
        raise PhyloZooValueError(
            f"the environment variable {BACKEND} must be 'sequential' or unset, got {wanted!r}"
        )
    return bool(wanted)


def module_names(modules: Iterable[Any]) -> list[str]:
    """
    Return the names of modules; each is given as a name or as the module itself.

    Raises
    ------
    PhyloZooTypeError
        An argument is neither.
    ModuleNotFoundError
        There is no module of a name.
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
    Check the function and the input of a map, before any item is read.

    Returns
    -------
    Iterator
        Over the items of `iterable`.

    Raises
    ------
    PhyloZooTypeError
        `func` is not callable, or `iterable` is not iterable.
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
    """Return the length of an input, or None; it is only a hint, so a wrong one does no harm."""
    try:
        return len(iterable)  # type: ignore[arg-type]
    except Exception:
        return None


def call_arguments(items: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """
    Turn each item of a starmap into the arguments of one call.

    Raises
    ------
    PhyloZooTypeError
        An item is not iterable; raised when it is reached.
    """
    for position, item in enumerate(items):
        try:
            arguments = iter(item)
        except TypeError as error:
            wanted = "an iterable of arguments such as a tuple"
            raise wrong_type(item, f"item {position} of starmap", wanted) from error
        yield tuple(arguments)
