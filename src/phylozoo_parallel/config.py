"""What the user chose: which backend, how many workers, which chunks."""

from __future__ import annotations

from phylozoo_parallel import _checks
from phylozoo_parallel.backend import ParallelBackend
from phylozoo_parallel.errors import PhyloZooValueError
from phylozoo_parallel.executors import (
    MultiprocessingExecutor,
    ParallelExecutor,
    SequentialExecutor,
    ThreadingExecutor,
)


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

    Raises
    ------
    PhyloZooValueError
        Unknown backend, `n_jobs` below 1 and not -1, or `chunksize` below 1.
    PhyloZooTypeError
        `n_jobs` or `chunksize` is not an integer.

    Notes
    -----
    The attributes `backend`, `n_jobs` and `chunksize` may be assigned; what was assigned is
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
    ) -> None:
        self.backend = _backend_named(backend)
        self.n_jobs = n_jobs
        self.chunksize = chunksize
        self.get_executor()

    def get_executor(self) -> ParallelExecutor:
        """
        Make an executor with these settings; making one is cheap and starts nothing.

        Returns
        -------
        ParallelExecutor
            A :class:`SequentialExecutor`, :class:`ThreadingExecutor` or
            :class:`MultiprocessingExecutor`.

        Raises
        ------
        PhyloZooValueError, PhyloZooTypeError
            As for the constructor, for what was assigned since.
        """
        backend = _backend_named(self.backend)
        if backend is ParallelBackend.THREADING:
            return ThreadingExecutor(self.n_jobs, chunksize=self.chunksize)
        if backend is ParallelBackend.MULTIPROCESSING:
            return MultiprocessingExecutor(self.n_jobs, chunksize=self.chunksize)
        _checks.chunk_size(self.chunksize)
        return SequentialExecutor()

    def __repr__(self) -> str:
        backend = getattr(self.backend, "value", self.backend)
        return (
            f"ParallelConfig(backend={backend}, n_jobs={self.n_jobs}, chunksize={self.chunksize})"
        )
