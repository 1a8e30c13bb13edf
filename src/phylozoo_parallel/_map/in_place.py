"""A map without workers: the caller runs each item when its result is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from phylozoo_parallel._options import Options
from phylozoo_parallel.errors import placed, short


def one_by_one(func: Callable[..., Any], items: Iterator[Any], options: Options) -> Iterator[Any]:
    """Yield the result of each item; its exception, if exceptions are to be returned."""
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
            if hasattr(result, "add_note"):
                result.add_note(f"item {index} = {short(item)}")
        yield result
