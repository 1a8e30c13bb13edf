"""
Weak references, and collections of weak references.

In a worker there may be nothing else that holds the object of a weak reference. So there the weak
reference, or the collection, keeps the object itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pickle import PicklingError
from typing import Any

from phylozoo_parallel._shipping.identity import state_of

CONTAINERS = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)


def ref(obj: Any, plain: Callable[[Any], Any]) -> Any:
    target = obj()
    if type(obj) not in (weakref.ref, weakref.WeakMethod, _Ref, _Method):
        return _of_a_class(obj, target)
    make = _Method if isinstance(obj, weakref.WeakMethod) else _Ref
    return (_gone, ()) if target is None else (make, (target,))


def _of_a_class(obj: Any, target: Any) -> Any:
    """Ship a weak reference of a user's class, without calling the user's own methods."""
    if not hasattr(obj, "__dict__") or isinstance(obj, weakref.WeakMethod):
        raise PicklingError("its class has no place for what it refers to")
    target = _Nobody() if target is None else target
    state = {name: it for name, it in state_of(obj).items() if name != "__callback__"}
    return _made, (type(obj), target), state, None, None, _set_made


def _made(kind: Any, target: Any) -> Any:
    found = weakref.ref.__new__(kind, target)
    if type(target) is not _Nobody:
        found.__dict__["_kept"] = target
    return found


def _set_made(obj: Any, state: dict[str, Any]) -> None:
    for name, value in state.items():
        object.__setattr__(obj, name, value)


def proxy(obj: Any, plain: Callable[[Any], Any]) -> Any:
    """Ship the object itself in the place of a weak proxy."""
    return _itself, (obj.__reduce_ex__.__self__,)


def _itself(obj: Any) -> Any:
    return obj


class _Ref(weakref.ref):  # type: ignore[type-arg]
    __slots__ = ("kept",)

    def __new__(cls, target: Any) -> Any:
        found: Any = super().__new__(cls, target)
        found.kept = target
        return found


class _Nobody:
    pass


def _gone() -> Any:
    return weakref.ref(_Nobody())


class _Method(weakref.WeakMethod):  # type: ignore[type-arg]
    __slots__ = ("kept",)

    def __new__(cls, method: Any) -> Any:
        found: Any = super().__new__(cls, method)
        found.kept = method
        return found


def container(obj: Any, plain: Callable[[Any], Any]) -> Any:
    held = list(obj) if isinstance(obj, weakref.WeakSet) else dict(obj)
    state = {name: value for name, value in obj.__dict__.items() if name not in _empty(type(obj))}
    return _weak, (type(obj),), (held, state), None, None, _fill_weak


def _empty(kind: type) -> dict[str, Any]:
    base: Any = next(base for base in kind.__mro__ if base in CONTAINERS)
    return {"_kept": None, **base().__dict__}


def _weak(kind: Any) -> Any:
    obj = kind.__new__(kind)
    base: Any = next(base for base in kind.__mro__ if base in CONTAINERS)
    base.__init__(obj)
    return obj


def _fill_weak(obj: Any, content: tuple[Any, dict[str, Any]]) -> None:
    """Fill a collection, and keep the objects in it."""
    held, state = content
    obj.update(held)
    obj.__dict__.update(state, _kept=held)
