"""What joblib's surrounding context says: which engine, how many workers, how they start."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import joblib

from phylozoo_parallel._loky import contract

Context = tuple[Any, int | None]
"""joblib's backend, or None where joblib does not tell, and a worker count."""

none: Context = (None, None)
"""What joblib would make anew for every map where no context surrounds it."""
with suppress(contract.Missing):
    contract.fits("LokyBackend", contract.LokyBackend, nesting_level=0)
    _loky = contract.LokyBackend(nesting_level=0)
    contract.check("its backend", _loky)
    none = (_loky, None)


def _config() -> Any:
    """Return all settings of the surrounding context, or the default ones."""
    default = getattr(contract.parallel, "default_parallel_config", None)
    return getattr(getattr(contract.parallel, "_backend", None), "config", default)


def _told() -> bool:
    """Tell whether a context is seen without asking joblib for its backend."""
    outside = _config()
    with joblib.parallel_config(verbose=1):
        return contract.optional("joblib.parallel", contract.parallel) and _config() is not outside


_seen = _told()


def alone() -> bool:
    """Tell whether joblib runs everything in this process, threads included."""
    helpers = sys.modules.get("joblib._multiprocessing_helpers")
    return getattr(helpers, "mp", helpers) is None and helpers is not None


def surrounding() -> Context:
    """Return the backend and the worker count of the surrounding ``joblib.parallel_config``."""
    joblibs: Any = contract.parallel
    if _seen and _config() is joblibs.default_parallel_config and joblibs.DEFAULT_BACKEND == "loky":
        return none
    ask = getattr(joblibs, "get_active_backend", lambda: none)
    active: Context = ask()
    return active


def of_processes(backend: Any) -> bool:
    """Tell whether the context leaves processes to loky."""
    return type(backend) is contract.LokyBackend or in_memory(backend)


def in_memory(backend: Any) -> bool:
    """Tell whether the context is one of threads, or of no workers at all."""
    shared = getattr(backend, "supports_sharedmem", False)
    return backend is None or getattr(backend, "uses_threads", shared) or shared


def is_loky(backend: Any) -> bool:
    """Tell whether a backend is loky's, or made of it."""
    return isinstance(backend, contract.LokyBackend)


def in_place(backend: Any) -> bool:
    """Tell whether a backend has no workers."""
    return isinstance(backend, contract.SequentialBackend)


def nested(backend: Any) -> bool:
    """Tell whether this is inside a worker of joblib's."""
    return bool(getattr(backend, "nesting_level", 0))


def is_dask(backend: Any) -> bool:
    """Tell whether a backend is joblib's for Dask, whose tasks can be cancelled."""
    dask: Any = sys.modules.get("joblib._dask")
    known = getattr(dask, "DaskDistributedBackend", ())
    return isinstance(backend, known) and contract.optional("its backend of Dask", backend)


def streams(backend: Any) -> bool:
    """Tell whether a backend takes tasks one at a time."""
    return bool(getattr(backend, "supports_return_generator", False))


def settings(backend: Any) -> dict[str, Any]:
    """Whatever of joblib's context joblib itself hands to the workers it starts."""
    config = _config() if _seen else {}
    found = {key: config.get(key) for key in ("max_nbytes", "mmap_mode", "temp_folder", "verbose")}
    its = backend if type(backend) is contract.LokyBackend else none[0]
    contract.check("its backend of processes", its)
    found["backend"] = getattr(its, "backend_kwargs", {}) | {
        "inner_max_num_threads": its.inner_max_num_threads
    }
    return found
