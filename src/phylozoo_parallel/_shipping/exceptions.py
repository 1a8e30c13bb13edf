"""
How to ship an exception that cannot be pickled, or that would come out changed.

``except`` clauses go by its class. So the exception is rebuilt from its parts, without calling the
user's ``__init__``, which often wants other arguments than the exception keeps. If its class cannot
be pickled, its nearest base class stands for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phylozoo_parallel._shipping import identity
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
        None if nothing of it can be packed.
    lost : str
        What is missing in it, for the user to read; empty if nothing is.
    """
    with suppress(BaseException):
        packed = pack(error)
        if _is_copy(unpack(packed), error):
            return packed, ""
    with suppress(BaseException):
        splitter = _Splitter(lambda value: unpack(pack(value)))
        packed, lost = pack(splitter.split(error)), ", ".join(splitter.lost)
        return packed, f" (without {lost}: cannot be pickled)" if lost else ""
    return None, ""


def _is_copy(back: Any, error: BaseException) -> bool:
    if not isinstance(back, BaseException):
        return False
    kind: Any = type(error)
    if any(getattr(kind, name) is not getattr(BaseException, name) for name in _CUSTOM):
        return True  # the class itself defines what it pickles to
    try:
        same = type(back) is kind and str(back) == str(error)
        return same and bool(_in_slots(back) == _in_slots(error))
    except Exception:  # its ``str`` fails, or values have no truth, such as arrays
        return True


def _in_slots(error: BaseException) -> dict[str, Any]:
    """Return the values in the slots of an exception's own class, which pickle leaves out."""
    slots = identity.slots_of(type(error))
    own = [(name, slot) for name, slot in slots if slot.__objclass__.__module__ != "builtins"]
    return {name: slot.__get__(error) for name, slot in own if hasattr(error, name)}


class _Splitter:
    """
    Splits exceptions into parts that can be pickled, and notes what is lost.

    Parameters
    ----------
    copy : callable
        Pickles and unpickles a value; raises if that is not possible.
    """

    def __init__(self, copy: Callable[[Any], Any]) -> None:
        self.copy = copy
        self.lost: dict[str, None] = {}

    def split(self, error: BaseException) -> _Parts:
        """Return the parts of an exception that can be pickled."""
        kind = type(error)
        stands = next(base for base in kind.__mro__ if self.travels(base))
        if stands is not kind:
            self.lost[f"its class `{kind.__qualname__}`"] = None
        _, args, *more = _built_in(kind).__reduce__(error)  # and not the user's own method
        kept = tuple(self.part(arg) for arg in args)
        state = {}
        kept_by_pickle = more[0] or {} if more else {}
        for name, value in (kept_by_pickle | _in_slots(error)).items():
            if self.travels(value):
                state[name] = value
            else:
                self.lost[f"its attribute `{name}`"] = None
        return _Parts(stands, kept, state)

    def part(self, value: Any) -> Any:
        """Return an argument of an exception, or what stands in its place."""
        if type(value) in (list, tuple):
            return type(value)(map(self.part, value))
        if self.travels(value):
            return value
        if isinstance(value, BaseException):
            return self.split(value)
        self.lost["one of its arguments"] = None
        return short(value)

    def travels(self, value: Any) -> bool:
        """Return whether a value can be pickled and comes out the same."""
        try:
            back = self.copy(value)
            return not isinstance(value, BaseException) or _is_copy(back, value)
        except BaseException:
            return False


class _Parts:
    """The parts of an exception; they unpickle to the exception."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, self.parts


def rebuild(kind: Any, args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Return an exception of this class, without calling the user's own methods."""
    base = _built_in(kind)
    error: BaseException = base.__new__(kind, *args)
    base.__init__(error, *args)
    for name, value in state.items():
        BaseException.__setattr__(error, name, value)
    return error


def _built_in(kind: Any) -> Any:
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")
