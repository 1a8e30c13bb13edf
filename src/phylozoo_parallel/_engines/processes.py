"""On joblib's pool of worker processes (loky), which is opened anew when workers are lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress
from functools import partial
from multiprocessing.util import Finalize
from typing import Any

import joblib.parallel
from joblib._parallel_backends import LokyBackend
from joblib.parallel import BatchedCalls, default_parallel_config

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import Done, WorkersLost
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._loky import direct, exit, failure, start
from phylozoo_parallel._shipping import board
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Call
from phylozoo_parallel._worker.process import run_in_process

no_context: tuple[Any, int | None] = (LokyBackend(nesting_level=0), None)
"""What joblib would make anew for every map where no context surrounds it."""


class ProcessPool(Pool):
    """joblib's worker processes, started with the settings that joblib itself would use."""

    def __init__(self, backend: Any, workers: int, settings: Any = None) -> None:
        self.settings = settings
        super().__init__(backend, workers)

    def open(self, workers: int) -> None:
        """Open the pool, and have its workers start."""
        super().open(workers)
        if type(self.backend) is LokyBackend:
            # An empty task has the workers start while this process does other things.
            executor = self.backend._workers
            start.hash_alike(executor)
            with suppress(*failure.LOST), direct.sending(executor, _ours):
                self.backend.submit(self.task())
            exit.leave_with(executor)

    def _enter(self) -> None:
        start.resize(start.current(), self.parallel.n_jobs)
        with start.deaf_to_interrupts():
            super()._enter()


class ProcessEngine(StreamingEngine):
    """
    On joblib's pool of worker processes.

    Parameters
    ----------
    workers : int
    context : joblib.parallel.ParallelBackendBase
        Of the surrounding ``joblib.parallel_config``.
    """

    limits_time = True

    def __init__(self, workers: int, context: Any) -> None:
        super().__init__(_pool(workers, context), workers)
        self._ailing: Any = None

    def submit(self, call: Call, done: Done) -> None:
        """
        Have a call run in a worker.

        Raises
        ------
        WorkersLost
            The pool is broken; a new one is open by now.
        """
        pool = self._pool
        with pools.lock:  # nobody else opens the pool anew: it has to be this executor's task
            executor = pool.backend._workers

            def landed(future: Any) -> None:
                if isinstance(future.exception(), failure.LOST):
                    # The others of a broken pool still run: it is the moment to see who died.
                    failure.when_gone(executor, partial(done, _lost(executor)))
                else:
                    done(future)

            pools.here.busy = True
            try:
                with direct.sending(executor, _ours):
                    pool.backend.submit(pool.task(call), callback=landed)
            except failure.LOST:
                loss = _lost(executor)
                pool.open(executor._max_workers)
                raise loss from None
            finally:
                pools.here.busy = False

    def give_up(self, chunk: Chunk, progress: Progress) -> bool:
        """End the worker that runs a chunk, unless it has ended by itself."""
        process = self._pool.backend._workers._processes.get(progress.pid)
        if process is not None and process.exitcode is None:
            chunk.late = True
            with suppress(ProcessLookupError):
                os.kill(progress.pid, signal.SIGKILL)
        return True

    def end_workers(self) -> None:
        """End all workers at once."""
        exit.end(self._pool.backend._workers)

    def look_after(self) -> None:
        """Free loky from waiting for a worker that died while it sent its answer."""
        executor: Any = self._pool.backend._workers
        workers = list(executor._processes.values())
        died = not executor._flags.shutdown and any(it.exitcode is not None for it in workers)
        if died and self._ailing is executor:
            failure.free(executor)
        self._ailing = executor if died else None  # joblib may be about to notice


def _ours(task: Any) -> bool:
    """Tell whether a task is a chunk of ours; one of others may need more than pickle."""
    calls: Any = task.items if isinstance(task, BatchedCalls) else ()
    return bool(calls) and calls[0][0] is run_in_process


def _lost(executor: Any) -> WorkersLost:
    """Tell which workers of a broken executor died; its tasks know before it ends the others."""
    loss: WorkersLost | None = getattr(executor, "loss", None)
    if loss is None:  # at the first question, when the others still run
        page = board.own()
        loss = WorkersLost(failure.ended(executor), page.latest() if page else {})
        executor.loss = loss
    return loss


def _pool(workers: int, context: Any) -> Pool:
    """Share joblib's own pool of processes, and resize it only when nobody uses it."""
    settings = _settings(context)
    current = start.current()
    open_now = current is not None and not current._flags.shutdown
    busy = open_now and current._pending_work_items
    size = current._max_workers if busy else max(workers, 2)
    pool: Any = pools.kept.get("processes")
    if pool is None or pool.settings != settings:
        if pool is not None and not pool.users:
            pool.close()
        elif pool is not None:
            pool.kept = False
        own = LokyBackend(nesting_level=0, **settings["backend"])
        if pool is None and multiprocessing.parent_process() is not None:
            # A child of multiprocessing joins its own children before loky ends them.
            Finalize(None, exit.terminate, exitpriority=100)
        pools.kept["processes"] = pool = ProcessPool(own, size, settings)
    elif not open_now:
        pool.open(size)  # without closing it, which would take it from the maps that use it
    elif not pool.users and (pool.backend._workers is not current or current._max_workers != size):
        pool.close()
        pool.open(size)
    return pool  # type: ignore[no-any-return]


def _settings(context: Any) -> dict[str, Any]:
    """Whatever of joblib's context joblib itself hands to the workers it starts."""
    config = getattr(joblib.parallel._backend, "config", default_parallel_config)
    settings = {key: config[key] for key in ("max_nbytes", "mmap_mode", "temp_folder", "verbose")}
    its = context if type(context) is LokyBackend else no_context[0]
    settings["backend"] = its.backend_kwargs | {"inner_max_num_threads": its.inner_max_num_threads}
    return settings
