"""A ``Parallel`` that is held open and never called: it takes tasks one by one."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from joblib import Parallel

from phylozoo_parallel._loky import context, contract, dask, one_call
from phylozoo_parallel._loky.start import fill_streams


class Opened:
    """
    An open ``Parallel``.

    Parameters
    ----------
    backend : joblib.parallel.ParallelBackendBase
        The backend to use; joblib may replace it by another.
    workers : int

    Attributes
    ----------
    backend : joblib.parallel.ParallelBackendBase
    workers : int
        Number of workers.
    local : bool
        Whether the workers are on this machine.

    Raises
    ------
    contract.Missing
        joblib or loky is not as maps need it.
    """

    def __init__(self, backend: Any, workers: int) -> None:
        # prefer and require would let joblib choose another backend. A task is one chunk: joblib
        # must not put several into a batch.
        self.parallel = Parallel(
            backend=backend, prefer=None, require=None, batch_size=1, pre_dispatch="all"
        )
        contract.check("Parallel", self.parallel)
        self.open(workers)

    def open(self, workers: int) -> None:
        """Open the ``Parallel``; it may have been open before."""
        fill_streams()
        # joblib runs the tasks of a single worker in the caller; with two, they run in workers.
        self.parallel.n_jobs = max(workers, 2)
        self._enter()
        try:
            self._look()
            if context.is_dask(self.backend):
                dask.ask_workers(self.backend.client)
                dask.collect_singly(self.backend)
        except (contract.Missing, ImportError):
            self.parallel.__exit__(None, None, None)
            raise
        self.backend.start_call()

    def _enter(self) -> None:
        self.parallel.__enter__()

    def _look(self) -> None:
        """Take what is needed of the backend."""
        self.backend = backend = self.parallel._backend
        contract.check("its backend", backend)
        if context.is_loky(backend):
            contract.check("its open backend of processes", backend)
            self._look_at_executor()
        # Before joblib 1.6, some backends have only `apply_async`, and a `submit` that warns.
        own = getattr(type(backend), "submit", None)
        base = getattr(contract.parallel, "ParallelBackendBase", None)
        warns = own is getattr(base, "submit", None)
        self._name = "apply_async" if warns else "submit"
        # Ray's backend is a subclass of joblib's for multiprocessing.
        self.local = context.is_loky(backend) or type(backend) is contract.MultiprocessingBackend
        self.workers = backend.effective_n_jobs(self.parallel.n_jobs)
        nested = backend.get_nested_backend()
        contract.fits("BatchedCalls", contract.BatchedCalls, [], nested)
        kinds: dict[Any, Any] = {
            contract.LokyBackend: one_call.in_process,
            contract.ThreadingBackend: one_call.in_thread,
        }
        joblibs = contract.parallel
        known = contract.optional("joblib.parallel", joblibs)
        known = known and "backend" in joblibs.default_parallel_config
        self._one_call = kinds.get(type(backend)) if known else None
        self._nested = pickle.dumps(nested, pickle.HIGHEST_PROTOCOL) if self._one_call else b""
        contract.fits(self._name, getattr(backend, self._name), self.task(), callback=None)

    def _look_at_executor(self) -> None:
        executor = self.executor
        lacks = contract.lacking("its executor", executor)
        # An executor that has just broken drops its parts; that is no change of loky.
        if lacks and not getattr(getattr(executor, "_flags", None), "shutdown", False):
            raise contract.miss(lacks)
        contract.fits("its executor's terminate", executor.terminate, kill_workers=True)

    def task(self, *calls: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
        """Return the task that runs these calls in a worker, in the form the backend takes."""
        if self._one_call and len(calls) == 1:
            return self._one_call(*calls[0], self._nested)
        # Each task gets a nested backend of its own, which holds the pool of an item's Parallel.
        nested = self.backend.get_nested_backend()
        return contract.BatchedCalls([(*call, {}) for call in calls], nested)

    def submit(self, task: Any, callback: Callable[[Any], None]) -> Any:
        """Run a task in a worker; the callback is called with the argument of :meth:`outcome`."""
        return getattr(self.backend, self._name)(task, callback=callback)

    def outcome(self, out: Any) -> Any:
        """Return what the only call of a task returned."""
        return self.backend.retrieve_result_callback(out)[0]

    def use(self, threads: Any) -> None:
        """Use other worker threads in the place of joblib's."""
        contract.check("its backend of threads", self.backend)
        self.threads = self.backend._pool = threads

    @property
    def executor(self) -> Any:
        """Loky's executor."""
        return self.backend._workers

    def adopt(self, executor: Any) -> None:
        """Run tasks on another of loky's executors, which joblib uses by now."""
        self.backend._workers = executor

    @property
    def folder(self) -> str | None:
        """The folder that the user's joblib settings name for temporary files, if any."""
        folder: str | None = getattr(self.parallel, "_backend_kwargs", {}).get("temp_folder")
        return folder or os.environ.get("JOBLIB_TEMP_FOLDER")

    @staticmethod
    def function(task: Any) -> Any:
        """Return the function that a task calls first; None if the task is not one of ours."""
        calls: Any = getattr(task, "items", ()) if isinstance(task, contract.BatchedCalls) else ()
        return calls[0][0] if calls else one_call.function(task)

    def close(self) -> None:
        """Close the ``Parallel``; joblib's worker processes stay for its next one."""
        self.backend.stop_call()
        self.parallel.__exit__(None, None, None)


def examine() -> str:
    """Check all that maps need, without starting a worker; return what is missing, or ""."""
    if not contract.missing:
        with suppress(contract.Missing):
            context.settings(None)
            threads = Opened(contract.ThreadingBackend(nesting_level=0), 2)
            contract.check("its backend of threads", threads.backend)
            threads.close()
            Opened(contract.LokyBackend(nesting_level=0), 2).close()
    return contract.missing
