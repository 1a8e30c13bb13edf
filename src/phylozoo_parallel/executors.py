"""The three executors."""

from __future__ import annotations

from collections.abc import Sequence

from phylozoo_parallel import _options
from phylozoo_parallel.executor import Executor


class SequentialExecutor(Executor):
    """
    Runs each item in the caller's thread when its result is asked for, like the built-in ``map``.

    For debugging, and for work that is too small to share. The `chunksize` of a call is checked
    but has no effect; the ``_unordered`` methods do the same as the others.

    Parameters
    ----------
    progress : bool or str, optional
        Whether to show a progress bar (default False), or the bar's description.

    Raises
    ------
    PhyloZooTypeError
        `progress` is neither a boolean nor a string.
    ImportError
        `progress` is wanted and tqdm is not installed.
    """

    def __init__(self, *, progress: bool | str = False) -> None:
        self._options = _options.options(None, 1, None, progress)

    @property
    def n_jobs(self) -> int:
        """Always 1: the caller runs all items."""
        return 1


class _WorkerExecutor(Executor):
    """What the two executors with workers share; they differ in `_kind` alone."""

    def __init__(
        self,
        n_jobs: int | None = None,
        *,
        chunksize: int | None = None,
        retries: int = 1,
        timeout: float | None = None,
        progress: bool | str = False,
    ) -> None:
        self._wanted = _options.worker_count(n_jobs)
        self._options = _options.options(chunksize, retries, timeout, progress)

    @property
    def n_jobs(self) -> int:
        """Number of workers that a map would use if it started here and now."""
        if self._wanted is not None and self._wanted > 0:
            return self._wanted
        from phylozoo_parallel._engines import choose

        return choose.worker_count(self._kind, self._wanted)

    def _warm_up_workers(self, modules: Sequence[str]) -> bool:
        from phylozoo_parallel._engines import choose

        return choose.warm_up(self._kind, self._wanted, modules)

    def close(self) -> None:
        """
        Release the workers that this executor's maps have used, unless a map still uses them.

        Calling this is never required, and the executor can be used again afterwards. Worker
        threads end. Worker processes belong to joblib, which keeps them for the next call.
        """
        from phylozoo_parallel._engines import choose

        choose.close_idle(self._kind, self.n_jobs)


class ThreadingExecutor(_WorkerExecutor):
    """
    Runs items in worker threads of ``joblib.Parallel``, which share the caller's memory.

    For input and output, and for code that releases the global interpreter lock.

    Parameters
    ----------
    n_jobs : int or None, optional
        Number of worker threads; -1 means every available core. None (default) takes the number of
        the surrounding ``joblib.parallel_config``, or 1 without one.
    chunksize : int or None, optional
        Number of items that are sent to a worker together, for calls that do not give it. None
        (default) lets the library choose.
    retries : int, optional
        Has no effect: a thread cannot die without its process. It is accepted because
        :class:`ParallelConfig` gives the same arguments to threads and processes.
    timeout : float or None, optional
        Seconds that an item may run; None (default) for no limit. The thread of an item that takes
        longer is left behind.
    progress : bool or str, optional
        Whether to show a progress bar (default False), or the bar's description.

    Raises
    ------
    PhyloZooValueError
        `n_jobs` is below 1 and not -1, or another argument is out of its range.
    PhyloZooTypeError
        An argument has the wrong type.
    ImportError
        `progress` is wanted and tqdm is not installed.
    """

    _kind = "threads"


class MultiprocessingExecutor(_WorkerExecutor):
    """
    Runs items in the worker processes of ``joblib.Parallel``, which stay up between calls.

    Inside a ``joblib.parallel_config`` that names another backend of processes or machines, such
    as Dask, the items run there.

    Parameters
    ----------
    n_jobs : int or None, optional
        Number of worker processes; -1 means every available core. None (default) takes the number
        of the surrounding ``joblib.parallel_config``, or every available core without one.
    chunksize : int or None, optional
        Number of items that are sent to a worker together, for calls that do not give it. None
        (default) lets the library choose.
    retries : int, optional
        How often an item may run again after its worker process died while running it (default
        1).
    timeout : float or None, optional
        Seconds that an item may run; None (default) for no limit. The worker process of an item
        that takes longer is killed.
    progress : bool or str, optional
        Whether to show a progress bar (default False), or the bar's description.

    Raises
    ------
    PhyloZooValueError
        `n_jobs` is below 1 and not -1, or another argument is out of its range.
    PhyloZooTypeError
        An argument has the wrong type.
    ImportError
        `progress` is wanted and tqdm is not installed.
    """

    _kind = "processes"
