"""A map without workers: the caller runs each item when its result is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from phylozoo_parallel import _progress
from phylozoo_parallel._options import Options
from phylozoo_parallel.errors import noted, placed, short


class HowFar:
    """How far a map is."""

    __slots__ = "closed", "done"

    def __init__(self) -> None:
        self.closed = False
        self.done = 0  # items


class InPlace(chain[Any]):
    """The results of a map without workers, one by one; the counterpart of ``Results``."""

    _steps: Generator[Any, None, None]
    _far: HowFar
    _total: int | None

    @classmethod
    def of(
        cls,
        func: Callable[..., Any],
        items: Iterator[Any],
        options: Options,
        total: int | None,
        bar: bool | str,
    ) -> InPlace:
        """
        Return the results of a function.

        Parameters
        ----------
        func : callable
        items : Iterator
        options : Options
        total : int or None
            Number of items, if it is known.
        bar : bool or str
            Whether to show a progress bar, or the bar's description.
        """
        far = HowFar()
        steps: Any = one_by_one(func, items, options, far)
        shown = _progress.bar(bar, total, steps)
        steps = steps if shown is None else iter(shown)
        results = cls(steps)  # chain adds no step of Python code
        results._steps, results._far, results._total = steps, far, total
        return results

    def close(self) -> None:
        """End the map; items that have not begun do not run. It may be called in any thread."""
        self._far.closed = True
        # The generator runs an item: in another thread, or in this one, if a signal's handler
        # calls this. It ends then after the item.
        with suppress(ValueError):
            self._steps.close()

    def __repr__(self) -> str:
        done = self._far.done
        if self._total is not None:
            return f"<results: {done:,} of {self._total:,} items done>"
        return f"<results: {done:,} item{'s' if done != 1 else ''} done>"


def one_by_one(
    func: Callable[..., Any], items: Iterator[Any], options: Options, far: HowFar
) -> Generator[Any, None, None]:
    """Yield the result of each item, or its exception if exceptions are to be returned; count."""
    # This is a generator because a StopIteration raised by func becomes a RuntimeError in it
    # (PEP 479). The built-in map would end, as if there were no more items.
    for index, item in enumerate(items):
        try:
            result = func(*item) if options.star else func(item)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not options.return_exceptions:
                raise
            result = placed(error)
            noted(result, f"item {index} = {short(item)}")
        far.done = index + 1
        if far.closed:
            return
        yield result
