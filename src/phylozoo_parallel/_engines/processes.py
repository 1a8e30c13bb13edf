"""The engine for joblib's pool of worker processes (loky), which is reopened after a loss."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.util import Finalize
from time import monotonic, sleep
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import WATCH, Done, WorkersLost
from phylozoo_parallel._engines.limits import Watch
from phylozoo_parallel._engines.pools import Pool
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._loky import (
    context,
    contract,
    direct,
    exit,
    failure,
    new_workers,
    start,
    waiting,
)
from phylozoo_parallel._shipping import board
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Call
from phylozoo_parallel._worker import lifeline
from phylozoo_parallel._worker.begin import begin
from phylozoo_parallel._worker.process import run_in_process
from phylozoo_parallel._worker.run import Outcome
from phylozoo_parallel._worker.warm import warm_up

NAP = 0.005
"""Seconds between two looks whether tasks still run."""

_modules: dict[str, None] = {}
"""The modules that workers import when they start, in the order of the requests."""

_watches: list[Watch] = []
"""The watches of all pools of processes, because these share their workers."""


class ProcessPool(Pool):
    """joblib's worker processes, started with the settings that joblib itself would use."""

    def __init__(self, backend: Any, workers: int, settings: Any = None) -> None:
        self.settings = settings
        super().__init__(backend, workers)
        self.watches = _watches

    def open(self, workers: int) -> None:
        """Open the pool, and start its workers."""
        super().open(workers)
        if type(self.backend) is contract.LokyBackend:
            self._make_ours(self.executor)

    def follow(self) -> Any:
        """
        Return the executor to send a task to: if joblib has replaced ours, the one it uses now.

        It does so for the user's own ``Parallel``, or for a map of ours, with other settings. loky
        would pass our tasks on to it, and nobody would look after the workers that run them.
        """
        if not start.is_open(self.executor) and start.is_open(now := start.current()):
            with start.uninterrupted():
                self.adopt(now)
                self._make_ours(now)
        return self.executor

    def _make_ours(self, executor: Any) -> None:
        """Start an executor's workers, and see to it that they end when they have to."""
        start.hold(executor)
        start.hash_alike(executor)
        lifeline.others = _equip(executor)
        with suppress(*contract.LOST), direct.sending(executor, self.is_ours):
            new_workers.start(executor, lambda: self.submit(self.task(), lambda out: None))
        lifeline.guard(start.pids(executor))
        exit.leave_with(executor)
        exit.kill_thoroughly(executor)
        waiting.wait_fast(executor)

    def _enter(self) -> None:
        executor = start.current()
        if start.is_open(executor):  # joblib may start some of its workers in super()._enter()
            _equip(executor)
        start.resize(executor, self.parallel.n_jobs)
        with start.interrupts_blocked(), start.at_hand(executor):
            super()._enter()

    def is_ours(self, task: Any) -> bool:
        """Return whether a task is a chunk of ours; others may need more than pickle."""
        return self.function(task) is run_in_process


class ProcessEngine(StreamingEngine):
    """
    Runs chunks on joblib's pool of worker processes.

    Parameters
    ----------
    workers : int
    backend : joblib.parallel.ParallelBackendBase
        The backend of the surrounding ``joblib.parallel_config``.
    """

    limits_time = True

    def __init__(self, workers: int, backend: Any) -> None:
        self._pool: ProcessPool
        workers = min(workers, start.MOST)
        super().__init__(_pool(workers, backend), workers)
        self._suspect: Any = None

    def submit(self, call: Call, done: Done) -> None:
        """
        Run a call in a worker.

        Raises
        ------
        WorkersLost
            The pool is broken; a new one has been opened.
        """
        pool = self._pool
        with pools.lock:  # so that no other thread reopens the pool before the task is submitted
            executor = pool.executor
            pools.here.busy = True
            try:
                with start.submit_lock(executor):  # nor joblib replaces its executor meanwhile
                    executor = pool.follow()
                    # Ctrl-C may end the wait for the lock, but not interrupt what follows.
                    with start.uninterrupted(), direct.sending(executor, pool.is_ours):
                        pool.submit(pool.task(call), partial(_landed, executor, done))
                lifeline.guard(start.pids(executor))
            except contract.LOST:
                loss = _lost(executor)
                pool.open(start.size(executor))
                raise loss from None
            except OSError as error:  # a worker cannot be replaced, and nobody hears of the task
                # Without a number it is none of the system's: a signal's handler has raised it.
                if error.errno is None or not start.pids(executor):
                    raise
                executor.loss = WorkersLost({}, {})
                failure.let_break(executor)
                pool.open(start.size(executor))
                raise executor.loss from None
            finally:
                pools.here.busy = False

    def outcome(self, out: Any) -> Outcome:
        """Return the outcome of a chunk; if workers were lost, find out whether new ones start."""
        if isinstance(out, WorkersLost) and out.died_at_start and out.reason is None:
            out.reason = new_workers.trial(self._pool.executor)
        return super().outcome(out)

    def warm_up(self, modules: Sequence[str]) -> bool:
        """Make idle workers import modules, without waiting; return whether they do it."""
        if type(self._pool.backend) is not contract.LokyBackend:
            return False  # other backends start their workers with the first task
        call = warm_up, (tuple(sys.path), tuple(modules))
        executor = self._pool.executor
        begun = set(modules) <= set(getattr(executor, "modules", ()))
        with suppress(WorkersLost):
            for _ in range(0 if begun or start.busy(executor) else self.workers):
                self.submit(call, lambda out: None)
        return True

    def give_up(self, chunk: Chunk, progress: Progress) -> bool:
        """End the worker that runs a chunk, unless it has ended by itself before."""
        chunk.late = chunk.late or exit.end_one(self._pool.executor, progress.pid)
        return True

    def end_workers(self) -> None:
        """End all workers at once."""
        exit.end(self._pool.executor)

    def look_after(self, starving: bool) -> None:
        """Free loky's thread if it waits for a dead worker, and do its work if it has died."""
        super().look_after(starving)
        with pools.lock:
            executor = self._pool.executor
            _mend(executor)
        died = failure.has_dead(executor)
        if died and self._suspect is executor:
            failure.free(executor)
        lifeline.guard(start.pids(executor))  # loky may have replaced some
        self._suspect = executor if died else None  # first give loky a second to notice


class _Newcomer(ProcessEngine):
    """A map that waits for workers of a pool of which it will send them no chunk."""

    def __init__(self, pool: ProcessPool) -> None:
        StreamingEngine.__init__(self, pool, pool.workers)
        self._suspect = None


def make_room(backend: Any) -> None:
    """
    Wait until joblib can replace its workers, if a map in this context needs others.

    joblib itself waits until they have run all their tasks, and lets nobody send any meanwhile. So
    one that hangs would stop all maps for ever. Here time limits are kept. It is called first
    without the lock, so that this map alone waits for the tasks that there are, and then with the
    lock, for those that others have sent since.
    """
    pool, executor = pools.kept.get("processes"), start.current()
    if not (isinstance(pool, ProcessPool) and start.is_open(executor) and start.busy(executor)):
        return
    if not context.restarts(pool.settings, context.settings(backend), start.size(executor)):
        return
    tasks, newcomer, looked_after = start.tasks(executor), _Newcomer(pool), monotonic()
    try:
        while tasks & start.tasks(executor):
            sleep(NAP)
            if monotonic() - looked_after >= WATCH:
                newcomer.look_after(starving=True)
                looked_after = monotonic()
    finally:
        newcomer.release()


def begin_with(modules: Sequence[str]) -> None:
    """Make all workers that start from now on import modules first."""
    _modules.update(dict.fromkeys(modules))


def _equip(executor: Any) -> tuple[int, ...]:
    if not hasattr(executor, "modules"):
        executor.modules = tuple(_modules) if not start.pids(executor) else ()
    return new_workers.equip(executor, begin, os.getpid(), lifeline.own(), tuple(_modules))


def _landed(executor: Any, done: Done, future: Any) -> None:
    if isinstance(future.exception(), contract.LOST):
        # The other workers of a broken pool still run, so now it is visible who died.
        failure.when_gone(executor, partial(done, _lost(executor)))
    else:
        done(future)


def _lost(executor: Any) -> WorkersLost:
    """Return which workers of a broken executor died."""
    loss: WorkersLost | None = getattr(executor, "loss", None)
    if loss is None:  # the first call: loky has not ended the other workers yet
        page = board.own()
        loss = WorkersLost(failure.ended(executor), page.latest() if page else {})
        loss = vars(executor).setdefault("loss", loss)  # loky's thread may have been first
    return loss


def _mend(executor: Any) -> None:
    """Break up an executor whose manager thread has died; no worker is to blame for the loss."""
    if failure.has_stopped(executor):
        executor.loss = WorkersLost({}, {})
        failure.break_up(executor)


def _pool(workers: int, backend: Any) -> ProcessPool:
    """Return joblib's own pool of processes; it is resized only while no map uses it."""
    make_room(backend)
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
            # A child process of multiprocessing waits for its own children before loky ends them.
            Finalize(None, exit.terminate, exitpriority=100)
        pools.kept["processes"] = pool = ProcessPool(own, size, settings)
    elif not open_now:
        pool.open(size)  # it is not closed before, because maps may use it
    elif not pool.users and (pool.executor is not current or start.size(current) != size):
        pool.close()
        pool.open(size)
    return pool  # type: ignore[no-any-return]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watches.clear)  # they are the parent's
