"""Which engine a map gets: from the executor, joblib's context, and where it is called."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from typing import Any

import joblib
import joblib.parallel
from joblib._parallel_backends import LokyBackend, SequentialBackend
from joblib.parallel import default_parallel_config

from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import Engine
from phylozoo_parallel._engines.dask import DaskEngine
from phylozoo_parallel._engines.lists import ListEngine
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._engines.processes import ProcessEngine, ProcessPool, no_context
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._engines.threads import ThreadEngine
from phylozoo_parallel._loky.start import THREADS
from phylozoo_parallel._worker.run import here
from phylozoo_parallel.errors import PhyloZooValueError


def worker_count(kind: str, wanted: int | None, within: Any = None) -> int:
    """
    Tell how many workers a map started here and now would use.

    Parameters
    ----------
    kind : {"threads", "processes"}
    wanted : int or None
        As given to the executor: None leaves it to joblib's context, -1 is all.
    within : tuple or None
        That context: its backend and worker count.
    """
    context, count = within or _context()
    if wanted is None:
        wanted = count if count is not None else (1 if kind == "threads" else -1)
    if wanted > 0:
        return wanted
    if wanted == 0:
        raise PhyloZooValueError(
            "n_jobs=0 of the surrounding joblib.parallel_config has no meaning; "
            "give it a positive integer or -1"
        )
    if kind == "processes" and not _in_memory(context):
        return int(context.effective_n_jobs(wanted))
    return max(1, int(joblib.cpu_count()) + 1 + wanted)


def open_engine(kind: str, wanted: int | None) -> Engine | None:
    """
    Find the engine for a map that starts here and now.

    Parameters
    ----------
    kind : {"threads", "processes"}
    wanted : int or None
        As for :func:`worker_count`.

    Returns
    -------
    Engine or None
        None inside a worker, where maps run sequentially.
    """
    context, _ = within = _context()
    if _inside_worker(kind, wanted, context) or _inside_joblib():
        return None
    workers = worker_count(kind, wanted, within)
    pools.here.busy = True
    try:
        with pools.lock:
            if kind == "threads":
                return ThreadEngine(workers)
            if type(context) is LokyBackend or _in_memory(context):
                return ProcessEngine(workers, context)
            return _on_context(context, workers)
    finally:
        pools.here.busy = False


def close_idle(kind: str, workers: int) -> None:
    """Close the pool of worker threads of this size, or our hold on joblib's pool, if unused."""
    pools.close_idle(workers if kind == "threads" else kind)


def _on_context(context: Any, workers: int) -> Engine | None:
    """Return the engine for a backend of the user's; None where joblib runs it in place."""
    pool = pools.lent.get(id(context))
    if pool is None:
        pool = (ProcessPool if isinstance(context, LokyBackend) else Pool)(context, workers)
    if isinstance(pool.backend, SequentialBackend):  # joblib fell back to it
        return None
    pool.kept = False
    pools.lent[id(context)] = pool
    dask = sys.modules.get("joblib._dask")
    if dask is not None and isinstance(context, dask.DaskDistributedBackend):
        return DaskEngine(pool, workers)
    return (StreamingEngine if context.supports_return_generator else ListEngine)(pool, workers)


def _context() -> tuple[Any, int | None]:
    """Return the backend and the worker count of the surrounding ``joblib.parallel_config``."""
    config = getattr(joblib.parallel._backend, "config", default_parallel_config)
    if config is default_parallel_config and joblib.parallel.DEFAULT_BACKEND == "loky":
        return no_context
    active: tuple[Any, int | None] = joblib.parallel.get_active_backend()
    return active


def _in_memory(backend: Any) -> bool:
    return getattr(backend, "uses_threads", False) or getattr(backend, "supports_sharedmem", False)


def _inside_worker(kind: str, wanted: int | None, context: Any) -> bool:
    nested = here.kind is not None or (context.nesting_level or 0) > 0
    if kind == "threads" and wanted is not None:
        in_process = here.kind == "process"
        in_process = in_process or (here.kind is None and bool(multiprocessing.parent_process()))
        return nested and not in_process
    return nested or (kind == "processes" and multiprocessing.current_process().daemon)


def _inside_joblib() -> bool:
    """Tell whether a finalizer that the garbage collector runs has come upon joblib at work."""
    return getattr(pools.here, "busy", False) or threading.current_thread().name in THREADS
