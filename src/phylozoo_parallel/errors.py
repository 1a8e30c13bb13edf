"""The exceptions, and how PhyloZoo's classes of the same names catch them.

``except PhyloZooValueError`` has to catch our exception, also where the name is PhyloZoo's own
class. An ``except`` clause can only name that class once PhyloZoo is loaded. So a subclass of both
is made when an error is raised (or arrives from a worker), and importing this package never
imports PhyloZoo.
"""

from __future__ import annotations

import pickle
import reprlib
import sys
import traceback
from typing import Any

_common_subclasses: dict[tuple[type, type], type] = {}


class _AlsoPhyloZoos(Exception):
    """Base of exceptions that PhyloZoo's class of the same name catches, too."""

    def __new__(cls, *args: Any) -> _AlsoPhyloZoos:
        theirs = getattr(sys.modules.get("phylozoo.utils.exceptions"), cls.__name__, None)
        if theirs is not None and not issubclass(cls, theirs):
            pair = (cls, theirs)
            namespace = {"__module__": cls.__module__, "__doc__": cls.__doc__}
            cls = _common_subclasses.setdefault(pair, type(cls.__name__, pair, namespace))
        return super().__new__(cls, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        # The other process may have PhyloZoo loaded or not: it makes its own subclass.
        return globals()[type(self).__name__], self.args, self.__dict__ or None


class PhyloZooValueError(_AlsoPhyloZoos, ValueError):
    """
    An argument has the right type and a wrong value.

    It is a ``ValueError``. Where PhyloZoo is loaded it is also PhyloZoo's ``PhyloZooValueError``.
    """


class PhyloZooTypeError(_AlsoPhyloZoos, TypeError):
    """
    An argument has the wrong type.

    It is a ``TypeError``. Where PhyloZoo is loaded it is also PhyloZoo's ``PhyloZooTypeError``.
    """


def wrong_type(value: Any, name: str, wanted: str, advice: str = "") -> PhyloZooTypeError:
    """Return the error for an argument of the wrong type."""
    got = f"{short(value)} of type {type(value).__name__}"
    return PhyloZooTypeError(f"{name} must be {wanted}, got {got}{advice}")


class WorkerTraceback(Exception):
    """The text of the traceback in the worker; the cause of an item's exception."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Refused(pickle.PicklingError):
    """An object cannot be pickled; the message says which one, and what to do instead."""


def noted(error: BaseException, note: str) -> None:
    """Add a note to an exception, from CPython 3.11 on."""
    if hasattr(error, "add_note"):
        notes = [*getattr(error, "__notes__", ()), note]
        # The exception's own may refuse (a frozen dataclass).
        BaseException.__setattr__(error, "__notes__", notes)


def placed(error: BaseException) -> BaseException:
    """Return an exception in the form that may stand in the place of a result."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("func raised StopIteration")  # as a generator would raise it (PEP 479)
    raised.__cause__ = error
    for note in getattr(error, "__notes__", ()):  # they say which item it was
        noted(raised, note)
    return raised


def short(value: Any) -> str:
    """Return a short repr of any object, also of one whose own ``repr`` fails."""
    try:
        return reprlib.repr(value)
    except Exception:  # reprlib goes by the class's name: a user's class "list" is no list
        return object.__repr__(value)


def line(error: BaseException) -> str:
    """Return an exception's type and message, as in the last line of a traceback."""
    if isinstance(error, Refused):
        return str(error)
    return "".join(traceback.format_exception_only(type(error), error)).strip()
