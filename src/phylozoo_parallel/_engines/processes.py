"""On joblib's pool of worker processes (loky), which is opened anew when workers are lost."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.util import Finalize
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import Done, WorkersLost
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._loky import context, contract, direct, exit, failure, newborn, start
from phylozoo_parallel._shipping import board
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Call
from phylozoo_parallel._worker import lifeline
from phylozoo_parallel._worker.begin import begin
from phylozoo_parallel._worker.process import run_in_process
from phylozoo_parallel._worker.run import Outcome
from phylozoo_parallel._worker.warm import warm_up

_modules: dict[str, None] = {}
"""What workers import when they start, in the order in which it was asked for."""


class ProcessPool(Pool):
    """joblib's worker processes, started with the settings that joblib itself would use."""

    def __init__(self, backend: Any, workers: int, settings: Any = None) -> None:
        self.settings = settings
        super().__init__(backend, workers)

    def open(self, workers: int) -> None:
        """Open the pool, and have its workers start."""
        super().open(workers)
        if type(self.backend) is contract.LokyBackend:
            executor = self.executor
            start.hold(executor)
            start.hash_alike(executor)
            lifeline.others = _equip(executor)
            with suppress(*contract.LOST), direct.sending(executor, self.is_ours):
                newborn.start(executor, lambda: self.submit(self.task(), lambda out: None))
            lifeline.guard(start.pids(executor))
            exit.leave_with(executor)
            exit.kill_thoroughly(executor)

    def _enter(self) -> None:
        executor = start.current()
        if start.is_open(executor):  # joblib may start some of its workers below
            _equip(executor)
        start.resize(executor, self.parallel.n_jobs)
        with start.interrupts_blocked(), start.at_hand(executor):
            super()._enter()

    def is_ours(self, task: Any) -> bool:
        """Tell whether a task is a chunk of ours; one of others may need more than pickle."""
        return self.function(task) is run_in_process


class ProcessEngine(StreamingEngine):
    """
    On joblib's pool of worker processes.

    Parameters
    ----------
    workers : int
    backend : joblib.parallel.ParallelBackendBase
        Of the surrounding ``joblib.parallel_config``.
    """

    limits_time = True

    def __init__(self, workers: int, backend: Any) -> None:
        self._pool: ProcessPool
        workers = min(workers, start.MOST)
        super().__init__(_pool(workers, backend), workers)
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
            executor = pool.executor
            _mend(executor)

            def landed(future: Any) -> None:
                if isinstance(future.exception(), contract.LOST):
                    # The others of a broken pool still run: it is the moment to see who died.
                    failure.when_gone(executor, partial(done, _lost(executor)))
                else:
                    done(future)

            pools.here.busy = True
            try:
                with direct.sending(executor, pool.is_ours):
                    pool.submit(pool.task(call), landed)
                lifeline.guard(start.pids(executor))
            except contract.LOST:
                loss = _lost(executor)
                pool.open(start.size(executor))
                raise loss from None
            finally:
                pools.here.busy = False

    def outcome(self, out: Any) -> Outcome:
        """Return what a worker returned; of workers that were lost find out whether any starts."""
        if isinstance(out, WorkersLost) and out.unborn and out.reason is None:
            out.reason = newborn.trial(self._pool.executor)
        return super().outcome(out)

    def warm_up(self, modules: Sequence[str]) -> bool:
        """Have idle workers import modules, and tell whether they do, without waiting for it."""
        if type(self._pool.backend) is not contract.LokyBackend:
            return False  # others start workers with their first task
        call = warm_up, (tuple(sys.path), tuple(modules))
        executor = self._pool.executor
        begun = set(modules) <= set(getattr(executor, "modules", ()))
        with suppress(WorkersLost):
            for _ in range(0 if begun or start.busy(executor) else self.workers):
                self.submit(call, lambda out: None)
        return True

    def give_up(self, chunk: Chunk, progress: Progress) -> bool:
        """End the worker that runs a chunk, unless it has ended by itself."""
        chunk.late = exit.end_one(self._pool.executor, progress.pid)
        return True

    def end_workers(self) -> None:
        """End all workers at once."""
        exit.end(self._pool.executor)

    def look_after(self) -> None:
        """Free loky from a wait for a worker that died while it answered, or do its work."""
        with pools.lock:
            executor = self._pool.executor
            _mend(executor)
        died = failure.has_dead(executor)
        if died and self._ailing is executor:
            failure.free(executor)
        lifeline.guard(start.pids(executor))  # loky may have replaced some
        self._ailing = executor if died else None  # joblib may be about to notice


def begin_with(modules: Sequence[str]) -> None:
    """Have all workers that start from now on import modules first."""
    _modules.update(dict.fromkeys(modules))


def _equip(executor: Any) -> tuple[int, ...]:
    if not hasattr(executor, "modules"):
        executor.modules = tuple(_modules) if not start.pids(executor) else ()
    return newborn.equip(executor, begin, os.getpid(), lifeline.own(), tuple(_modules))


def _lost(executor: Any) -> WorkersLost:
    """Tell which workers of a broken executor died; its tasks know before it ends the others."""
    loss: WorkersLost | None = getattr(executor, "loss", None)
    if loss is None:  # at the first question, when the others still run
        page = board.own()
        loss = WorkersLost(failure.ended(executor), page.latest() if page else {})
        executor.loss = loss
    return loss


def _mend(executor: Any) -> None:
    """Break up an executor whose thread has died: its tasks are lost, and no worker is to blame."""
    if failure.has_stopped(executor):
        executor.loss = WorkersLost({}, {})
        failure.break_up(executor)


def _pool(workers: int, backend: Any) -> ProcessPool:
    """Share joblib's own pool of processes, and resize it only when nobody uses it."""
    settings = context.settings(backend)
    current = start.current()
    if current is not None:
        _mend(current)
    open_now = start.is_open(current)
    size = start.size(current) if open_now and start.busy(current) else max(workers, 2)
    pool: Any = pools.kept.get("processes")
    if pool is None or pool.settings != settings:
        if pool is not None and not pool.users:
            pool.close()
        elif pool is not None:
            pool.kept = False
        own = contract.LokyBackend(nesting_level=0, **settings["backend"])
        if pool is None and multiprocessing.parent_process() is not None:
            # A child of multiprocessing joins its own children before loky ends them.
            Finalize(None, exit.terminate, exitpriority=100)
        pools.kept["processes"] = pool = ProcessPool(own, size, settings)
    elif not open_now:
        pool.open(size)  # without closing it, which would take it from the maps that use it
    elif not pool.users and (pool.executor is not current or start.size(current) != size):
        pool.close()
        pool.open(size)
    return pool  # type: ignore[no-any-return]
