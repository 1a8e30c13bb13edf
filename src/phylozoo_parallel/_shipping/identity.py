"""
Which objects another process finds by name, and which must stay one object.

An object that code compares with ``is`` has to be one object in a worker, too, even if several
pickles bring it there. When a result brings it back, it has to be the caller's own object again.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import types
import uuid
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from cloudpickle import list_registry_pickle_by_value

from phylozoo_parallel._shipping import pickles

Reduced = tuple[Any, ...]
"""What ``__reduce__`` returns."""

MOST = 10_000
"""Most objects without a name that are remembered; programs have few sentinels."""

lock = threading.RLock()
keys: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
"""The key of each object under which all processes know it."""
known: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
"""The object of each key."""

_slots: weakref.WeakKeyDictionary[type, list[tuple[str, Any]]] = weakref.WeakKeyDictionary()

# The same for sentinels and context variables. They cannot be weakly referenced, so they are kept.
_bare: dict[int, tuple[Any, str | Reduced]] = {}
_bare_known: dict[str, Any] = {}
_arrived: set[str] = set()
"""The keys of those that came from another process."""


def by_value(module: Any) -> bool:
    """Return whether functions and classes of this module are shipped with their definition."""
    if not isinstance(module, str) or module in ("__main__", "__mp_main__"):
        return True
    registered = list_registry_pickle_by_value()
    return any(module == name or module.startswith(f"{name}.") for name in registered)


def importable(obj: Any) -> bool:
    """Return whether another process finds this very object under its module and name."""
    module = getattr(obj, "__module__", None)
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if not isinstance(name, str) or by_value(module):
        return False
    found: Any = sys.modules.get(str(module))
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is obj


def state_of(obj: Any) -> dict[str, Any]:
    """Return an object's attributes without its own methods: a proxy's act on another object."""
    state = {}
    for name, slot in slots_of(type(obj)):
        with suppress(AttributeError):  # the slot is not set
            state[name] = slot.__get__(obj)
    with suppress(AttributeError):
        state.update(object.__getattribute__(obj, "__dict__"))
    return state


def slots_of(kind: type) -> list[tuple[str, Any]]:
    """Return the slots of a type and of its bases, each with its name."""
    found = _slots.get(kind)
    if found is None:
        found = _slots[kind] = [
            (name, value)
            for base in kind.__mro__
            for name, value in vars(base).items()
            if isinstance(value, types.MemberDescriptorType)
        ]
    return found


def held_by_module(obj: Any) -> Reduced | None:
    """Return how to find an object as an attribute of a module; None if it is not one."""
    return next((home for value, home in _held(type(obj)) if value is obj), None)


@lru_cache(maxsize=4)
def _held_then(kind: type, modules: int) -> list[tuple[Any, Reduced]]:
    return [
        (value, (from_module, (module, name)))
        for module, found in sys.modules.copy().items()
        if type(found) is types.ModuleType and not by_value(module)
        for name, value in found.__dict__.copy().items()
        if type(value) is kind
    ]


def _held(kind: type) -> list[tuple[Any, Reduced]]:
    return _held_then(kind, len(sys.modules))


def from_module(module: str, name: str) -> Any:
    """Return an attribute of a module."""
    return getattr(importlib.import_module(module), name)


def key_of(obj: Any) -> str:
    """Return the key under which all processes know an object."""
    with lock:
        key = keys.get(obj)
        if key is None:
            key = keys[obj] = uuid.uuid4().hex
            known[key] = obj
        return key


def one(key: str, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Return the object with this key; make it if this process does not know it."""
    with lock:
        obj = known.get(key)
        if obj is None:
            obj = known[key] = make(*args)
            keys[obj] = key
        return obj


def bare(obj: Any, make: Callable[..., Any], *args: Any) -> Reduced:
    """Ship an object that must stay one object, and that cannot be weakly referenced."""
    with lock:
        found = _bare.get(id(obj))
        key = found[1] if found else held_by_module(obj) or uuid.uuid4().hex
        _remember(obj, key)
    return (one_bare, (key, make, args)) if isinstance(key, str) else key


def one_bare(key: str, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Return the object with this key; make it if this process does not know it."""
    with lock:
        obj = _bare_known.get(key)
        if obj is None:
            obj = make(*args)
            _arrived.add(key)
        _remember(obj, key)
        return obj


def _remember(obj: Any, key: str | Reduced) -> None:
    pickles.copied = True
    _bare.pop(id(obj), None)
    _bare[id(obj)] = obj, key  # the one used last is at the end
    _bare_known[str(key)] = obj
    if len(_bare) > MOST:
        _, old = _bare.pop(next(iter(_bare)))
        del _bare_known[str(old)]
        _arrived.discard(str(old))


def made_here(obj: Any) -> bool:
    """Return whether an object of :func:`bare` was made in this process."""
    return _bare[id(obj)][1] not in _arrived


def _forget() -> None:
    """Replace the lock in a forked child: a thread of the parent may hold it."""
    global lock
    lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
