"""
How an exception travels that does not pickle, or comes out changed.

``except`` clauses go by its class. So it is put together from its parts, without ``__init__``,
which wants other arguments than the exception keeps; and where its class cannot travel, its
nearest base class stands for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phylozoo_parallel._shipping.pickles import Packed, unpack
from phylozoo_parallel.errors import short

_CUSTOM = ("__reduce__", "__reduce_ex__")


def carried(error: BaseException, pack: Callable[[Any], Packed]) -> tuple[Packed, str]:
    """
    Pack an exception.

    Parameters
    ----------
    error : BaseException
    pack : callable

    Returns
    -------
    packed
        None where nothing of it can be packed.
    lost : str
        What is missing in it, for the user to read; may be empty.
    """
    with suppress(BaseException):
        packed = pack(error)
        if _is_like(unpack(packed), error):
            return packed, ""
    with suppress(BaseException):
        taken = _Taken(lambda value: unpack(pack(value)))
        packed, lost = pack(taken.apart(error)), ", ".join(taken.lost)
        return packed, f" (without {lost}: cannot be pickled)" if lost else ""
    return None, ""


def _is_like(back: Any, error: BaseException) -> bool:
    if not isinstance(back, BaseException):
        return False
    kind: Any = type(error)
    if any(getattr(kind, name) is not getattr(BaseException, name) for name in _CUSTOM):
        return True  # it says itself what it pickles to
    try:
        return type(back) is kind and str(back) == str(error)
    except Exception:  # it cannot be shown
        return True


class _Taken:
    """
    Exceptions taken apart, and what of them is lost.

    Parameters
    ----------
    tried : callable
        Sends a value there and back; raises where it cannot travel.
    """

    def __init__(self, tried: Callable[[Any], Any]) -> None:
        self.tried = tried
        self.lost: dict[str, None] = {}

    def apart(self, error: BaseException) -> _Parts:
        """Return what can travel of an exception."""
        kind = type(error)
        stands = next(base for base in kind.__mro__ if self.travels(base))
        if stands is not kind:
            self.lost[f"its class `{kind.__qualname__}`"] = None
        _, args, *more = _built_in(kind).__reduce__(error)  # not the user's own
        kept = tuple(self.part(arg) for arg in args)
        state = {}
        for name, value in (more[0] or {}).items() if more else ():
            if self.travels(value):
                state[name] = value
            else:
                self.lost[f"its attribute `{name}`"] = None
        return _Parts(stands, kept, state)

    def part(self, value: Any) -> Any:
        """Return an argument of an exception, or what stands for it."""
        if type(value) in (list, tuple):
            return type(value)(map(self.part, value))
        if self.travels(value):
            return value
        if isinstance(value, BaseException):
            return self.apart(value)
        self.lost["one of its arguments"] = None
        return short(value)

    def travels(self, value: Any) -> bool:
        """Tell whether a value comes out as it went in."""
        try:
            back = self.tried(value)
            return not isinstance(value, BaseException) or _is_like(back, value)
        except BaseException:
            return False


class _Parts:
    """Unpickles to the exception that these are the parts of."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return put_together, self.parts


def put_together(kind: Any, args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Return an exception of this class, without calling what the user wrote."""
    base = _built_in(kind)
    error: BaseException = base.__new__(kind, *args)
    base.__init__(error, *args)
    for name, value in state.items():
        BaseException.__setattr__(error, name, value)
    return error


def _built_in(kind: Any) -> Any:
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")
