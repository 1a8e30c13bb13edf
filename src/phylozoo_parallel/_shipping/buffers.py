"""How to ship views of memory, and the types that ctypes makes on demand."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pickle import PickleBuffer, PicklingError
from typing import Any

from phylozoo_parallel._shipping.classes import reduce_class
from phylozoo_parallel._shipping.identity import importable


def view(obj: memoryview, plain: Callable[[Any], Any]) -> Any:
    """Ship a view with its format and in C order; cloudpickle would ship only the bytes."""
    form: Any = obj.format
    try:
        blank = memoryview(bytearray(obj.itemsize)).cast(form)
    except ValueError:
        raise PicklingError(f"only NumPy knows its format {form!r}") from None
    if not obj.nbytes:
        if obj.ndim > 1:
            raise PicklingError("it is empty")
        return _none, (blank.obj, form, obj.readonly)
    data = PickleBuffer(obj) if obj.c_contiguous else bytearray(obj.tobytes())
    return _cast, (data, form, obj.shape, obj.readonly)


def _none(blank: bytearray, form: Any, readonly: bool) -> memoryview:
    """Return an empty view, which ``cast`` cannot make."""
    whole = memoryview(blank).cast(form)[:0]
    return whole.toreadonly() if readonly else whole


def _cast(data: Any, form: Any, shape: Any, readonly: bool) -> memoryview:
    whole = memoryview(data).cast("B")
    if form != "B" or len(shape) != 1:
        whole = whole.cast(form, shape)
    return whole.toreadonly() if readonly else whole


def array(obj: Any, plain: Callable[[Any], Any]) -> Any:
    """Ship a type such as ``ctypes.c_int * 3``; in the worker ctypes returns its own."""
    kind, length = getattr(obj, "_type_", None), getattr(obj, "_length_", -1)
    made: Any = operator.mul(kind, length) if length >= 0 else None
    return (operator.mul, (kind, length)) if made is obj else reduce_class(obj, plain)


def pointer(obj: Any, plain: Callable[[Any], Any]) -> Any:
    """Ship a type such as ``ctypes.POINTER(ctypes.c_int)``."""
    import ctypes

    kind = getattr(obj, "_type_", None)
    made = kind is not None and ctypes.POINTER(kind) is obj
    return (ctypes.POINTER, (kind,)) if made else reduce_class(obj, plain)


def function(obj: Any, plain: Callable[[Any], Any]) -> Any:
    """Ship a type such as ``ctypes.CFUNCTYPE(ctypes.c_int)``, or one of ``PYFUNCTYPE``."""
    import ctypes

    if not importable(obj) and hasattr(obj, "_argtypes_"):
        for make in (ctypes.CFUNCTYPE, ctypes.PYFUNCTYPE):
            parts = (obj._restype_, *obj._argtypes_)
            if make(*parts) is obj:
                return make, parts
    return reduce_class(obj, plain)
