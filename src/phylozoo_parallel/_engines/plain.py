"""
The engine for a joblib whose private parts are not as the other engines need them.

It makes one call of ``Parallel`` for each window, and uses only names that joblib exports.
Results, order, errors and the recovery of lost work are the same as on other engines. But workers
wait for the slowest chunk of each window, and an item that takes too long cannot be ended.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

from joblib import Parallel, delayed

from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import Done, Engine, WorkersLost
from phylozoo_parallel._loky import context, contract
from phylozoo_parallel._loky.start import LEAK_LIMIT, fill_streams
from phylozoo_parallel._transport.base import Call, Transport
from phylozoo_parallel._transport.processes import ToMachine, ToProcess
from phylozoo_parallel._transport.threads import InThread
from phylozoo_parallel._worker.run import Outcome

_calling = threading.Lock()
"""Held during a call: with two calls at once of different sizes, joblib waits, and warns."""

_warned = False


class PlainEngine(Engine):
    """
    Collects submitted calls, and runs them in one call of a new ``Parallel``.

    Parameters
    ----------
    kind : {"threads", "processes"}
    workers : int
    backend : joblib.parallel.ParallelBackendBase or None
        The backend of the surrounding ``joblib.parallel_config``, if joblib says which it is.
    """

    name = "Parallel"
    limits_time = True  # a flush waits for all chunks, so none is ever found to be late

    def __init__(self, kind: str, workers: int, backend: Any) -> None:
        self.workers = workers
        # joblib runs the tasks of a single worker in the caller. So it gets two workers, and a
        # window of one chunk keeps the map to one of them.
        self.window = 2 * workers if workers > 1 else 1
        self._settings: dict[str, Any] = {"n_jobs": max(workers, 2)}
        self._threads = kind == "threads"
        others = backend is not None and not context.of_processes(backend)
        self._local = not others
        if self._threads or not (others or context.is_loky(backend)):
            self._settings["backend"] = "threading" if self._threads else "loky"
        self._waiting: list[tuple[Any, Done]] = []
        _warn()

    def transport(self, func: Callable[..., Any], star: bool) -> Transport:
        """Return the transport for a map of this function, and of its chunks to these workers."""
        if self._threads:
            return InThread(func, star)
        if self._local:
            return ToProcess(func, star, os.environ.get("JOBLIB_TEMP_FOLDER"), LEAK_LIMIT)
        return ToMachine(func, star)

    def submit(self, call: Call, done: Done) -> None:
        """Keep a call for the next :meth:`flush`."""
        self._waiting.append((delayed(call[0])(*call[1]), done))

    def flush(self) -> None:
        """Run all submitted calls, and wait for all of them."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        fill_streams()
        pools.here.busy = True
        try:
            outs = self._run([call for call, _ in waiting])
        except contract.LOST:
            outs = [WorkersLost(None, {})] * len(waiting)
        finally:
            pools.here.busy = False
        for (_, done), out in zip(waiting, outs, strict=True):
            done(out)

    def _run(self, calls: list[Any]) -> list[Any]:
        parallel = Parallel(batch_size=1, pre_dispatch="all", **self._settings)
        if self._threads:
            return list(parallel(calls))
        with _calling:
            return list(parallel(calls))

    def outcome(self, out: Any) -> Outcome:
        """
        Return the outcome of a chunk.

        Raises
        ------
        WorkersLost
            The workers are gone.
        """
        if isinstance(out, WorkersLost):
            raise out
        outcome: Outcome = out
        return outcome

    def release(self) -> None:
        """Do nothing: each call opens and closes its own ``Parallel``."""


def _warn() -> None:
    """Warn once that maps are slower, and why."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"joblib {contract.VERSION} is not as this version of phylozoo-parallel knows it "
            f"({contract.missing}): maps are right, but slower and without timeout",
            RuntimeWarning,
            stacklevel=6,  # where the map is called
        )


def _forget() -> None:
    """Replace the lock in a forked child: a thread of the parent may hold it."""
    global _calling
    _calling = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
