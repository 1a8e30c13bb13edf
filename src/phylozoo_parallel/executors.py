"""The three executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from phylozoo_parallel import _options, _progress
from phylozoo_parallel.protocol import Arguments

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound="_Executor")


def _one_by_one(func: Callable[..., R], items: Iterator[Any], star: bool) -> Iterator[R]:
    # A generator, and not the built-in map: a StopIteration of func becomes a RuntimeError
    # in it (PEP 479) where the built-in would cut the results short.
    for item in items:
        yield func(*item) if star else func(item)


class _Executor:
    """What the three executors share; where there is no engine, items run one by one."""

    _kind = ""
    """Of the workers; empty where there are none."""
    _wanted: int | None = None
    _options: _options.Options

    def map(
        self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None
    ) -> Iterator[R]:
        """
        Apply `func` to each item.

        The workers begin at the call; the sequential backend runs each item when its result is
        asked for.

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
            default lets the library choose. Without effect on the sequential backend.

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
        return self._start(func, iterable, chunksize)

    def starmap(
        self, func: Callable[..., R], iterable: Iterable[Arguments], chunksize: int | None = None
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
        return self._start(func, iterable, chunksize, ordered=False)

    def starmap_unordered(
        self, func: Callable[..., R], iterable: Iterable[Arguments], chunksize: int | None = None
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
        """Let go of what this executor's maps hold open; here, that is nothing."""

    def __enter__(self: E) -> E:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, func: Any, iterable: Any, size: Any, **how: bool) -> Iterator[Any]:
        items = _options.map_arguments(func, iterable)
        size = _options.chunk_size(size, call=True)
        options = self._options._replace(chunksize=size or self._options.chunksize, **how)
        total = _options.length(iterable)
        if options.star:
            items = _options.call_arguments(items)
        with_workers = None
        if self._kind:
            from phylozoo_parallel._engines import choose

            with_workers = choose.open_engine(self._kind, self._wanted)
        if with_workers is None:  # the sequential backend, or inside a worker
            results = _one_by_one(func, items, options.star)
            # A worker's map shows no bar of its own.
            bar = _progress.bar(not self._kind and options.progress, total, results)
            return results if bar is None else iter(bar)
        # The first time, workers are starting by now.
        from phylozoo_parallel._map import loop

        return loop.start(with_workers, func, items, total, options)


class SequentialExecutor(_Executor):
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

    size = 1

    def __init__(self, *, progress: bool | str = False) -> None:
        self._options = _options.options(None, 1, None, progress)


class _WorkerExecutor(_Executor):
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

    size = n_jobs  # the name under which samplers ask a pool for it

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
