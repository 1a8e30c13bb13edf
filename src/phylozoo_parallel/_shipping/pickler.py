"""
The pickler: cloudpickle's, with the rules of the table of kinds.

cloudpickle ships functions and classes of ``__main__`` with their definition. This pickler also
ships what cloudpickle drops (a function's file, an enumeration's fields, a class's slots) and some
objects that cloudpickle refuses. For an object that cannot be shipped, its error says what to do.
"""

from __future__ import annotations

import io
import logging
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle

from phylozoo_parallel._shipping import kinds, proxies, refused
from phylozoo_parallel._shipping.classes import set_class
from phylozoo_parallel._shipping.identity import by_value
from phylozoo_parallel.errors import Refused

_Rule = Callable[[Any, proxies.Plain], Any]

_HEAP = 1 << 9
"""Flag of a type that was made by Python code (``Py_TPFLAGS_HEAPTYPE``)."""

_CUSTOM = frozenset(
    [
        "__reduce__",
        "__reduce_ex__",
        "__getstate__",
        "__setstate__",
        "__getnewargs__",
        "__getnewargs_ex__",
    ]
)
"""Methods with which a class itself defines how its objects are pickled."""

_log = logging.getLogger("phylozoo_parallel")


_Base: Any = getattr(cloudpickle, "Pickler", pickle.Pickler)


class Pickler(_Base):  # type: ignore[misc]
    """Cloudpickle's pickler with a rule for each kind of object."""

    seen: Any = None
    """The object that is being pickled, or was when pickling failed."""
    _rules: dict[type, _Rule | None] | None = None
    """The rules of the types that it has met."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how to ship an object; see :mod:`kinds`."""
        self.seen = obj
        kind = type(obj)
        if self._rules is None:
            self._rules = {}
        try:
            rule = self._rules[kind]
        except KeyError:
            rule = self._rules[kind] = _rule(kind)
        return NotImplemented if rule is None else rule(obj, self._plain)

    def _plain(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and type(obj) in self.dispatch_table:
            return self.dispatch_table[type(obj)](obj)
        return reduced


def dumps(
    value: Any, protocol: int | None = None, buffer_callback: Callable[[Any], Any] | None = None
) -> bytes:
    """
    Pickle a value, as ``cloudpickle.dumps`` does.

    Raises
    ------
    Refused
        The value cannot be pickled; the message says which object in it, and what to do instead.
    """
    if not _rules_fit():
        plain: bytes = cloudpickle.dumps(value, protocol, buffer_callback)
        return plain
    with io.BytesIO() as file:
        pickler = Pickler(file, protocol=protocol, buffer_callback=buffer_callback)
        try:
            pickler.dump(value)
        except Exception as error:
            if isinstance(error.__cause__, RecursionError):  # the value is nested too deeply
                raise
            raise Refused(refused.explain(value, pickler.seen, error)) from error
        return file.getvalue()


def _rule(kind: type) -> _Rule | None:
    if kind is object:
        return kinds.sentinel
    for base in kind.__mro__:
        rule = kinds.RULES.get(base) or kinds.NAMED.get(f"{base.__module__}.{base.__qualname__}")
        if rule is not None:
            return rule
    if kind in (type(sys.stdout), type(sys.stderr)):
        return kinds.stream
    if kind in Pickler.dispatch_table:
        return None
    if kind.__module__ == "itertools":
        return kinds.iterator
    own = {name: it for base in reversed(kind.__mro__[:-1]) for name, it in _defined(base)}
    if refused.kind_of(kind):
        return None if own.keys() & _CUSTOM else kinds.of_a_module
    compiled = [base for base in kind.__mro__[:-1] if not base.__flags__ & _HEAP]
    if not own.keys() & _CUSTOM and compiled in ([], [dict], [list]):
        if own.keys() & {"__getattr__", "__getattribute__"}:
            return proxies.proxy
        return None if compiled or by_value(kind.__module__) else proxies.stateless
    named = isinstance(own.get("__module__", ""), str) and not kind.__dictoffset__
    return None if named else kinds.by_name_only


def _defined(kind: type) -> Iterable[tuple[str, Any]]:
    """Return what a class itself defines; what ``dict`` and ``list`` define does not matter."""
    return () if kind in (dict, list) else vars(kind).items()


_fit: bool | None = None


def _rules_fit() -> bool:
    """Return whether cloudpickle is as the rules need it; warn if it is not."""
    global _fit
    if _fit is None:
        _fit = True
        try:
            _try_out()
        except Exception as error:
            _fit = False
            _log.warning(
                "cloudpickle %s is not as this version of phylozoo-parallel knows it (%s: %s):"
                " functions are shipped by its own rules, and tracebacks may lack lines of source",
                cloudpickle.__version__,
                type(error).__name__,
                error,
            )
    return _fit


_TRIAL = """
import enum
def outer():
    n = 1
    return lambda: n
func = outer()
class Slotted:
    __slots__ = ("x",)
class Member(enum.Enum):
    A = 1
"""


def _try_out() -> None:
    """Ship what the rules need cloudpickle for; raise if it no longer works as they expect."""
    main = {"__name__": "__main__"}
    exec(compile(_TRIAL, "<trial>", "exec"), main)
    with io.BytesIO() as file:
        pickler = Pickler(file, protocol=5)
        pickler.dump(main["func"])
        func = pickle.loads(file.getvalue())
        if func() != 1 or func.__code__.co_filename != "<trial>":
            raise ValueError("a function comes out changed")
        for name in "Slotted", "Member":
            if pickler.reducer_override(main[name])[-1] is not set_class:
                raise ValueError("a class travels in another way")
