"""
Classes and enumerations of ``__main__``: shipped as they are now, without running them again.

What a metaclass or ``__init_subclass__`` did when the class was defined is part of the class by
now, and must not happen twice. When a class comes back with a result, the caller's original stays
as it is; cloudpickle would overwrite its methods and attributes with the worker's copies.
"""

from __future__ import annotations

import enum
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pickle import PicklingError
from typing import Any

from phylozoo_parallel._shipping import identity
from phylozoo_parallel._shipping.identity import Reduced, importable

_received: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
"""Classes that were defined in another process, with the attributes that were shipped last."""

_FIRST = (
    ("__eq__", "__hash__", "__setstate__", "__dataclass_fields__", "__dataclass_params__"),
    ("__init__",),
)
"""
Attributes that a class needs before the others are unpickled, in two steps: others may hold
instances of it, as keys of a dictionary say (a class attribute, or a global that a method uses).
"""

_MACHINERY = frozenset(("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"))
"""Attributes that ``enum`` itself sets on a member; all others are the user's."""

_EXACT: dict[Any, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
}
"""How to get the plain value of a member that is also a number, a string or bytes."""


def reduce_class(obj: type, plain: Callable[[Any], Any]) -> Any:
    """Ship a class with its ``__qualname__`` and slots, which cloudpickle drops."""
    reduced = plain(obj)
    if reduced is NotImplemented or len(reduced) != 6:  # it is importable, and travels by name
        return reduced
    if type(obj).__module__.startswith("msgspec."):
        raise PicklingError("msgspec tells nobody how it has made the class")
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
    # A tuple is made by its class's own method; that of others may look for an earlier instance.
    names = (*_FIRST, ("__new__",)) if issubclass(obj, tuple) else _FIRST
    steps = [{it: attributes[it] for it in step if it in attributes} for step in names]
    state = [_First(obj, step) for step in steps], setter, attributes, members
    return _class, (identity.key_of(obj), make, args, meta, hook), state, None, None, set_class


def _is_slot(value: Any, owner: type) -> bool:
    return isinstance(value, types.MemberDescriptorType) and value.__objclass__ is owner


def _once(obj: type) -> tuple[type | None, type | None]:
    """
    Return what must not run again when the class is rebuilt.

    Returns
    -------
    tuple
        The metaclass to call in the place of the user's own, and the base class whose
        ``__init_subclass__`` to skip; each None if it is harmless.
    """
    metas: Any = type.__dict__["__mro__"].__get__(type(obj))
    meta = next(kind for kind in metas if importable(kind))
    if type(obj).__name__ == "_TypedDictMeta":  # typing's would refuse the bases that it has made
        meta = type
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
            with _hook_skipped(hook):
                cls = make(*args) if meta is None else _make_by(meta, *args[:4])
            identity.keys[cls], identity.known[key] = key, cls
            _received[cls] = frozenset()
        return cls


def _make_by(meta: Any, kind: Any, name: str, bases: tuple[Any, ...], namespace: Any) -> Any:
    resolved = types.resolve_bases(bases)
    if resolved is not bases:
        namespace = {**namespace, "__orig_bases__": bases}
    return meta.__new__(kind, name, tuple(resolved), namespace)


@contextmanager
def _hook_skipped(kind: type | None) -> Iterator[None]:
    hook = kind.__dict__.get("__init_subclass__") if kind else None
    if hook is None:
        yield
        return
    type.__setattr__(kind, "__init_subclass__", classmethod(lambda cls: None))
    try:
        yield
    finally:
        type.__setattr__(kind, "__init_subclass__", hook)


class _First:
    """Gives a class some of its attributes while it is unpickled, before all others are."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> Reduced:
        return _set_first, self._parts


def _set_first(cls: type, attributes: dict[str, Any]) -> None:
    if _received.get(cls) == frozenset():  # otherwise it has them
        for name, value in attributes.items():
            type.__setattr__(cls, name, value)


def set_class(cls: type, state: tuple[Any, Any, dict[str, Any], Any]) -> None:
    """Give a class that came from another process the attributes that it has there now."""
    _, setter, attributes, members = state
    before = _received.get(cls)
    if before is None:  # it was defined in this process, and stays as it is
        return
    for name in before - attributes.keys():
        with suppress(AttributeError):
            type.__delattr__(cls, name)
    setter(cls, (attributes, {}))
    _received[cls] = frozenset(attributes)
    if members is not None:
        _set_members(cls, members, attributes)


def _enumeration(obj: Any, meta: Any, attributes: dict[str, Any]) -> Any:
    """Return the arguments that rebuild an enumeration, its attributes, and its members' fields."""
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
    """A member before it is made: its plain value (as a number or a string), and its ``value``."""

    def __init__(self, data: Any, value: Any) -> None:
        self.data = data
        self.value = value


def _new_member(cls: Any, given: Any) -> Any:
    given = given[0] if isinstance(given, tuple) else given
    new = cls._member_type_.__new__
    member = new(cls) if new is object.__new__ else new(cls, given.data)
    member._value_ = given.value
    return member


def _no_init(self: Any, *args: Any) -> None:
    """Do nothing: the user's ``__init__`` of a member has run before."""


def _set_members(cls: Any, fields: dict[str, dict[str, Any]], attributes: dict[str, Any]) -> None:
    for name, values in fields.items():
        cls._member_map_[name].__dict__.update(values)
    for name in ("__init__", "__new_member__"):
        if name not in attributes and name in cls.__dict__:
            type.__delattr__(cls, name)


def reduce_member(obj: Any, plain: Callable[[Any], Any]) -> Reduced | Any:
    """Ship a member of an enumeration by its name: its value may not be equal to its own copy."""
    kind = type(obj)
    if importable(kind) or kind._member_map_.get(obj._name_) is not obj:
        return NotImplemented
    return _member, (kind, obj._name_)


def _member(kind: Any, name: str) -> Any:
    return kind._member_map_[name]
