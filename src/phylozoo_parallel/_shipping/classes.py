"""
Classes and enumerations of ``__main__``: shipped as they are now, not made again.

What their metaclass, ``__init_subclass__`` and the like did when they were defined has come along,
and must not happen twice. A class that comes back with a result leaves the original as it is:
cloudpickle would set the worker's copies of its methods and attributes.
"""

from __future__ import annotations

import enum
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from phylozoo_parallel._shipping import identity
from phylozoo_parallel._shipping.identity import Reduced, importable

_received: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
"""Classes that are at home in another process, with the attributes they came with."""

_MACHINERY = frozenset(("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"))
"""Attributes of a member that are not the user's."""

_EXACT: dict[Any, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
}
"""The data of a member that is also a number or a string."""


def reduce_class(obj: type, plain: Callable[[Any], Any]) -> Any:
    """Ship a class with the names and slots that cloudpickle drops."""
    reduced = plain(obj)
    if reduced is NotImplemented or len(reduced) != 6:  # by name
        return reduced
    make, args, (attributes, _), *_, setter = reduced
    slots = {name for name, value in obj.__dict__.items() if _is_slot(value, obj)}
    attributes = {name: value for name, value in attributes.items() if name not in slots}
    meta, hook = _once(obj)
    members = None
    if isinstance(obj, enum.EnumMeta):
        args, attributes, members = _enumeration(obj, meta, attributes)
        make, meta = _make_enumeration, None
    else:
        namespace = {**args[3], "__qualname__": obj.__qualname__}
        if "__slots__" in obj.__dict__ and typing.NamedTuple not in args[2]:
            namespace["__slots__"] = obj.__dict__["__slots__"]
            attributes.pop("__slots__", None)
        args = *args[:3], namespace, *args[4:]
    told = setter, attributes, members
    return _class, (identity.key_of(obj), make, args, meta, hook), told, None, None, set_class


def _is_slot(value: Any, owner: type) -> bool:
    return isinstance(value, types.MemberDescriptorType) and value.__objclass__ is owner


def _once(obj: type) -> tuple[type | None, type | None]:
    """Return what stands in for the user's metaclass, and the class whose hook has run."""
    metas: Any = type.__dict__["__mro__"].__get__(type(obj))
    meta = next(kind for kind in metas if importable(kind))
    hook = next((kind for kind in obj.__mro__[1:] if "__init_subclass__" in kind.__dict__), object)
    return None if meta is type(obj) else meta, None if importable(hook) else hook


def _class(
    key: str,
    make: Callable[..., type],
    args: tuple[Any, ...],
    meta: type | None,
    hook: type | None,
) -> type:
    with identity.lock:
        cls: type | None = identity.known.get(key)
        if cls is None:
            with _silent(hook):
                cls = make(*args) if meta is None else _made_by(meta, *args[:4])
            identity.keys[cls], identity.known[key] = key, cls
            _received[cls] = frozenset()
        return cls


def _made_by(meta: Any, kind: Any, name: str, bases: tuple[Any, ...], namespace: Any) -> Any:
    resolved = types.resolve_bases(bases)
    if resolved is not bases:
        namespace = {**namespace, "__orig_bases__": bases}
    return meta.__new__(kind, name, tuple(resolved), namespace)


@contextmanager
def _silent(kind: type | None) -> Iterator[None]:
    hook = kind.__dict__.get("__init_subclass__") if kind else None
    if hook is None:
        yield
        return
    type.__setattr__(kind, "__init_subclass__", classmethod(lambda cls: None))
    try:
        yield
    finally:
        type.__setattr__(kind, "__init_subclass__", hook)


def set_class(cls: type, told: tuple[Any, dict[str, Any], Any]) -> None:
    """Give a class that came from another process its attributes, as they are there now."""
    setter, attributes, members = told
    before = _received.get(cls)
    if before is None:  # it is at home here
        return
    for name in before - attributes.keys():
        with suppress(AttributeError):
            type.__delattr__(cls, name)
    setter(cls, (attributes, {}))
    _received[cls] = frozenset(attributes)
    if members is not None:
        _set_members(cls, members, attributes)


def _enumeration(obj: Any, meta: Any, attributes: dict[str, Any]) -> Any:
    """Return how to make an enumeration of members that are ready, its attributes, and fields."""
    exact = _EXACT.get(obj._member_type_, lambda member: member._value_)
    members: dict[str, Any] = {"__new__": _new_member, "__init__": _no_init}
    for name, member in obj.__members__.items():  # with aliases
        members[name] = _Member(exact(member), member._value_)
    attributes = {name: it for name, it in attributes.items() if name not in obj.__members__}
    fields = {
        member._name_: {k: v for k, v in member.__dict__.items() if k not in _MACHINERY}
        for member in obj.__members__.values()
    }
    names = {"__module__": obj.__module__, "__qualname__": obj.__qualname__}
    made = meta or type(obj), type(obj), obj.__name__, obj.__bases__, {**names, **members}
    return made, attributes, fields


def _make_enumeration(
    meta: Any, kind: Any, name: str, bases: tuple[Any, ...], members: dict[str, Any]
) -> Any:
    namespace = meta.__prepare__(name, bases)
    for key, value in members.items():
        namespace[key] = value
    return meta.__new__(kind, name, bases, namespace)


class _Member:
    """A member to be: the data that it also is, and its value."""

    def __init__(self, data: Any, value: Any) -> None:
        self.data = data
        self.value = value


def _new_member(cls: Any, told: Any) -> Any:
    told = told[0] if isinstance(told, tuple) else told
    new = cls._member_type_.__new__
    member = new(cls) if new is object.__new__ else new(cls, told.data)
    member._value_ = told.value
    return member


def _no_init(self: Any, *args: Any) -> None:
    """Leave a member as it is."""


def _set_members(cls: Any, fields: dict[str, dict[str, Any]], attributes: dict[str, Any]) -> None:
    for name, values in fields.items():
        cls._member_map_[name].__dict__.update(values)
    for name in ("__init__", "__new_member__"):
        if name not in attributes and name in cls.__dict__:
            type.__delattr__(cls, name)


def reduce_member(obj: Any, plain: Callable[[Any], Any]) -> Reduced | Any:
    """Ship a member of an enumeration by its name: its value may be equal to nothing else."""
    kind = type(obj)
    if importable(kind) or kind._member_map_.get(obj._name_) is not obj:
        return NotImplemented
    return _member, (kind, obj._name_)


def _member(kind: Any, name: str) -> Any:
    return kind._member_map_[name]
