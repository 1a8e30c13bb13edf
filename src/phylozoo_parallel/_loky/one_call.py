"""
One call as a task for worker processes: what joblib's ``BatchedCalls`` does, in less time.

joblib pickles its nested backend anew with each task, and each task has a ``parallel_config`` of
its own. Here both are kept: in the caller the pickle, in the worker the settings.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

_entered: dict[bytes, tuple[Any, Any]] = {}
"""In a worker: the settings around a task, and in it, by the pickled nested backend."""


class OneCall:
    """
    A call inside joblib's nested backend, as in ``BatchedCalls``: a list of what it returns.

    Parameters
    ----------
    func : callable
    args : tuple
    nested : bytes
        The nested backend and its number of workers, pickled.
    """

    __slots__ = "args", "func", "nested"

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], nested: bytes) -> None:
        self.func, self.args, self.nested = func, args, nested

    def __reduce__(self) -> Any:
        return OneCall, (self.func, self.args, self.nested)

    def __call__(self) -> list[Any]:
        from joblib.parallel import _backend, default_parallel_config

        around = getattr(_backend, "config", default_parallel_config)
        before, inside = _entered.get(self.nested) or (None, None)
        if before is not around:
            inside = _inside(self.nested)
            _entered[self.nested] = around, inside
        _backend.config = inside
        try:
            return [self.func(*self.args)]
        finally:
            _backend.config = around


def _inside(nested: bytes) -> Any:
    """Return the settings that joblib makes of a nested backend."""
    from joblib.parallel import _backend, parallel_config

    backend, n_jobs = pickle.loads(nested)
    with parallel_config(backend=backend, n_jobs=n_jobs):
        return _backend.config
