"""The exceptions, and their tie to PhyloZoo's.

``except PhyloZooValueError`` has to catch ours whichever class it names. An ``except``
clause can only name PhyloZoo's class once PhyloZoo is loaded, so the tie is made when an
error is raised (or arrives from a worker), and importing this package never imports PhyloZoo.
"""

from __future__ import annotations

import pickle
import reprlib
import sys
import traceback
from typing import Any

_tied_classes: dict[tuple[type, type], type] = {}


class _Tied(Exception):
    """Makes instances of the subclass that PhyloZoo's class of the same name catches too."""

    def __new__(cls, *args: Any) -> _Tied:
        theirs = getattr(sys.modules.get("phylozoo.utils.exceptions"), cls.__name__, None)
        if theirs is not None and not issubclass(cls, theirs):
            pair = (cls, theirs)
            namespace = {"__module__": cls.__module__, "__doc__": cls.__doc__}
            cls = _tied_classes.setdefault(pair, type(cls.__name__, pair, namespace))
        return super().__new__(cls, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        # The other process may have PhyloZoo loaded or not: it ties the class anew.
        return globals()[type(self).__name__], self.args, self.__dict__ or None


class PhyloZooValueError(_Tied, ValueError):
    """
    An argument has the right type and a wrong value.

    It is a ``ValueError``, and where PhyloZoo is loaded also its ``PhyloZooValueError``.
    """


class PhyloZooTypeError(_Tied, TypeError):
    """
    An argument has the wrong type.

    It is a ``TypeError``, and where PhyloZoo is loaded also its ``PhyloZooTypeError``.
    """


def wrong_type(value: Any, name: str, wanted: str, advice: str = "") -> PhyloZooTypeError:
    """Return the error for an argument of the wrong type."""
    got = f"{short(value)} of type {type(value).__name__}"
    return PhyloZooTypeError(f"{name} must be {wanted}, got {got}{advice}")


class WorkerTraceback(Exception):
    """The traceback of an item's exception as its worker saw it, as text; the exception's cause."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Refused(pickle.PicklingError):
    """An object cannot be pickled; the message says which, and what to do instead."""


def placed(error: BaseException) -> BaseException:
    """Return an exception as it may stand in the place of a result."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("func raised StopIteration")  # as where it is raised (PEP 479)
    raised.__cause__ = error
    return raised


def short(value: Any) -> str:
    """Return a short repr of anything, also of what has none."""
    try:
        return reprlib.repr(value)
    except Exception:  # its own, or reprlib's taking its class for the built-in of that name
        return object.__repr__(value)


def line(error: BaseException) -> str:
    """Return the last part of an exception's traceback: its type and message."""
    if isinstance(error, Refused):
        return str(error)
    return "".join(traceback.format_exception_only(type(error), error)).strip()
