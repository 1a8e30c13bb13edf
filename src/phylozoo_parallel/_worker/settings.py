"""
The caller's settings, for the time that a worker runs its chunk.

::

    caller   taken() ──► Settings ──► with each chunk ──► worker   limits(): for all of the chunk
                                                                   as_caller(): while items run

They are put back after each chunk: the workers are the user's own Parallel's too, whose tasks
must not meet them. Where several threads of a process run chunks, the first of them sets what
belongs to the process and the last puts it back.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

from phylozoo_parallel._worker import logs, warned


class Numbers(NamedTuple):
    """How a thread computes; None for what is not loaded."""

    decimal: tuple[Any, ...] | None
    """Of its context: the arguments of another one, and the names of the signals that raise."""
    numpy: tuple[str, ...] | None
    """Of ``numpy.errstate``: the values of `_ERRORS`."""


_ERRORS = "divide", "over", "under", "invalid"

_USUAL = Numbers(
    (
        28,
        "ROUND_HALF_EVEN",
        -999999,
        999999,
        1,
        0,
        "DivisionByZero",
        "InvalidOperation",
        "Overflow",
    ),
    ("warn", "warn", "ignore", "warn"),
)
"""Where this is wanted nothing has to be loaded for it."""


class Settings(NamedTuple):
    """What a caller has set that means the same in another process."""

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
    digits = getattr(sys, "get_int_max_str_digits", lambda: None)()
    method: str | None = multiprocessing.get_start_method(allow_none=True)
    if _is_lokys(method):
        method = None
    told = numbers(), warned.filters(), logs.levels()
    return Settings(sys.getrecursionlimit(), digits, method, *told)


def numbers() -> Numbers:
    """Return how this thread computes."""
    decimal, numpy = sys.modules.get("decimal"), sys.modules.get("numpy")
    context: tuple[Any, ...] | None = None
    errors: tuple[str, ...] | None = None
    if decimal is not None:
        it = decimal.getcontext()
        signals = sorted(signal.__name__ for signal, raises in it.traps.items() if raises)
        context = it.prec, it.rounding, it.Emin, it.Emax, it.capitals, it.clamp, *signals
    if numpy is not None:
        # What only this process can call warns in others.
        errors = tuple("warn" if it in ("call", "log") else it for it in numpy.geterr().values())
    return Numbers(context, errors)


def own_numbers(callers: Numbers) -> None:
    """Have a worker thread, in its copy of the caller's context, compute as the caller does."""
    decimal, numpy = sys.modules.get("decimal"), sys.modules.get("numpy")
    if decimal is not None:
        decimal.setcontext(decimal.getcontext().copy())  # what an item sets there is its own
    if numpy is not None and callers.numpy and numpy.__version__ < "2":
        numpy.seterr(**dict(zip(_ERRORS, callers.numpy, strict=True)))  # is not in the context


class _Shared:
    """A context of the process that several threads may be in at the same time."""

    def __init__(self, context: Callable[[Settings], AbstractContextManager[None]]) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._inside = 0
        self._open = ExitStack()

    @contextmanager
    def __call__(self, callers: Settings) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._open.enter_context(self._context(callers))
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._open.close()


@_Shared
@contextmanager
def limits(callers: Settings) -> Iterator[None]:
    """Go as deep here as the caller may: also to pickle, and to unpickle, a deep tree."""
    recursion, digits = sys.getrecursionlimit(), getattr(sys, "get_int_max_str_digits", int)()
    # The stack of another thread may be too small for it.
    deep = threading.current_thread() is threading.main_thread()
    if deep and callers.recursion != recursion:
        with suppress(RecursionError):  # it is less than the worker itself needs
            sys.setrecursionlimit(callers.recursion)
    if callers.digits is not None:
        sys.set_int_max_str_digits(callers.digits)
    try:
        yield
    finally:
        if deep:
            sys.setrecursionlimit(recursion)
        if callers.digits is not None:
            sys.set_int_max_str_digits(digits)


@contextmanager
def as_caller(callers: Settings) -> Iterator[None]:
    """Have items meet what they would meet in the caller."""
    with _process(callers), _thread(callers.numbers):
        yield


@_Shared
@contextmanager
def _process(callers: Settings) -> Iterator[None]:
    method = multiprocessing.get_start_method(allow_none=True)
    if _is_lokys(method):
        multiprocessing.set_start_method(callers.start_method, force=True)
    try:
        with warned.as_caller(callers.filters), logs.as_caller(callers.levels):
            yield
    finally:
        if _is_lokys(method):
            multiprocessing.set_start_method(method, force=True)


def _is_lokys(method: str | None) -> bool:
    """Tell whether it is the one that loky sets in its workers, where nobody else can use it."""
    return method is not None and method.startswith("loky")


@contextmanager
def _thread(callers: Numbers) -> Iterator[None]:
    with ExitStack() as stack:
        if callers.decimal and ("decimal" in sys.modules or callers.decimal != _USUAL.decimal):
            import decimal

            signals = [getattr(decimal, name) for name in callers.decimal[6:]]
            prec, rounding, least, most, capitals, clamp = callers.decimal[:6]
            context = decimal.Context(prec, rounding, least, most, capitals, clamp, [], signals)
            stack.enter_context(decimal.localcontext(context))
        if callers.numpy and ("numpy" in sys.modules or callers.numpy != _USUAL.numpy):
            with suppress(ImportError):  # a machine without it
                import numpy

                errors: dict[str, Any] = dict(zip(_ERRORS, callers.numpy, strict=True))
                stack.enter_context(numpy.errstate(**errors))
        yield
