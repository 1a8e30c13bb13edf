"""
Choose the engine of a map.

It follows from the executor, from the surrounding ``joblib.parallel_config``, and from where the
map is called: inside a worker there is none.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import joblib

from phylozoo_parallel._engines import pools, processes
from phylozoo_parallel._engines.base import Engine
from phylozoo_parallel._engines.dask import DaskEngine
from phylozoo_parallel._engines.lists import ListEngine
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._engines.processes import ProcessEngine, ProcessPool
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._engines.threads import ThreadEngine
from phylozoo_parallel._loky import context, contract
from phylozoo_parallel._loky.context import Context
from phylozoo_parallel._loky.start import THREADS
from phylozoo_parallel._worker import process
from phylozoo_parallel._worker.run import here
from phylozoo_parallel.errors import PhyloZooValueError


def worker_count(kind: str, wanted: int | None, within: Context | None = None) -> int:
    """
    Return how many workers a map would use if it started here and now.

    Parameters
    ----------
    kind : {"threads", "processes"}
    wanted : int or None
        As given to the executor: None leaves it to joblib's context, -1 means every core.
    within : tuple or None
        That context: its backend and its number of workers. None looks for it.
    """
    backend, count = within or context.surrounding()
    if wanted is None:
        wanted = count if count is not None else (1 if kind == "threads" else -1)
    if wanted > 0:
        return wanted
    if wanted == 0:
        raise PhyloZooValueError(
            "n_jobs=0 of the surrounding joblib.parallel_config has no meaning; "
            "give it a positive integer or -1"
        )
    if kind == "processes" and not context.in_memory(backend):
        return int(joblib.effective_n_jobs(wanted))
    return max(1, int(joblib.cpu_count()) + 1 + wanted)


def open_engine(kind: str, wanted: int | None) -> Engine | None:
    """
    Return the engine for a map that starts here and now.

    Parameters
    ----------
    kind : {"threads", "processes"}
    wanted : int or None
        As for :func:`worker_count`.

    Returns
    -------
    Engine or None
        None if the map has to run sequentially: inside a worker, or where joblib has no processes.
    """
    if context.alone():
        _warn_of_one_process()
        return None
    backend, _ = within = context.surrounding()
    if _inside_worker(kind, wanted, backend) or _inside_joblib():
        return None
    workers = worker_count(kind, wanted, within)
    pools.here.busy = True
    try:
        if not contract.missing and kind == "processes" and context.of_processes(backend):
            processes.make_room(backend)
        with pools.lock:
            if not contract.missing:
                return _engine(kind, workers, backend)
    except contract.Missing:
        pass
    finally:
        pools.here.busy = False
    from phylozoo_parallel._engines.plain import PlainEngine  # rarely used

    return PlainEngine(kind, workers, backend)


def warm_up(kind: str, wanted: int | None, modules: Sequence[str]) -> bool:
    """Start workers and make them import modules, without waiting; return whether they do it."""
    if kind == "processes":
        processes.begin_with(modules)
    engine = open_engine(kind, wanted)
    if engine is None:
        return False
    try:
        return engine.warm_up(modules)
    finally:
        engine.release()


def _engine(kind: str, workers: int, backend: Any) -> Engine | None:
    if kind == "threads":
        return ThreadEngine(workers)
    if context.of_processes(backend):
        return ProcessEngine(workers, backend)
    return _on_context(backend, workers)


@lru_cache(maxsize=1)
def _warn_of_one_process() -> None:
    if os.environ.get("JOBLIB_MULTIPROCESSING", "1").strip() == "0":  # otherwise joblib has warned
        warnings.warn(
            "JOBLIB_MULTIPROCESSING=0 switches joblib's workers off: maps run one item after the "
            "other in this one process, without time limits and isolation",
            RuntimeWarning,
            stacklevel=4,
        )


def close_idle(kind: str, workers: int) -> None:
    """Close the pool that an executor's maps would use, unless a map uses it now."""
    pools.close_idle(workers if kind == "threads" else kind)


def _on_context(backend: Any, workers: int) -> Engine | None:
    """Return the engine on a backend of the user's; None if joblib runs its tasks in the caller."""
    pool = pools.of_contexts.get(id(backend))
    if pool is None:
        pool = (ProcessPool if context.is_loky(backend) else Pool)(backend, workers)
    if context.in_place(pool.backend):  # joblib has replaced the backend by its sequential one
        return None
    pool.kept = False
    pools.of_contexts[id(backend)] = pool
    if not context.streams(backend):
        return ListEngine(pool, workers)
    return (DaskEngine if context.is_dask(backend) else StreamingEngine)(pool, workers)


def _inside_worker(kind: str, wanted: int | None, backend: Any) -> bool:
    # In a worker process, other threads than the one that runs items work for an item, too.
    nested = here.kind is not None or process.ready is not None or context.nested(backend)
    if kind == "threads" and wanted is not None:
        in_process = here.kind == "process"
        in_process = in_process or (here.kind is None and bool(multiprocessing.parent_process()))
        return nested and not in_process
    return nested or (kind == "processes" and multiprocessing.current_process().daemon)


def _inside_joblib() -> bool:
    """
    Return whether this thread is inside joblib, which cannot be entered again.

    The garbage collector runs finalizers in any thread at any time, and one may start a map.
    """
    return getattr(pools.here, "busy", False) or threading.current_thread().name in THREADS
