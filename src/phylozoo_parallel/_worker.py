"""
What runs in a worker: one chunk in, one outcome out.

::

    process   bytes of the map's function, bytes of the chunk
                  └─► unpickle ──► run ──► pickle ──► Outcome with bytes
    thread    the function and the items themselves
                  └─────────────► run ──────────────► Outcome with a list

Nothing is raised from here: an exception that leaves a worker makes joblib kill its pool,
and with it everybody's results. What went wrong travels in the outcome instead.
"""

from __future__ import annotations

import os
import pickle
import reprlib
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

STRIDE = 32
"""Most items that run between two looks at the clock."""

QUICK = 0.001
"""Seconds; items of a stride slower than this are looked at one by one."""

KEPT_FUNCTIONS = 4
"""Functions that a worker keeps unpickled, for maps that take turns."""


class Failure(NamedTuple):
    """Why a chunk ended before its last item."""

    index: int | None
    """Of the item that failed; None when the chunk failed as a whole and its items may not."""
    error: Any
    """The exception, pickled in a process; None when it does not pickle."""
    line: str
    """The exception's own line of its traceback."""
    where: str
    """The item's index and short repr, and the worker."""
    trace: str
    """The traceback in the worker."""


class Outcome(NamedTuple):
    """What came of a chunk."""

    results: Any
    """Of the first `done` items, in order: a list, pickled in a process."""
    done: int
    seconds: float
    """From the chunk's unpickling to its results' pickling."""
    failure: Failure | None


class _Here(threading.local):
    kind: str | None = None


here = _Here()
"""``here.kind`` is "process" or "thread" while this thread runs a chunk."""

_functions: dict[bytes, tuple[Callable[..., Any], bool]] = {}
_entered: bytes | None = None


def run_in_thread(
    func: Callable[..., Any], star: bool, items: Sequence[Any], first: int, budget: float | None
) -> Outcome:
    """
    Run a chunk on objects shared with the caller.

    Parameters
    ----------
    func, star
        The map's function, and whether an item is its argument or a tuple of them.
    items, first
        The chunk, and the index of its first item.
    budget : float or None
        Seconds after which the rest is left to others; None for no limit.
    """
    here.kind = "thread"
    try:
        begin = perf_counter()
        results, error = _run(func, star, items, budget)
        failure = None
        if error is not None:
            failure = _failure(error, first + len(results), items[len(results)])
        return Outcome(results, len(results), perf_counter() - begin, failure)
    finally:
        here.kind = None


def run_in_process(
    key: bytes,
    place: tuple[str | None, list[str]] | None,
    function: bytes,
    items: bytes,
    first: int,
    budget: float | None,
) -> Outcome:
    """
    Run a pickled chunk and pickle what comes of it.

    Parameters
    ----------
    key, function
        The map's name, and its pickled function with its `star`; unpickled once a worker.
    place
        The caller's working directory and ``sys.path``; None on another machine.
    items, first, budget
        As for :func:`run_in_thread`; the items pickled.
    """
    here.kind = "process"
    try:
        begin = perf_counter()
        try:
            _enter(key, place)
            func, star = _function(key, function)
        except BaseException as error:
            told = f"the function could not be unpickled in its worker: {_line(error)}"
            return _nothing(begin, first, pickle.UnpicklingError(told), error)
        try:
            chunk = pickle.loads(items)
        except BaseException as error:
            told = f"item {first} could not be unpickled in its worker: {_line(error)}"
            return _nothing(begin, None, pickle.UnpicklingError(told), error)
        results, error = _run(func, star, chunk, budget)
        failure = None
        if error is not None:
            failure = _failure(error, first + len(results), chunk[len(results)])
        return _pickled(results, begin, first, failure)
    finally:
        here.kind = None


def _run(
    func: Callable[..., Any], star: bool, items: Sequence[Any], budget: float | None
) -> tuple[list[Any], BaseException | None]:
    """Run items until one fails or the budget is spent; the clock is not read at every item."""
    results: list[Any] = []
    append = results.append
    stop = len(items)
    done, stride = 0, 1
    now = begin = perf_counter()
    try:
        while done < stop:
            if star:
                for item in items[done : done + stride]:
                    append(func(*item))
            else:
                for item in items[done : done + stride]:
                    append(func(item))
            done += stride
            before, now = now, perf_counter()
            stride = min(2 * stride, STRIDE) if now - before < QUICK else 1
            if budget is not None and now - begin > budget:
                break
    except BaseException as error:
        return results, error
    return results, None


def _enter(key: bytes, place: tuple[str | None, list[str]] | None) -> None:
    global _entered
    if place is None or _entered == key:
        return
    directory, path = place
    sys.path[:] = path
    if directory is not None:
        os.chdir(directory)
    _entered = key


def _function(key: bytes, function: bytes) -> tuple[Callable[..., Any], bool]:
    known = _functions.get(key)
    if known is None:
        known = pickle.loads(function)
        while len(_functions) >= KEPT_FUNCTIONS:
            _functions.pop(next(iter(_functions)), None)
        _functions[key] = known
    return known


def _dump(value: Any) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # what only cloudpickle can do: lambdas, classes of __main__
        import cloudpickle

        pickled: bytes = cloudpickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return pickled


def _pickled(results: list[Any], begin: float, first: int, failure: Failure | None) -> Outcome:
    try:
        blob = _dump(results)
    except BaseException as error:
        for good, result in enumerate(results):
            try:
                _dump(result)
            except BaseException as wrong:
                told = f"the result of item {first + good} could not be pickled: {_line(wrong)}"
                failed = _failure(pickle.PicklingError(told), first + good, result, wrong)
                return _pickled(results[:good], begin, first, failed)
        told = f"the results from item {first} on could not be pickled: {_line(error)}"
        return _nothing(begin, None, pickle.PicklingError(told), error)
    return Outcome(blob, len(results), perf_counter() - begin, failure)


def _nothing(begin: float, index: int | None, told: Exception, error: BaseException) -> Outcome:
    failure = _failure(told, index, None, error)
    return Outcome(_dump([]), 0, perf_counter() - begin, failure)


def _line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def _failure(
    error: BaseException, index: int | None, item: Any, shown: BaseException | None = None
) -> Failure:
    """Describe an `error` to raise, and the one whose traceback is to be `shown` with it."""
    shown = shown or error
    trace = shown.__traceback__
    if trace is not None:
        trace = trace.tb_next or trace  # without this module's own frame
    carried: Any = error
    where = f"in worker thread {threading.current_thread().name}"
    if here.kind == "process":
        where = f"in worker process {os.getpid()}"
        try:
            carried = _dump(error)
        except BaseException:
            carried = None
    if index is not None:
        where = f"item {index} = {reprlib.repr(item)}, {where}"
    text = "".join(traceback.format_exception(type(shown), shown, trace))
    return Failure(index, carried, _line(error), where, text)
