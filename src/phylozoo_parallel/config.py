"""What the user chose: which backend, how many workers, which chunks."""

from __future__ import annotations

from typing import Any

from phylozoo_parallel import _options, executors
from phylozoo_parallel.backend import ParallelBackend
from phylozoo_parallel.errors import PhyloZooValueError
from phylozoo_parallel.executor import Executor

DEFAULTS: dict[str, Any] = {"retries": 1, "timeout": None, "progress": False}
"""Of the options that PhyloZoo does not have; they show where they are something else."""


def _backend_named(backend: object) -> ParallelBackend:
    try:
        # PhyloZoo's own members carry the same values as ours.
        return ParallelBackend(getattr(backend, "value", backend))
    except ValueError:
        names = ", ".join(repr(member.value) for member in ParallelBackend)
        raise PhyloZooValueError(f"Unknown backend: {backend!r}. Must be one of: {names}") from None


class ParallelConfig:
    """
    How the maps of a function run, chosen by its caller.

    Parameters
    ----------
    backend : ParallelBackend or str, optional
        ``SEQUENTIAL`` (default), ``THREADING`` or ``MULTIPROCESSING``, or their values
        ``"sequential"``, ``"threading"``, ``"multiprocessing"``.
    n_jobs : int or None, optional
        Number of workers. For processes None takes the count of the surrounding
        ``joblib.parallel_config``, else every available core; for threads that count,
        else 1. -1 is every available core. The sequential backend ignores it.
    chunksize : int or None, optional
        Items that travel to a worker together; None (default) lets the library choose.
        The `chunksize` of a call beats it.
    retries : int, optional
        How often an item may run again because a worker process died under it (default 1);
        after that the map ends with :class:`WorkerLostError`. 0 runs nothing again.
    timeout : float or None, optional
        Seconds that an item may run in its worker before the map ends with a ``TimeoutError``
        that names it; None (default) for no limit. A worker process is killed then, a worker
        thread left behind. The sequential backend runs items in the caller's own thread,
        which nothing can end, and ignores it.
    progress : bool or str, optional
        Whether to show a progress bar, which needs tqdm (default: no), or its description.

    Raises
    ------
    PhyloZooValueError
        Unknown backend, `n_jobs` below 1 and not -1, or another argument out of its range.
    PhyloZooTypeError
        `n_jobs`, `chunksize`, `retries` or `timeout` is not a number, or `progress` neither a
        boolean nor a string.
    ImportError
        A bar is wanted, and tqdm is not installed.

    Notes
    -----
    Attributes of the same names may be assigned; what was assigned is checked when
    :meth:`get_executor` uses it.

    Examples
    --------
    >>> from phylozoo.utils.parallel import ParallelConfig, ParallelBackend
    >>> config = ParallelConfig(backend=ParallelBackend.MULTIPROCESSING, n_jobs=2)
    >>> executor = config.get_executor()
    >>> list(executor.map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    def __init__(
        self,
        backend: ParallelBackend | str = ParallelBackend.SEQUENTIAL,
        n_jobs: int | None = None,
        chunksize: int | None = None,
        *,
        retries: int = 1,
        timeout: float | None = None,
        progress: bool | str = False,
    ) -> None:
        self.backend = _backend_named(backend)
        self.n_jobs = n_jobs
        self.chunksize = chunksize
        self.retries = retries
        self.timeout = timeout
        self.progress = progress
        self.get_executor()

    def get_executor(self) -> Executor:
        """
        Make an executor with these settings; making one is cheap and starts nothing.

        Returns
        -------
        Executor
            A :class:`SequentialExecutor`, :class:`ThreadingExecutor` or
            :class:`MultiprocessingExecutor`.

        Raises
        ------
        PhyloZooValueError, PhyloZooTypeError
            As for the constructor, for what was assigned since.
        """
        backend = _backend_named(self.backend)
        options = {name: getattr(self, name) for name in ("chunksize", *DEFAULTS)}
        if backend is ParallelBackend.THREADING:
            return executors.ThreadingExecutor(self.n_jobs, **options)
        if backend is ParallelBackend.MULTIPROCESSING:
            return executors.MultiprocessingExecutor(self.n_jobs, **options)
        return executors.SequentialExecutor(progress=_options.options(**options).progress)

    def __repr__(self) -> str:
        shown = {"backend": getattr(self.backend, "value", self.backend), "n_jobs": self.n_jobs}
        shown["chunksize"] = self.chunksize
        options = {name: getattr(self, name) for name in DEFAULTS}
        shown |= {name: value for name, value in options.items() if value != DEFAULTS[name]}
        return f"ParallelConfig({', '.join(f'{name}={value}' for name, value in shown.items())})"
