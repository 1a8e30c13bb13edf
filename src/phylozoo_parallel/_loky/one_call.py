"""
A task of one call for worker processes: it does what joblib's ``BatchedCalls`` does, in less time.

joblib pickles its nested backend again for each task, and opens a ``parallel_config`` for each.
Here both are kept: the pickle in the caller, and the settings in the worker.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from phylozoo_parallel._loky import answers

_entered: dict[bytes, tuple[Any, Any]] = {}
"""In a worker, by the pickled nested backend: the settings outside a task and inside it."""


def one_call(func: Callable[..., Any], args: tuple[Any, ...], nested: bytes) -> partial[Any]:
    """
    Return a task that makes a call inside joblib's nested backend; it returns a list of the result.

    Parameters
    ----------
    func : callable
    args : tuple
    nested : bytes
        The nested backend and its number of workers, pickled.
    """
    return partial(_call, func, args, nested)  # a partial is pickled by C code


def function(task: Any) -> Any:
    """Return the function that a task calls; None for a task of another kind."""
    return task.args[0] if isinstance(task, partial) and task.func is _call else None


def _call(func: Callable[..., Any], args: tuple[Any, ...], nested: bytes) -> list[Any]:
    from joblib.parallel import _backend, default_parallel_config

    around = getattr(_backend, "config", default_parallel_config)
    before, inside = _entered.get(nested) or (None, None)
    if before is not around:
        if not _entered:
            answers.pickle_fast()
        inside = _inside(nested)
        _entered[nested] = around, inside
    _backend.config = inside
    try:
        answers.ours = result = [func(*args)]
        return result
    finally:
        _backend.config = around


def _inside(nested: bytes) -> Any:
    """Return the settings that joblib makes from a nested backend."""
    from joblib.parallel import _backend, parallel_config

    backend, n_jobs = pickle.loads(nested)
    with parallel_config(backend=backend, n_jobs=n_jobs):
        return _backend.config
