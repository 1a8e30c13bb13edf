"""The executor protocol and the three executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from phylozoo_parallel import _checks, _progress

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
R = TypeVar("R")


class ParallelExecutor(Protocol):
    """What an executor is: anything with these two methods."""

    def map(
        self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None
    ) -> Iterator[R]:
        """
        Apply `func` to each item.

        Parameters
        ----------
        func : Callable[[T], R]
            Called with one item.
        iterable : Iterable[T]
            The items; may be endless.
        chunksize : int or None, optional
            Items that travel to a worker together. By default None (backend chooses).

        Returns
        -------
        Iterator[R]
            The results, in the order of the items.
        """
        ...

    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> Iterator[R]:
        """
        Apply `func` to the unpacked arguments of each item.

        Parameters
        ----------
        func : Callable[..., R]
            Called with the values of one item as its arguments.
        iterable : Iterable[Iterable[Any]]
            Tuples of arguments; may be endless.
        chunksize : int or None, optional
            Items that travel to a worker together. By default None (backend chooses).

        Returns
        -------
        Iterator[R]
            The results, in the order of the items.
        """
        ...


def _one_by_one(func: Callable[[T], R], items: Iterator[T]) -> Iterator[R]:
    # A generator, and not the built-in map: a StopIteration of func becomes a RuntimeError
    # in it (PEP 479) where the built-in would cut the results short.
    for item in items:
        yield func(item)


def _one_by_one_unpacked(func: Callable[..., R], items: Iterator[tuple[Any, ...]]) -> Iterator[R]:
    for item in items:
        yield func(*item)


class SequentialExecutor:
    """
    Runs each item in the caller's thread when its result is asked for, like the built-in ``map``.

    For debugging, and for work too small to share.

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
        self._progress = _progress.check(progress)

    def _shown(self, results: Iterator[R], iterable: Iterable[Any]) -> Iterator[R]:
        bar = _progress.bar(self._progress, _checks.length(iterable), results)
        return results if bar is None else iter(bar)

    size = 1

    def map(
        self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None
    ) -> Iterator[R]:
        """
        Apply `func` to each item, lazily.

        Parameters
        ----------
        func : Callable[[T], R]
            Called with one item.
        iterable : Iterable[T]
            The items; may be endless.
        chunksize : int or None, optional
            Checked, and without effect here.

        Returns
        -------
        Iterator[R]
            The results, in the order of the items.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            At the call, for arguments other than these.
        """
        items = _checks.map_arguments(func, iterable)
        _checks.chunk_size(chunksize)
        return self._shown(_one_by_one(func, items), iterable)

    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> Iterator[R]:
        """
        Apply `func` to the unpacked arguments of each item, lazily.

        Parameters
        ----------
        func : Callable[..., R]
            Called with the values of one item as its arguments.
        iterable : Iterable[Iterable[Any]]
            Tuples of arguments; may be endless.
        chunksize : int or None, optional
            Checked, and without effect here.

        Returns
        -------
        Iterator[R]
            The results, in the order of the items.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            At the call, for arguments other than these; at its place, for an item that is
            not iterable.
        """
        items = _checks.map_arguments(func, iterable)
        _checks.chunk_size(chunksize)
        return self._shown(_one_by_one_unpacked(func, _checks.call_arguments(items)), iterable)

    # One by one, the results are complete in the order of the items.
    map_unordered = map
    starmap_unordered = starmap

    def close(self) -> None:
        """Do nothing: there are no workers to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _WorkerExecutor:
    """What the executors with workers share; `_kind` is all that tells them apart."""

    _kind: str

    def __init__(
        self,
        n_jobs: int | None = None,
        *,
        chunksize: int | None = None,
        retries: int = 1,
        timeout: float | None = None,
        progress: bool | str = False,
    ) -> None:
        self._wanted = _checks.worker_count(n_jobs)
        self._options = _checks.options(chunksize, retries, timeout, progress)

    @property
    def n_jobs(self) -> int:
        """Number of workers that a map started here and now would use."""
        if self._wanted is not None and self._wanted > 0:
            return self._wanted
        from phylozoo_parallel import _engine

        return _engine.worker_count(self._kind, self._wanted)

    size = n_jobs  # the name under which samplers ask a pool for it

    def map(
        self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None
    ) -> Iterator[R]:
        """
        Apply `func` to each item in the workers; work starts at the call.

        Parameters
        ----------
        func : Callable[[T], R]
            Called with one item. Lambdas, closures and functions of a notebook or a script
            will do.
        iterable : Iterable[T]
            The items; may be endless. It is read in the caller's thread, within a bounded
            look-ahead.
        chunksize : int or None, optional
            Items that travel to a worker together. None takes the executor's own, which by
            default lets the library choose.

        Returns
        -------
        Iterator[R]
            The results, in the order of the items, as they are ready. What an item or the
            iterable raises is raised at its place, after the results before it.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            At the call, for arguments other than these.
        """
        return self._start(func, iterable, chunksize, star=False)

    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> Iterator[R]:
        """
        Apply `func` to the unpacked arguments of each item; otherwise like :meth:`map`.

        Parameters
        ----------
        func : Callable[..., R]
            Called with the values of one item as its arguments.
        iterable : Iterable[Iterable[Any]]
            Tuples of arguments; may be endless.
        chunksize : int or None, optional
            Items that travel to a worker together. None takes the executor's own.

        Returns
        -------
        Iterator[R]
            The results, in the order of the items, as they are ready.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            At the call, for arguments other than these; at its place, for an item that is
            not iterable.
        """
        return self._start(func, iterable, chunksize, star=True)

    def map_unordered(
        self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None
    ) -> Iterator[R]:
        """
        Apply `func` to each item; like :meth:`map`, with each result as soon as it is ready.

        Parameters
        ----------
        func : Callable[[T], R]
            Called with one item.
        iterable : Iterable[T]
            The items; may be endless.
        chunksize : int or None, optional
            Items that travel to a worker together. None takes the executor's own.

        Returns
        -------
        Iterator[R]
            The results, in the order in which they are ready. What an item or the iterable
            raises comes after the results of all items before it.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            At the call, for arguments other than these.
        """
        return self._start(func, iterable, chunksize, star=False, ordered=False)

    def starmap_unordered(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> Iterator[R]:
        """
        Apply `func` to the unpacked arguments of each item; like :meth:`map_unordered`.

        Parameters
        ----------
        func : Callable[..., R]
            Called with the values of one item as its arguments.
        iterable : Iterable[Iterable[Any]]
            Tuples of arguments; may be endless.
        chunksize : int or None, optional
            Items that travel to a worker together. None takes the executor's own.

        Returns
        -------
        Iterator[R]
            The results, in the order in which they are ready.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            At the call, for arguments other than these; when it is met, for an item that is
            not iterable.
        """
        return self._start(func, iterable, chunksize, star=True, ordered=False)

    def close(self) -> None:
        """
        Let go of what this executor's maps hold open, unless a map is using it.

        Never required. Worker threads end; worker processes are joblib's and stay for its next
        call. A later map works.
        """
        from phylozoo_parallel import _engine

        _engine.close_idle(self._kind, self.n_jobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(
        self,
        func: Callable[..., R],
        iterable: Iterable[Any],
        chunksize: int | None,
        star: bool,
        ordered: bool = True,
    ) -> Iterator[R]:
        items = _checks.map_arguments(func, iterable)
        size = _checks.chunk_size(chunksize)
        options = self._options._replace(chunksize=size) if size else self._options
        total = _checks.length(iterable)
        from phylozoo_parallel import _engine

        with_workers = _engine.open_engine(self._kind, self._wanted)
        if with_workers is None:  # inside a worker
            run = SequentialExecutor()
            return run.starmap(func, items) if star else run.map(func, items)
        from phylozoo_parallel import _dispatch  # the first time, workers are starting by now

        if star:
            items = _checks.call_arguments(items)
        return _dispatch.start(with_workers, func, items, total, options, star, ordered)


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
