"""
The first step of a chunk on a machine that may have another version of this library, or none.

The function is sent as its source text, and its arguments are plain values. So it can be unpickled
on a machine that does not have this library, and can say what is missing there.
"""

from __future__ import annotations

from functools import lru_cache
from inspect import getsource
from typing import Any

from phylozoo_parallel._transport.base import Call
from phylozoo_parallel._worker.version import checked, own


class _AsText:
    """The function `checked`, in a form that every pickler and every Python version can read."""

    __name__ = "run_in_process"

    def __call__(self, *arguments: Any) -> Any:
        return checked(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (_expression(),)


@lru_cache(maxsize=1)
def _expression() -> str:
    # It must not import anything: Dask's scheduler, too, unpickles it and pickles it again.
    source = f"from __future__ import annotations\n{getsource(checked)}"
    return f"(exec({source!r}, names := {{}}), names[{checked.__name__!r}])[1]"


def guarded(*arguments: Any) -> Call:
    """Return the call of ``run_in_process`` for a worker on any machine."""
    return _AsText(), (own(), *arguments)
