"""The three executors."""

from __future__ import annotations

from types import ModuleType

from phylozoo_parallel import _options
from phylozoo_parallel.executor import Executor


class SequentialExecutor(Executor):
    """
    Runs each item in the caller's thread when its result is asked for, like the built-in ``map``.

    For debugging, and for work too small to share. The `chunksize` of a call is checked, and
    without effect; the methods with ``_unordered`` in their names do the same as those without.

    Parameters
    ----------
    progress : bool or str, optional
        Whether to show a progress bar (default: no), or its description.

    Raises
    ------
    PhyloZooTypeError
        `progress` is neither.
    ImportError
        A bar is wanted, and tqdm is not installed.
    """

    def __init__(self, *, progress: bool | str = False) -> None:
        self._options = _options.options(None, 1, None, progress)

    @property
    def n_jobs(self) -> int:
        """One: the caller."""
        return 1


class _WorkerExecutor(Executor):
    """What the executors with workers share; `_kind` is all that tells them apart."""

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
        """Number of workers that a map started here and now would use."""
        if self._wanted is not None and self._wanted > 0:
            return self._wanted
        from phylozoo_parallel._engines import choose

        return choose.worker_count(self._kind, self._wanted)

    def warm_up(self, *modules: ModuleType | str) -> None:
        """
        Get ready for the first map while the program does other things; never required.

        Worker processes start, and import these modules; the call does not wait for them.
        Threads start, and without worker processes the modules are imported here.

        Parameters
        ----------
        *modules : module or str
            What the function of the map needs.

        Raises
        ------
        PhyloZooTypeError, ModuleNotFoundError
            One is no module, or not found.
        """
        from phylozoo_parallel._engines import choose

        names = _options.module_names(modules)
        if not choose.warm_up(self._kind, self._wanted, names):
            super().warm_up(*names)

    def close(self) -> None:
        """
        Let go of what this executor's maps hold open, unless a map is using it.

        Never required. Worker threads end; worker processes are joblib's and stay for its next
        call. A later map works.
        """
        from phylozoo_parallel._engines import choose

        choose.close_idle(self._kind, self.n_jobs)


class ThreadingExecutor(_WorkerExecutor):
    """
    Runs items in worker threads of ``joblib.Parallel``, which share the caller's memory.

    For I/O and for code that releases the global interpreter lock.

    Parameters
    ----------
    n_jobs : int or None, optional
        Number of worker threads. None takes the count of the surrounding
        ``joblib.parallel_config``, else 1; -1 is every available core.
    chunksize : int or None, optional
        Items that travel to a worker together, where a call does not say.
    retries : int, optional
        Without effect: a thread does not die alone. Here for :class:`ParallelConfig`, which gives
        the same arguments to threads and processes.
    timeout : float or None, optional
        Seconds that an item may run (default: no limit); its thread is then left behind.
    progress : bool or str, optional
        Whether to show a progress bar (default: no), or its description.

    Raises
    ------
    PhyloZooValueError
        `n_jobs` below 1 and not -1, or another argument out of its range.
    PhyloZooTypeError
        An argument is of another type.
    ImportError
        A bar is wanted, and tqdm is not installed.
    """

    _kind = "threads"


class MultiprocessingExecutor(_WorkerExecutor):
    """
    Runs items in the worker processes of ``joblib.Parallel``, which stay up between calls.

    A surrounding ``joblib.parallel_config`` that names an engine of processes or machines
    runs the items there.

    Parameters
    ----------
    n_jobs : int or None, optional
        Number of worker processes. None takes the count of the surrounding
        ``joblib.parallel_config``, else every available core; -1 is every available core.
    chunksize : int or None, optional
        Items that travel to a worker together, where a call does not say.
    retries : int, optional
        How often an item may run again because a worker process died under it (default 1).
    timeout : float or None, optional
        Seconds that an item may run (default: no limit).
    progress : bool or str, optional
        Whether to show a progress bar (default: no), or its description.

    Raises
    ------
    PhyloZooValueError
        `n_jobs` below 1 and not -1, or another argument out of its range.
    PhyloZooTypeError
        An argument is of another type.
    ImportError
        A bar is wanted, and tqdm is not installed.
    """

    _kind = "processes"
