"""
The table of kinds: what cloudpickle refuses or changes, and how it travels.

A rule takes an object, and what cloudpickle would do with any object, and returns what
``__reduce__`` would; NotImplemented leaves it to pickle. The other functions rebuild what
arrives: pickles name them, so they have to stay where they are.
"""

from __future__ import annotations

import contextvars
import copyreg
import enum
import functools
import gc
import io
import random
import re
import struct
import sys
import threading
import types
import typing
import warnings
import weakref
from collections.abc import Callable
from pickle import PicklingError
from typing import Any

from phylozoo_parallel._shipping import buffers, identity, weak
from phylozoo_parallel._shipping.classes import reduce_class, reduce_member
from phylozoo_parallel._shipping.identity import by_value, importable
from phylozoo_parallel._shipping.proxies import Plain, module, set_attributes

_newobj: Any = vars(copyreg)["__newobj__"]


def _code(obj: types.CodeType, plain: Plain) -> Any:
    # https://github.com/cloudpipe/cloudpickle 3.1.3 replaces the file's name.
    make, args = plain(obj)
    return _named, (make, args, obj.co_filename)


def _named(make: Callable[..., types.CodeType], args: tuple[Any, ...], filename: str) -> Any:
    code = make(*args)
    return code if code.co_filename == filename else code.replace(co_filename=filename)


def _function(obj: types.FunctionType, plain: Plain) -> Any:
    """With its own cells: one that another function has too stays shared."""
    reduced = plain(obj)
    if reduced is NotImplemented or obj.__closure__ is None:
        return reduced
    make, args, (state, slots), *rest = reduced
    return make, (*args[:-1], obj.__closure__), (state, {**slots, "__closure__": None}), *rest


def _cell(obj: types.CellType, plain: Plain) -> Any:
    """Before its contents, which may hold the function that has it."""
    try:
        return types.CellType, (), (obj.cell_contents,), None, None, _fill
    except ValueError:  # empty
        return types.CellType, ()


def _fill(cell: types.CellType, contents: tuple[Any]) -> None:
    (cell.cell_contents,) = contents


def _cached(obj: Any, plain: Plain) -> Any:
    """``functools.lru_cache``: the cache begins empty."""
    if importable(obj):
        return NotImplemented
    told = obj.cache_parameters()
    return _cache, (obj.__wrapped__, told["maxsize"], told["typed"]), dict(obj.__dict__)


def _cache(func: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(func)


def _cached_property(obj: Any, plain: Plain) -> Any:
    state = {name: value for name, value in obj.__dict__.items() if name != "lock"}
    return _newobj, (type(obj),), state, None, None, _set_cached_property


def _set_cached_property(obj: Any, state: dict[str, Any]) -> None:
    obj.__dict__.update(state)
    if sys.version_info < (3, 12):
        obj.__dict__["lock"] = threading.RLock()


def _property(obj: property, plain: Plain) -> Any:
    parts = obj.fget, obj.fset, obj.fdel, obj.__doc__
    state = vars(obj) if hasattr(obj, "__dict__") else {}
    return (
        _made_by,
        (property, type(obj), parts),
        state or None,
        None,
        None,
        set_attributes if state else None,
    )


def _method(obj: Any, plain: Plain) -> Any:
    base = classmethod if isinstance(obj, classmethod) else staticmethod
    return _made_by, (base, type(obj), (obj.__func__,))


def _made_by(base: Any, kind: Any, parts: tuple[Any, ...]) -> Any:
    """Return a descriptor of the user's class, without calling what the user wrote."""
    made = kind.__new__(kind, *parts)
    base.__init__(made, *parts)
    return made


def _local(obj: threading.local, plain: Plain) -> Any:
    """With what this thread sees."""
    return _newobj, (type(obj),), dict(obj.__dict__), None, None, _set_local


def _set_local(obj: Any, state: dict[str, Any]) -> None:
    obj.__dict__.update(state)


def _context_var(obj: contextvars.ContextVar[Any], plain: Plain) -> Any:
    """With its default, and the value that it has here."""
    default = contextvars.Context().run(_value, obj)
    reduced = identity.bare(obj, _variable, obj.name, *default)
    now = _value(obj)
    if reduced[0] is identity.from_module or not now:
        return reduced
    return *reduced, now, None, None, _set_variable


def _value(var: contextvars.ContextVar[Any]) -> tuple[Any, ...]:
    try:
        return (var.get(),)
    except LookupError:
        return ()


def _variable(name: str, *default: Any) -> contextvars.ContextVar[Any]:
    return contextvars.ContextVar(name, **({"default": default[0]} if default else {}))


def _set_variable(var: contextvars.ContextVar[Any], value: tuple[Any]) -> None:
    if not identity.at_home(var):
        var.set(*value)


def sentinel(obj: object, plain: Plain) -> Any:
    return identity.bare(obj, object)


def _struct(obj: struct.Struct, plain: Plain) -> Any:
    return type(obj), (obj.format,)


def _new_type(obj: Any, plain: Plain) -> Any:
    told = obj.__name__, obj.__qualname__, obj.__module__, obj.__supertype__
    return _tracked(obj, _named_type, *told)


def _named_type(name: str, qualname: str, module: str, kind: Any) -> Any:
    make: Any = typing.NewType
    made = make(name, kind)
    made.__qualname__, made.__module__ = qualname, module
    return made


def _param_spec(obj: Any, plain: Plain) -> Any:
    return _tracked(obj, type(obj), obj.__name__)


def _alias(obj: Any, plain: Plain) -> Any:
    if importable(obj):
        return NotImplemented
    told = type(obj), obj.__name__, obj.__value__, obj.__type_params__
    return identity.bare(obj, _named_alias, *told)


def _named_alias(kind: Any, name: str, value: Any, params: tuple[Any, ...]) -> Any:
    return kind(name, value, type_params=params)


def _tracked(obj: Any, make: Callable[..., Any], *args: Any) -> Any:
    if importable(obj):
        return NotImplemented
    return identity.one, (identity.key_of(obj), make, args)


def _vectorize(obj: Any, plain: Plain) -> Any:
    """``numpy.vectorize`` keeps what it made of the function, for the next call."""
    state = {name: value for name, value in obj.__dict__.items() if name != "_ufunc"}
    return _newobj, (type(obj),), state, None, None, _set_vectorize


def _set_vectorize(obj: Any, state: dict[str, Any]) -> None:
    obj.__dict__.update(state, _ufunc={})


def by_name_only(obj: Any, plain: Plain) -> Any:
    """Refuse an object of compiled code whose name no other process could find it by."""
    if by_value(getattr(obj, "__module__", "")) and isinstance(obj.__reduce_ex__(4), str):
        raise PicklingError("it has no name that another process could find it by")
    return NotImplemented


def of_a_module(obj: Any, plain: Plain) -> Any:
    """Ship what cannot travel, as a lock, by the name that a module has for it."""
    home = identity.held_by_module(obj)
    if home is None:
        raise PicklingError("it works within one process")
    return home


def _key(obj: Any, plain: Plain) -> Any:
    """Ship what ``functools.cmp_to_key`` returns, of which only the collector sees the parts."""
    return functools.cmp_to_key, tuple(it for it in gc.get_referents(obj) if it is not type(obj))


def _system_random(obj: random.SystemRandom, plain: Plain) -> Any:
    return type(obj), ()


def _scanner(obj: Any, plain: Plain) -> Any:
    state = {name: value for name, value in vars(obj).items() if name != "scanner"}
    return _newobj, (type(obj),), (state, obj.scanner.flags), None, None, _set_scanner


def _set_scanner(obj: Any, told: tuple[dict[str, Any], int]) -> None:
    state, flags = told
    re.Scanner.__init__(obj, state["lexicon"], flags)  # type: ignore[attr-defined]
    obj.__dict__.update(state)


def _finalizer(obj: weakref.finalize[Any, Any], plain: Plain) -> Any:
    """Only one that has run: elsewhere one that waits would be dead, or clean up too early."""
    return of_a_module(obj, plain) if obj.alive else plain(obj)


def _temporary(obj: Any, plain: Plain) -> Any:
    """``tempfile.TemporaryDirectory``: it is removed where it was made."""
    gone = weakref.finalize.__new__(weakref.finalize)
    return _newobj, (type(obj),), {**vars(obj), "_finalizer": gone}


def _manager(obj: Any, plain: Plain) -> Any:
    """Ship what ``contextlib.contextmanager`` makes, before it is entered, to be made anew."""
    if "func" not in vars(obj):
        return NotImplemented
    return type(obj), (obj.func, obj.args, obj.kwds)


def iterator(obj: Any, plain: Plain) -> Any:
    """Where it stands; from Python 3.14 on it cannot be told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return obj.__reduce__()


def stream(obj: Any, plain: Plain) -> Any:
    """Have what is printed go to the worker's own streams."""
    for name in ("stdout", "stderr"):
        if obj is getattr(sys, name):
            return identity.from_module, ("sys", name)
    if isinstance(obj, io.TextIOWrapper) and not obj.closed and obj.writable():
        raise PicklingError("what is written would be lost")  # cloudpickle ships the text in it
    return plain(obj)


RULES: dict[type, Callable[[Any, Plain], Any]] = {
    type: reduce_class,
    enum.Enum: reduce_member,
    types.FunctionType: _function,
    types.CodeType: _code,
    types.CellType: _cell,
    types.ModuleType: module,
    property: _property,
    classmethod: _method,
    staticmethod: _method,
    functools._lru_cache_wrapper: _cached,
    functools.cached_property: _cached_property,
    weakref.ref: weak.ref,
    weakref.finalize: _finalizer,
    weakref.ProxyType: weak.proxy,
    weakref.CallableProxyType: weak.proxy,
    **dict.fromkeys(weak.CONTAINERS, weak.container),
    threading.local: _local,
    contextvars.ContextVar: _context_var,
    memoryview: buffers.view,
    struct.Struct: _struct,
    random.SystemRandom: _system_random,
    re.Scanner: _scanner,  # type: ignore[attr-defined]
    io.TextIOWrapper: stream,
    type(functools.cmp_to_key(max)): _key,
    typing.NewType: _new_type,
    typing.ParamSpec: _param_spec,
}
"""Of a type and its subclasses."""

for _name in ("TypeVarTuple", "TypeAliasType"):  # since Python 3.11 and 3.12
    if hasattr(typing, _name):
        RULES[getattr(typing, _name)] = _alias if _name == "TypeAliasType" else _param_spec

NAMED: dict[str, Callable[[Any, Plain], Any]] = {
    "numpy.vectorize": _vectorize,
    "tempfile.TemporaryDirectory": _temporary,
    "contextlib._GeneratorContextManagerBase": _manager,
    "_ctypes.PyCArrayType": buffers.array,
    "_ctypes.PyCPointerType": buffers.pointer,
    "_ctypes.PyCFuncPtrType": buffers.function,
}
"""The same, for types that may not be installed, or are no part of an interface."""
