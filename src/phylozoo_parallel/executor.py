"""What the three executors share: the four ways to map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, TypeVar, overload

from phylozoo_parallel import _listener, _options
from phylozoo_parallel._map.in_place import InPlace
from phylozoo_parallel.protocol import Arguments

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound="Executor")


class Executor(ABC):
    """What the three executors share; where there is no engine, items run one by one."""

    _kind = ""
    """Of the workers; empty where there are none."""
    _wanted: int | None = None
    _options: _options.Options

    @overload
    def map(
        self,
        func: Callable[[T], R],
        iterable: Iterable[T],
        chunksize: int | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Iterator[R]: ...

    @overload
    def map(
        self,
        func: Callable[[T], R],
        iterable: Iterable[T],
        chunksize: int | None = None,
        *,
        return_exceptions: bool,
    ) -> Iterator[R | BaseException]: ...

    def map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
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
        return_exceptions : bool, optional
            Whether the exception of a failed item stands in the place of its result, as in
            ``asyncio.gather``, and the others run on. By default (False) it is raised.

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
        return self._start(func, iterable, chunksize, return_exceptions)

    @overload
    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Arguments],
        chunksize: int | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Iterator[R]: ...

    @overload
    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Arguments],
        chunksize: int | None = None,
        *,
        return_exceptions: bool,
    ) -> Iterator[R | BaseException]: ...

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
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
        return_exceptions : bool, optional
            Whether exceptions stand in the places of results; see :meth:`map`.

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
        return self._start(func, iterable, chunksize, return_exceptions, star=True)

    @overload
    def map_unordered(
        self,
        func: Callable[[T], R],
        iterable: Iterable[T],
        chunksize: int | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Iterator[R]: ...

    @overload
    def map_unordered(
        self,
        func: Callable[[T], R],
        iterable: Iterable[T],
        chunksize: int | None = None,
        *,
        return_exceptions: bool,
    ) -> Iterator[R | BaseException]: ...

    def map_unordered(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
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
        return_exceptions : bool, optional
            Whether exceptions stand in the places of results; see :meth:`map`.

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
        return self._start(func, iterable, chunksize, return_exceptions, ordered=False)

    @overload
    def starmap_unordered(
        self,
        func: Callable[..., R],
        iterable: Iterable[Arguments],
        chunksize: int | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Iterator[R]: ...

    @overload
    def starmap_unordered(
        self,
        func: Callable[..., R],
        iterable: Iterable[Arguments],
        chunksize: int | None = None,
        *,
        return_exceptions: bool,
    ) -> Iterator[R | BaseException]: ...

    def starmap_unordered(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
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
        return_exceptions : bool, optional
            Whether exceptions stand in the places of results; see :meth:`map`.

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
        return self._start(func, iterable, chunksize, return_exceptions, star=True, ordered=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_options.unusual(self._wanted, self._options)})"

    @property
    @abstractmethod
    def n_jobs(self) -> int:
        """Number of workers that a map started here and now would use."""

    @property
    def size(self) -> int:
        """The same, under the name by which samplers ask a pool for it."""
        return self.n_jobs

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
        for name in _options.module_names(modules):
            import_module(name)

    def close(self) -> None:
        """Let go of what this executor's maps hold open; here, that is nothing."""

    def __enter__(self: E) -> E:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(
        self,
        func: Any,
        iterable: Any,
        chunksize: Any,
        return_exceptions: Any,
        star: bool = False,
        ordered: bool = True,
    ) -> Iterator[Any]:
        items = _options.map_arguments(func, iterable)
        chunksize = _options.chunk_size(chunksize, call=True) or self._options.chunksize
        keep_going = _options.flag(return_exceptions, "return_exceptions")
        options = _options.Options(chunksize, *self._options[1:4], star, ordered, keep_going)
        total = _options.length(iterable)
        if star:
            items = _options.call_arguments(items)
        heard = _listener.make(func, self._kind)
        with_workers = None
        in_place = not self._kind or _options.sequential_wanted()
        if not in_place:
            from phylozoo_parallel._engines import choose

            with_workers = choose.open_engine(self._kind, self._wanted)
        if with_workers is None:  # inside a worker, or where joblib has none
            # A worker's map shows no bar of its own.
            bar = in_place and options.progress
            return InPlace.of(*heard.in_place(func, items), options, total, bar)
        # The first time, workers are starting by now.
        from phylozoo_parallel._map import loop

        return loop.start(with_workers, func, items, total, options, heard)
