"""
A task of one call: it does what joblib's ``BatchedCalls`` does, in less time.

joblib pickles its nested backend again for each task, and opens a ``parallel_config`` for each.
Here both are kept: the pickle in the caller, and the settings in the worker.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import joblib

from phylozoo_parallel._loky import answers


class _Inside(dict[str, Any]):
    """
    joblib's settings inside a task; each ``Parallel`` there gets a nested backend of its own.

    A backend holds the pool of the ``Parallel`` that uses it. Items that run at the same time must
    not share it, nor must an item find that of an earlier one, which has left a ``Parallel`` open.
    """

    def __init__(self, settings: dict[str, Any], nested: Any) -> None:
        super().__init__(settings)
        self._nested = nested

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        return copy.copy(found) if found is self._nested else found

    def copy(self) -> _Inside:  # for a context inside the task
        """Return the same settings."""
        return _Inside(self, self._nested)


_entered: dict[bytes, tuple[Any, _Inside | None]] = {}
"""By the pickled nested backend: the settings outside a task and inside it."""


def in_process(func: Callable[..., Any], args: tuple[Any, ...], nested: bytes) -> partial[Any]:
    """
    Return a task that makes a call inside joblib's nested backend; it returns a list of the result.

    Parameters
    ----------
    func : callable
    args : tuple
    nested : bytes
        The nested backend and its number of workers, pickled.
    """
    return partial(_answer, func, args, nested)  # a partial is pickled by C code


def in_thread(func: Callable[..., Any], args: tuple[Any, ...], nested: bytes) -> partial[Any]:
    """Return the same for a worker thread."""
    return partial(_call, func, args, nested)


def function(task: Any) -> Any:
    """Return the function that a task of a process calls; None for a task of another kind."""
    return task.args[0] if isinstance(task, partial) and task.func is _answer else None


def _answer(func: Callable[..., Any], args: tuple[Any, ...], nested: bytes) -> list[Any]:
    if not _entered:
        answers.pickle_fast()
    answers.ours = result = _call(func, args, nested)
    return result


def _call(func: Callable[..., Any], args: tuple[Any, ...], nested: bytes) -> list[Any]:
    joblibs: Any = joblib.parallel
    here = joblibs._backend
    around = getattr(here, "config", joblibs.default_parallel_config)
    before, inside = _entered.get(nested, (None, None))
    if before is not around:
        inside = _inside(nested)
        _entered[nested] = around, inside
    here.config = inside
    try:
        return [func(*args)]
    finally:
        here.config = around


def _inside(nested: bytes) -> _Inside:
    """Return the settings that joblib makes from a nested backend."""
    backend, n_jobs = pickle.loads(nested)
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        joblibs: Any = joblib.parallel
        settings = joblibs._backend.config
        return _Inside(settings, settings["backend"])
