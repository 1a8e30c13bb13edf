"""
Warnings of a worker, for the caller.

The caller's filters count in the worker: "ignore" is silent, and "error" raises there. Warnings
that pass are issued again in the caller. So each is shown once for each place, as the filters say,
and a notebook, pytest or ``logging.captureWarnings`` sees it.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from phylozoo_parallel._worker import notices

Filter = tuple[Any, ...]
"""One of ``warnings.filters``, with the name of its category if that is not built in."""

_registries: dict[str, dict[Any, Any]] = {}
"""Which warnings of a file were shown, for files whose module is not loaded in the caller."""


class Warned(NamedTuple):
    """A warning, and the place where it was issued."""

    pickled: bytes | None
    text: str
    base: type[Warning]
    """The built-in category to use if the warning cannot be pickled."""
    filename: str
    lineno: int
    module: str | None

    def plain(self) -> Warned:
        """Return the warning as it is: it can always be pickled."""
        return self

    def repeat(self) -> None:
        """Issue the warning in the caller."""
        message: Warning = self.base(self.text)
        with suppress(Exception):
            message = pickle.loads(self.pickled or b"")
        module = sys.modules.get(self.module or "")
        if module is None:
            registry = _registries.setdefault(self.filename, {})
        else:
            registry = vars(module).setdefault("__warningregistry__", {})
        where = self.filename, self.lineno, self.module
        warnings.warn_explicit(message, type(message), *where, registry)


class _Named(type):
    """The metaclass of categories that stand for a name, so that filters need no import."""

    name = ""

    def __subclasscheck__(cls, category: type) -> bool:
        return any(_name(it) == cls.name for it in category.__mro__)


def filters() -> tuple[Filter, ...]:
    """Return this process's filters, in a form that can be pickled."""
    return _travelling(tuple(_filters()))


def enter(callers: tuple[Filter, ...]) -> Callable[[], None]:
    """Use the caller's filters here; return a function that ends that."""
    global _shown
    here = warnings.catch_warnings()
    here.__enter__()  # it also makes all modules look at the filters again
    _filters()[:] = _arrived(callers)
    _shown, warnings.showwarning = warnings.showwarning, _show  # type: ignore[assignment]
    return lambda: here.__exit__(None, None, None)


_shown = warnings.showwarning
"""The function that shows warnings which belong to no chunk."""


def _show(message: Any, category: Any, filename: str, lineno: int, *file: Any) -> None:
    current = notices.current()
    if current is None:
        _shown(message, category, filename, lineno, *file)
    else:
        current.append(_warned(message, category, filename, lineno))


def _warned(message: Any, category: type[Warning], filename: str, lineno: int) -> Warned:
    pickled = None
    with suppress(Exception):
        pickled = _dumps(message)
    base = next(it for it in category.__mro__ if it.__module__ == "builtins")
    return Warned(pickled, str(message), base, filename, lineno, _module(filename, lineno))


def _dumps(message: Any) -> bytes:
    with suppress(Exception):
        return pickle.dumps(message)
    from phylozoo_parallel._shipping.pickler import dumps  # classes of a script or a notebook

    return dumps(message)


def _module(filename: str, lineno: int) -> str | None:
    """Return the name of the module whose code is running at a place."""
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_lineno == lineno and frame.f_code.co_filename == filename:
            name: str | None = frame.f_globals.get("__name__")
            return name
        frame = frame.f_back
    return None


def _filters() -> list[Any]:
    """Return the list of filters that is used; from CPython 3.14 on a context may have its own."""
    here: Any = warnings
    found: list[Any] = here._get_filters() if hasattr(here, "_get_filters") else here.filters
    return found


def _name(category: type) -> str:
    return f"{category.__module__}.{category.__qualname__}"


@lru_cache(maxsize=8)
def _travelling(filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    return tuple(
        (action, message, it if it.__module__ == "builtins" else _name(it), module, lineno)
        for action, message, it, module, lineno in filters
    )


@lru_cache(maxsize=8)
def _arrived(filters: tuple[Filter, ...]) -> list[Filter]:
    return [
        (action, message, _category(it), module, lineno)
        for action, message, it, module, lineno in filters
    ]


def _category(named: Any) -> type:
    return named if isinstance(named, type) else _Named(named, (), {"name": named})
