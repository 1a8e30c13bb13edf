"""
The table of kinds of objects that cloudpickle refuses or changes, and how to ship each.

A rule is a function of the object and of cloudpickle's ``reducer_override``. It returns what
``__reduce__`` would return, or NotImplemented to leave the object to pickle. The other functions
here rebuild objects when they are unpickled. Pickles name them, so they cannot be local functions.
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
    # cloudpickle from 3.1.3 on replaces the name of the file, which tracebacks need:
    # https://github.com/cloudpipe/cloudpickle/pull/560
    make, args = plain(obj)
    return _named, (make, args, obj.co_filename)


def _named(make: Callable[..., types.CodeType], args: tuple[Any, ...], filename: str) -> Any:
    code = make(*args)
    return code if code.co_filename == filename else code.replace(co_filename=filename)


def _function(obj: types.FunctionType, plain: Plain) -> Any:
    """Ship a function with its own cells, so that a cell stays shared between two functions."""
    reduced = plain(obj)
    if reduced is NotImplemented or obj.__closure__ is None:
        return reduced
    make, args, (state, slots), *rest = reduced
    return make, (*args[:-1], obj.__closure__), (state, {**slots, "__closure__": None}), *rest


def _cell(obj: types.CellType, plain: Plain) -> Any:
    """Ship a cell first and then its contents, because they may hold the function of the cell."""
    try:
        return types.CellType, (), (obj.cell_contents,), None, None, _fill
    except ValueError:  # the cell is empty
        return types.CellType, ()


def _fill(cell: types.CellType, contents: tuple[Any]) -> None:
    (cell.cell_contents,) = contents


def _cached(obj: Any, plain: Plain) -> Any:
    """Ship a function with ``functools.lru_cache``; in a worker its cache begins empty."""
    if importable(obj):
        return NotImplemented
    given = obj.cache_parameters()
    return _cache, (obj.__wrapped__, given["maxsize"], given["typed"]), dict(obj.__dict__)


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
    """Return a descriptor of the user's class, without calling the user's own methods."""
    made = kind.__new__(kind, *parts)
    base.__init__(made, *parts)
    return made


def _local(obj: threading.local, plain: Plain) -> Any:
    """Ship a ``threading.local`` with the values that this thread sees."""
    return _newobj, (type(obj),), dict(obj.__dict__), None, None, _set_local


def _set_local(obj: Any, state: dict[str, Any]) -> None:
    obj.__dict__.update(state)


def _context_var(obj: contextvars.ContextVar[Any], plain: Plain) -> Any:
    """Ship a context variable with its default and its present value."""
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
    if not identity.made_here(var):
        var.set(*value)


def sentinel(obj: object, plain: Plain) -> Any:
    """Ship a plain ``object()``, which has to stay one object: code compares it with ``is``."""
    return identity.bare(obj, object)


def _struct(obj: struct.Struct, plain: Plain) -> Any:
    return type(obj), (obj.format,)


def _new_type(obj: Any, plain: Plain) -> Any:
    parts = obj.__name__, obj.__qualname__, obj.__module__, obj.__supertype__
    return _tracked(obj, _named_type, *parts)


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
    parts = type(obj), obj.__name__, obj.__value__, obj.__type_params__
    return identity.bare(obj, _named_alias, *parts)


def _named_alias(kind: Any, name: str, value: Any, params: tuple[Any, ...]) -> Any:
    return kind(name, value, type_params=params)


def _tracked(obj: Any, make: Callable[..., Any], *args: Any) -> Any:
    if importable(obj):
        return NotImplemented
    return identity.one, (identity.key_of(obj), make, args)


def _vectorize(obj: Any, plain: Plain) -> Any:
    """Ship a ``numpy.vectorize`` without the compiled function that it keeps for the next call."""
    state = {name: value for name, value in obj.__dict__.items() if name != "_ufunc"}
    return _newobj, (type(obj),), state, None, None, _set_vectorize


def _set_vectorize(obj: Any, state: dict[str, Any]) -> None:
    obj.__dict__.update(state, _ufunc={})


def by_name_only(obj: Any, plain: Plain) -> Any:
    """Refuse an object of compiled code that pickles to a name which no other process can find."""
    if by_value(getattr(obj, "__module__", "")) and isinstance(obj.__reduce_ex__(4), str):
        raise PicklingError("it has no name that another process could find it by")
    return NotImplemented


def of_a_module(obj: Any, plain: Plain) -> Any:
    """Ship an object that cannot be pickled, such as a lock, as an attribute of its module."""
    home = identity.held_by_module(obj)
    if home is None:
        raise PicklingError("it works within one process")
    return home


def _key(obj: Any, plain: Plain) -> Any:
    """Ship a result of ``functools.cmp_to_key``; only the garbage collector shows its function."""
    return functools.cmp_to_key, tuple(it for it in gc.get_referents(obj) if it is not type(obj))


def _system_random(obj: random.SystemRandom, plain: Plain) -> Any:
    return type(obj), ()


def _scanner(obj: Any, plain: Plain) -> Any:
    """Ship a ``re.Scanner`` by its lexicon, from which it is made again."""
    state = {name: value for name, value in vars(obj).items() if name != "scanner"}
    return _newobj, (type(obj),), (state, obj.scanner.flags), None, None, _set_scanner


def _set_scanner(obj: Any, content: tuple[dict[str, Any], int]) -> None:
    state, flags = content
    re.Scanner.__init__(obj, state["lexicon"], flags)  # type: ignore[attr-defined]
    obj.__dict__.update(state)


def _finalizer(obj: weakref.finalize[Any, Any], plain: Plain) -> Any:
    """Ship only a finalizer that has run: a copy of another one could clean up too early."""
    return of_a_module(obj, plain) if obj.alive else plain(obj)


def _temporary(obj: Any, plain: Plain) -> Any:
    """Ship a ``tempfile.TemporaryDirectory``; only the process that made it removes it."""
    gone = weakref.finalize.__new__(weakref.finalize)
    return _newobj, (type(obj),), {**vars(obj), "_finalizer": gone}


def _manager(obj: Any, plain: Plain) -> Any:
    """Ship a context manager of ``contextlib.contextmanager`` that was not entered yet."""
    if "func" not in vars(obj):
        return NotImplemented
    return type(obj), (obj.func, obj.args, obj.kwds)


def iterator(obj: Any, plain: Plain) -> Any:
    """Ship an iterator of ``itertools`` at its present position; Python 3.14 no longer can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return obj.__reduce__()


def stream(obj: Any, plain: Plain) -> Any:
    """Ship stdout and stderr as those of the worker."""
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
"""The rule for each type and its subclasses."""

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
"""The same by name, for types that may not be installed or are not part of an interface."""
