"""A map without workers: items run one by one, when their results are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from phylozoo_parallel._options import Options
from phylozoo_parallel.errors import placed, short


def one_by_one(func: Callable[..., Any], items: Iterator[Any], options: Options) -> Iterator[Any]:
    """Yield the result of each item, or what it raised where that is asked for."""
    # A generator, and not the built-in map: a StopIteration of func becomes a RuntimeError
    # in it (PEP 479) where the built-in would cut the results short.
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
