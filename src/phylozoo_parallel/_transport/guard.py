"""
The first step of a chunk on a machine that may have another version of this library, or none.

It travels as its own text, and what it is called with is plain: nothing of this library has to be
there for it to be unpickled and to say what is missing.
"""

from __future__ import annotations

from functools import lru_cache
from inspect import getsource
from typing import Any

from phylozoo_parallel._transport.base import Call
from phylozoo_parallel._worker.version import checked, own


class _AsText:
    """`checked` for every pickler and every version of Python."""

    __name__ = "run_in_process"

    def __call__(self, *arguments: Any) -> Any:
        return checked(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (_expression(),)


@lru_cache(maxsize=1)
def _expression() -> str:
    # Without a look at what is loaded: Dask's scheduler, too, unpickles it and pickles it again.
    source = f"from __future__ import annotations\n{getsource(checked)}"
    return f"(exec({source!r}, its := {{}}), its[{checked.__name__!r}])[1]"


def guarded(*arguments: Any) -> Call:
    """Return the call of ``run_in_process`` for a worker on any machine."""
    return _AsText(), (own(), *arguments)
