"""What the three executors share: the four methods that start a map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """What the three executors share; without an engine, items run one by one in the caller."""

    _kind = ""
    """The kind of workers: "threads" or "processes"; empty without workers."""
    _wanted: int | None = None
    """The number of workers as the user gave it."""
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
        Apply `func` to each item, and return the results in the order of the items.

        Workers start on the first items at once, when this method is called. The sequential
        backend runs an item when its result is asked for.

        Parameters
        ----------
        func : Callable[[T], R]
            Called with one item. It may be a lambda, a closure, or a function of a notebook or
            script.
        iterable : Iterable[T]
            The items; there may be endlessly many. They are read in the caller's thread, a limited
            number ahead of the results.
        chunksize : int or None, optional
            Number of items that are sent to a worker together. None (default) takes the
            executor's own, which by default lets the library choose. The sequential backend
            ignores it.
        return_exceptions : bool, optional
            Whether the exception of a failed item is returned in the place of its result, as by
            ``asyncio.gather``, while the other items run on. By default (False) it is raised.

        Returns
        -------
        Iterator[R]
            The results, in the order of the items, each as soon as it and those before it are
            ready. An exception of an item or of the iterable is raised at its place, after the
            results before it.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            An argument is of the wrong type or out of its range; raised at the call.
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
        Like :meth:`map`, with the values of each item as the arguments of one call.

        Parameters
        ----------
        func : Callable[..., R]
            Called with the values of one item as its arguments.
        iterable : Iterable[Iterable[Any]]
            The arguments of one call after the other, such as tuples; there may be endlessly many.
        chunksize : int or None, optional
            As for :meth:`map`.
        return_exceptions : bool, optional
            As for :meth:`map`.

        Returns
        -------
        Iterator[R]
            The results, in the order of the items, as by :meth:`map`.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            As for :meth:`map`. An item that is not iterable is a PhyloZooTypeError at its place.
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
        Like :meth:`map`, with each result as soon as it is ready, in any order.

        Parameters
        ----------
        func : Callable[[T], R]
            As for :meth:`map`.
        iterable : Iterable[T]
            As for :meth:`map`.
        chunksize : int or None, optional
            As for :meth:`map`.
        return_exceptions : bool, optional
            As for :meth:`map`.

        Returns
        -------
        Iterator[R]
            The results, in the order in which they are ready. An exception of an item or of the
            iterable is raised after the results of all items before it.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            As for :meth:`map`.
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
        Like :meth:`starmap`, with each result as soon as it is ready, in any order.

        Parameters
        ----------
        func : Callable[..., R]
            As for :meth:`starmap`.
        iterable : Iterable[Iterable[Any]]
            As for :meth:`starmap`.
        chunksize : int or None, optional
            As for :meth:`map`.
        return_exceptions : bool, optional
            As for :meth:`map`.

        Returns
        -------
        Iterator[R]
            The results, in the order in which they are ready, as by :meth:`map_unordered`.

        Raises
        ------
        PhyloZooTypeError, PhyloZooValueError
            As for :meth:`starmap`.
        """
        return self._start(func, iterable, chunksize, return_exceptions, star=True, ordered=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_options.shown(self._wanted, self._options)})"

    @property
    @abstractmethod
    def n_jobs(self) -> int:
        """Number of workers that a map would use if it started here and now."""

    @property
    def size(self) -> int:
        """The same as `n_jobs`; samplers such as dynesty ask a pool for its ``size``."""
        return self.n_jobs

    def warm_up(self, *modules: ModuleType | str) -> None:
        """
        Start the workers before the first map, so that they are ready when it comes.

        Calling this is never required. Worker processes start and import `modules`, while this
        call returns at once and the program goes on. Worker threads start, too; without worker
        processes the modules are imported in this process.

        Parameters
        ----------
        *modules : module or str
            Modules that the function of the map needs.

        Raises
        ------
        PhyloZooTypeError
            An argument is neither a module nor a name.
        ModuleNotFoundError
            There is no module of a name.
        """
        names = _options.module_names(modules)
        if not self._warm_up_workers(names):
            for name in names:
                import_module(name)

    def _warm_up_workers(self, modules: Sequence[str]) -> bool:
        """Start the workers, and return whether they import the modules."""
        return False

    def close(self) -> None:
        """Release the workers that this executor's maps have used; here there are none."""

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
        listener = _listener.make(func, self._kind)
        engine = None
        in_place = not self._kind or _options.sequential_wanted()
        if not in_place:
            from phylozoo_parallel._engines.choose import open_engine

            engine = open_engine(self._kind, self._wanted)
        if engine is None:  # sequential, or inside a worker, or joblib has no workers here
            # A map inside a worker shows no progress bar.
            bar = in_place and options.progress
            return InPlace.of(*listener.in_place(func, items), options, total, bar)
        # Imported here, and not above, so that the workers of a first map already start meanwhile.
        from phylozoo_parallel._map.loop import start

        return start(engine, func, items, total, options, listener)
