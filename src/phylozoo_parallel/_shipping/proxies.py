"""
Modules and objects that stand for others: lazy imports, proxies, objects with every attribute.

Such an object is shipped without using its attributes or methods: that could start an import,
warn, or act on the object that it stands for.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from pickle import PicklingError
from typing import Any

from phylozoo_parallel._shipping import identity
from phylozoo_parallel._shipping.identity import by_value

Plain = Callable[[Any], Any]
"""What cloudpickle does with an object: its ``reducer_override``."""


def module(obj: types.ModuleType, plain: Plain) -> Any:
    """Ship a module by name; a lazy one that is not imported yet is imported when it is used."""
    name = types.ModuleType.__getattribute__(obj, "__name__")
    if obj is sys.modules["__main__"]:
        raise PicklingError("workers have a __main__ of their own; use the name in it directly")
    if type(obj) is types.ModuleType:
        return plain(obj)
    if sys.modules.get(name) is obj:
        return importlib.import_module, (name,)
    if not by_value(type(obj).__module__):
        return LazyModule, (name,)
    state = {key: value for key, value in vars(obj).items() if key not in _OF_MODULES}
    return _made_module, (type(obj), name), state, None, None, set_attributes


class LazyModule(types.ModuleType):
    """A module that is imported when one of its attributes is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module = importlib.import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


_OF_MODULES = frozenset(("__builtins__", "__loader__", "__spec__"))


def _made_module(kind: Any, name: str) -> Any:
    module = kind.__new__(kind)
    types.ModuleType.__init__(module, name)
    return module


def set_attributes(obj: Any, state: dict[str, Any]) -> None:
    """Set the attributes of an object without calling its own methods."""
    object.__getattribute__(obj, "__dict__").update(state)


def proxy(obj: Any, plain: Plain) -> Any:
    """Ship an object whose class has ``__getattr__``, without calling it here or in the worker."""
    state = identity.state_of(obj)
    for name in state.get("__name__"), type(obj).__module__:
        if isinstance(name, str) and sys.modules.get(name) is obj:  # it stands for a module
            return importlib.import_module, (name,)
    values = list.__iter__(obj) if isinstance(obj, list) else None
    entries = iter(dict.items(obj)) if isinstance(obj, dict) else None
    return _empty_of, (type(obj),), state, values, entries, _set_proxy


def _empty_of(kind: Any) -> Any:
    base: Any = next(base for base in kind.__mro__ if base in (dict, list, object))
    if kind.__new__ is not base.__new__:  # its own __new__ may always return the same object
        with suppress(TypeError):
            return kind.__new__(kind)
    return base.__new__(kind)


def _set_proxy(obj: Any, state: dict[str, Any]) -> None:
    slots = dict(identity.slots_of(type(obj)))
    for name in slots.keys() & state.keys():
        slots[name].__set__(obj, state.pop(name))
    if state:
        set_attributes(obj, state)


def stateless(obj: Any, plain: Plain) -> Any:
    """Ship an object without attributes, such as ``dataclasses.MISSING``, by its module's name."""
    if getattr(obj, "__dict__", None):
        return NotImplemented
    module = sys.modules.get(type(obj).__module__)
    for name, value in vars(module).items() if module else ():
        if value is obj:
            return identity.from_module, (type(obj).__module__, name)
    return NotImplemented
