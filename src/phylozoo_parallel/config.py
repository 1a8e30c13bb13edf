"""The configuration: which backend, how many workers, which chunks."""

from __future__ import annotations

from typing import Any

from phylozoo_parallel import _options, executors
from phylozoo_parallel.backend import ParallelBackend
from phylozoo_parallel.errors import PhyloZooValueError
from phylozoo_parallel.executor import Executor

DEFAULTS: dict[str, Any] = {"retries": 1, "timeout": None, "progress": False}
"""Defaults of the options that PhyloZoo does not have; ``repr`` shows only other values."""


def _backend_named(backend: object) -> ParallelBackend:
    try:
        # The members of PhyloZoo's own ParallelBackend have the same values as ours.
        return ParallelBackend(getattr(backend, "value", backend))
    except ValueError:
        names = ", ".join(repr(member.value) for member in ParallelBackend)
        raise PhyloZooValueError(f"Unknown backend: {backend!r}. Must be one of: {names}") from None


class ParallelConfig:
    """
    How the maps inside a function run; chosen by the caller of that function.

    Parameters
    ----------
    backend : ParallelBackend or str, optional
        ``SEQUENTIAL`` (default), ``THREADING`` or ``MULTIPROCESSING``, or their values
        ``"sequential"``, ``"threading"``, ``"multiprocessing"``.
    n_jobs : int or None, optional
        Number of workers; -1 means every available core. None (default) takes the number of the
        surrounding ``joblib.parallel_config``; without one it means every available core for
        processes and 1 for threads. The sequential backend ignores it.
    chunksize : int or None, optional
        Number of items that are sent to a worker together; None (default) lets the library
        choose. The `chunksize` of a call takes precedence.
    retries : int, optional
        How often an item may run again after its worker process died while running it
        (default 1); after that the map ends with :class:`WorkerLostError`. With 0 nothing runs
        again.
    timeout : float or None, optional
        Seconds that an item may run in its worker; None (default) for no limit. When an item
        takes longer, the map ends with a ``TimeoutError`` that names the item. Its worker process
        is killed; a worker thread cannot be ended, and is left behind. The sequential backend
        runs items in the caller's own thread, which nothing can end, and ignores this option.
    progress : bool or str, optional
        Whether to show a progress bar, which needs tqdm (default False); a string is shown as the
        bar's description.

    Raises
    ------
    PhyloZooValueError
        The backend is unknown, `n_jobs` is below 1 and not -1, or another argument is out of its
        range.
    PhyloZooTypeError
        `n_jobs`, `chunksize`, `retries` or `timeout` is not a number, or `progress` is neither a
        boolean nor a string.
    ImportError
        `progress` is wanted and tqdm is not installed.

    Notes
    -----
    The attributes have the same names as the parameters, and may be assigned. An assigned value is
    checked when :meth:`get_executor` uses it.

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
        Return a new executor with these settings; this is cheap and starts no worker.

        Returns
        -------
        Executor
            A :class:`SequentialExecutor`, :class:`ThreadingExecutor` or
            :class:`MultiprocessingExecutor`.

        Raises
        ------
        PhyloZooValueError, PhyloZooTypeError
            An attribute was assigned a value that the constructor would refuse.
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
