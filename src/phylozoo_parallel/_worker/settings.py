"""
The caller's settings, for the time that a worker runs its chunk.

::

    caller   taken() ──► Settings ──► with each chunk ──► worker   limits: for all of the chunk
                                                                   as_caller(): while items run

They are put back after each chunk, because the user's own ``Parallel`` uses the same workers, and
its tasks must not be affected. If several threads of a process run chunks, the first of them sets
what belongs to the process, and the last puts it back.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple

from phylozoo_parallel._worker import logs, warned

Undo = Callable[[], Any]
"""Restores what was before."""


class Numbers(NamedTuple):
    """How a thread computes; None for a module that is not loaded."""

    decimal: tuple[Any, ...] | None
    """Arguments that make a context of ``decimal``, and the names of the signals that raise."""
    numpy: tuple[str, ...] | None
    """The values of ``numpy.errstate`` for `_ERRORS`."""


_ERRORS = "divide", "over", "under", "invalid"

_SIGNALS = "InvalidOperation", "DivisionByZero", "Overflow"
_USUAL = Numbers(
    (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0, *_SIGNALS), ("warn", "warn", "ignore", "warn")
)
"""The defaults of both modules: for these values a worker need not import them."""


class Settings(NamedTuple):
    """The settings of a caller that mean the same in another process."""

    recursion: int
    digits: int | None
    """Most digits of an integer that becomes a string; None where nothing limits them."""
    start_method: str | None
    """Of multiprocessing, where one was chosen."""
    numbers: Numbers
    filters: tuple[warned.Filter, ...]
    """Of warnings."""
    levels: logs.Levels
    """Of loggers."""


def taken() -> Settings:
    """Return the settings of this thread and its process."""
    method: str | None = multiprocessing.get_start_method(allow_none=True)
    if _is_lokys(method):
        method = None
    rest = numbers(), warned.filters(), logs.levels()
    return Settings(sys.getrecursionlimit(), _digits(), method, *rest)


def numbers() -> Numbers:
    """Return how this thread computes."""
    decimal = sys.modules.get("decimal")
    if decimal is None:
        return Numbers(None, numpy_errors())
    *context, _, raising = decimal.getcontext().__reduce__()[1]
    return Numbers((*context, *[it.__name__ for it in raising]), numpy_errors())


def numpy_errors() -> tuple[str, ...] | None:
    """Return NumPy's errstate; a callback of this process becomes "warn" in other processes."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    return tuple("warn" if it in ("call", "log") else it for it in numpy.geterr().values())


def outside_context() -> tuple[str, ...] | None:
    """Return NumPy's errstate, if it is not a part of a thread's context (before NumPy 2)."""
    numpy = sys.modules.get("numpy")
    return numpy_errors() if numpy is not None and numpy.__version__ < "2" else None


def own_numbers(errors: tuple[str, ...] | None) -> None:
    """Make a worker thread, in its copy of the caller's context, compute as the caller does."""
    decimal = sys.modules.get("decimal")
    if decimal is not None:
        decimal.setcontext(decimal.getcontext().copy())  # what an item sets there is its own
    if errors:
        sys.modules["numpy"].seterr(**dict(zip(_ERRORS, errors, strict=True)))


class _Shared:
    """Settings of the whole process, which several threads may need at the same time."""

    def __init__(self, put: Callable[[Settings], Undo]) -> None:
        self._put = put
        self._lock = threading.Lock()
        self._inside = 0
        self._undo: Undo = int

    def enter(self, callers: Settings) -> None:
        """Set them, if this thread is the first."""
        with self._lock:
            if not self._inside:
                self._undo = self._put(callers)
            self._inside += 1

    def leave(self) -> None:
        """Restore what was before, if this thread is the last."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo()


@_Shared
def limits(callers: Settings) -> Undo:
    """Set the caller's recursion limit and digits, for pickling deep objects, too."""
    before = sys.getrecursionlimit(), _digits()
    # Another thread may have a stack that is too small.
    deep = threading.current_thread() is threading.main_thread()
    _limit(callers.recursion if deep else before[0], callers.digits)
    return partial(_limit, *before)


def _limit(recursion: int, digits: int | None) -> None:
    if recursion != sys.getrecursionlimit():
        with suppress(RecursionError):  # it is lower than the worker's present depth
            sys.setrecursionlimit(recursion)
    if digits != _digits() and digits is not None:
        sys.set_int_max_str_digits(digits)


def _digits() -> int | None:
    return sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None


def as_caller(callers: Settings, call: Callable[..., Any], *args: Any) -> Any:
    """Call a function that runs items, with the caller's settings."""
    _process.enter(callers)
    try:
        with _decimal(callers.numbers), _numpy(callers.numbers):
            return call(*args)
    finally:
        _process.leave()


@_Shared
def _process(callers: Settings) -> Undo:
    method = multiprocessing.get_start_method(allow_none=True)
    lokys = _is_lokys(method)
    if lokys:
        multiprocessing.set_start_method(callers.start_method, force=True)
    undo = warned.enter(callers.filters), logs.enter(callers.levels)

    def put_back() -> None:
        for one in undo:
            one()
        if lokys:
            multiprocessing.set_start_method(method, force=True)

    return put_back


def _is_lokys(method: str | None) -> bool:
    """Return whether it is the start method that loky sets in its workers, for itself only."""
    return method is not None and method.startswith("loky")


def _decimal(callers: Numbers) -> AbstractContextManager[Any]:
    if not callers.decimal or ("decimal" not in sys.modules and callers.decimal == _USUAL.decimal):
        return nullcontext()
    import decimal

    return decimal.localcontext(_decimal_context(callers.decimal))


@lru_cache(maxsize=8)
def _decimal_context(wanted: tuple[Any, ...]) -> Any:
    import decimal

    prec, rounding, least, most, capitals, clamp, *names = wanted
    raising = [getattr(decimal, name) for name in names]
    return decimal.Context(prec, rounding, least, most, capitals, clamp, [], raising)


def _numpy(callers: Numbers) -> AbstractContextManager[Any]:
    if callers.numpy and ("numpy" in sys.modules or callers.numpy != _USUAL.numpy):
        with suppress(ImportError):  # this machine may not have NumPy
            import numpy

            errors: dict[str, Any] = dict(zip(_ERRORS, callers.numpy, strict=True))
            context: AbstractContextManager[Any] = numpy.errstate(**errors)
            return context
    return nullcontext()
