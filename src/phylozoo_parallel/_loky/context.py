"""The surrounding ``joblib.parallel_config``: its backend, number of workers, and settings."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import joblib

from phylozoo_parallel._loky import contract

Context = tuple[Any, int | None]
"""joblib's backend (None if joblib does not say which it is) and a number of workers."""

none: Context = (None, None)
"""The context without a ``parallel_config``; kept, because joblib would make it for every map."""
with suppress(contract.Missing):
    contract.fits("LokyBackend", contract.LokyBackend, nesting_level=0)
    _loky = contract.LokyBackend(nesting_level=0)
    contract.check("its backend", _loky)
    contract.check("its backend of processes", _loky)
    none = (_loky, None)


def _config() -> Any:
    """Return all settings of the surrounding context, or joblib's defaults."""
    default = getattr(contract.parallel, "default_parallel_config", None)
    return getattr(getattr(contract.parallel, "_backend", None), "config", default)


def _can_see() -> bool:
    """Return whether :func:`_config` sees a context: this is faster than asking for its backend."""
    outside = _config()
    with joblib.parallel_config(verbose=1):
        return contract.optional("joblib.parallel", contract.parallel) and _config() is not outside


_sees = _can_see()


def alone() -> bool:
    """Return whether joblib runs everything in the caller: it uses no processes and no threads."""
    helpers = sys.modules.get("joblib._multiprocessing_helpers")
    return getattr(helpers, "mp", helpers) is None and helpers is not None


def surrounding() -> Context:
    """Return the backend and number of workers of the surrounding ``joblib.parallel_config``."""
    joblibs: Any = contract.parallel
    if _sees and _config() is joblibs.default_parallel_config and joblibs.DEFAULT_BACKEND == "loky":
        return none
    ask = getattr(joblibs, "get_active_backend", lambda: none)
    active: Context = ask()
    return active


def of_processes(backend: Any) -> bool:
    """Return whether processes are loky's in this context: it names no other kind of processes."""
    return type(backend) is contract.LokyBackend or in_memory(backend)


def in_memory(backend: Any) -> bool:
    """Return whether a backend has threads, or no workers at all."""
    shared = getattr(backend, "supports_sharedmem", False)
    return backend is None or getattr(backend, "uses_threads", shared) or shared


def is_loky(backend: Any) -> bool:
    """Return whether a backend is loky's, or a subclass of it."""
    return isinstance(backend, contract.LokyBackend)


def in_place(backend: Any) -> bool:
    """Return whether a backend is joblib's sequential one."""
    return isinstance(backend, contract.SequentialBackend)


def nested(backend: Any) -> bool:
    """Return whether this process or thread is a worker of joblib."""
    return bool(getattr(backend, "nesting_level", 0))


def is_dask(backend: Any) -> bool:
    """Return whether a backend is joblib's for Dask, whose tasks can be cancelled."""
    dask: Any = sys.modules.get("joblib._dask")
    known = getattr(dask, "DaskDistributedBackend", ())
    return isinstance(backend, known) and contract.optional("its backend of Dask", backend)


def streams(backend: Any) -> bool:
    """Return whether a backend takes tasks one by one, and not only whole calls."""
    return bool(getattr(backend, "supports_return_generator", False))


def settings(backend: Any) -> dict[str, Any]:
    """Return the settings of the context that joblib itself passes to the workers it starts."""
    config = _config() if _sees else {}
    found = {key: config.get(key) for key in ("max_nbytes", "mmap_mode", "temp_folder", "verbose")}
    own = backend if type(backend) is contract.LokyBackend else none[0]
    if own is not none[0]:
        contract.check("its backend of processes", own)
    found["backend"] = getattr(own, "backend_kwargs", {}) | {
        "inner_max_num_threads": own.inner_max_num_threads
    }
    return found


def restarts(before: dict[str, Any], after: dict[str, Any], workers: int) -> bool:
    """Return whether joblib ends its workers and starts others, between two :func:`settings`."""
    return before != after and _of_workers(before, workers) != _of_workers(after, workers)


def _of_workers(settings: dict[str, Any], workers: int) -> tuple[Any, ...]:
    """Return the settings that joblib gives to workers when they start."""
    backend: Any = contract.LokyBackend(nesting_level=0, **settings["backend"])
    environment = backend.inner_max_num_threads
    if contract.optional("its backend of processes", backend):
        environment = backend._prepare_worker_env(n_jobs=workers)
    return settings["max_nbytes"], settings["mmap_mode"], backend.backend_kwargs, environment
