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
        parts, lost = _parts(error, lambda value: unpack(pack(value)))
        return pack(parts), f" (without {', '.join(lost)}: cannot be pickled)" if lost else ""
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


def _parts(error: BaseException, tried: Callable[[Any], Any]) -> tuple[_Parts, list[str]]:
    lost: list[str] = []

    def kept(value: Any, name: str, otherwise: Any = None) -> Any:
        if isinstance(value, BaseException):
            with suppress(BaseException):
                if _is_like(tried(value), value):
                    return value
            inner, more = _parts(value, tried)
            lost.extend(more)
            return inner
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(kept(part, name, otherwise) for part in value)
        try:
            tried(value)
        except BaseException:
            if name not in lost:
                lost.append(name)
            return short(value) if otherwise is None else otherwise
        return value

    kind = type(error)
    for base in kind.__mro__:
        with suppress(BaseException):
            tried(base)
            break
    else:
        base = Exception
    if base is not kind:
        lost.append(f"its class `{kind.__qualname__}`")
    _, told, *more = _built_in(kind).__reduce__(error)  # not the user's own
    args = tuple(kept(arg, "one of its arguments") for arg in told)
    state = {}
    for name, value in (more[0] or {}).items() if more else ():
        if name != "__notes__":
            state[name] = kept(value, f"its attribute `{name}`", _GONE)
    state = {name: value for name, value in state.items() if value is not _GONE}
    with suppress(AttributeError):
        state["__notes__"] = [str(note) for note in error.__notes__]
    return _Parts(base, args, state), lost


_GONE = object()


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
