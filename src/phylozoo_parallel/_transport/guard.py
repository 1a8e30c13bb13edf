"""
The first step of a chunk on a machine that may have another version of this library, or none.

It travels by value, and what it is called with is plain: nothing of this library has to be there
for it to be unpickled and to say what is missing.
"""

from __future__ import annotations

import builtins
from functools import lru_cache
from types import FunctionType
from typing import Any

from phylozoo_parallel._transport.base import Call
from phylozoo_parallel._worker.version import own


def _guarded(version: str, function: Any, items: Any, head: Any, sent: Any) -> Any:
    """
    Run a chunk where this library has the caller's version.

    Raises
    ------
    ImportError
        It has another one here, or none.
    """
    try:
        from phylozoo_parallel._worker import version as installed

        found = installed.own()
        if found == version:
            from phylozoo_parallel._worker.process import run_in_process

            return run_in_process(function, items, head, sent)
    except ImportError as error:
        from importlib import metadata

        found = "none"
        if error.name != "phylozoo_parallel":
            found = metadata.version("phylozoo-parallel")
    import platform

    raise ImportError(
        f"the worker on {platform.node()} has phylozoo-parallel {found}, and the program that "
        f"started the map {version}; install the same version on both"
    )


@lru_cache(maxsize=1)
def _by_value() -> Any:
    """Return the function as one of a script, which pickles with its code."""
    func = FunctionType(_guarded.__code__, {"__builtins__": builtins}, "run_in_process")
    func.__module__, func.__qualname__ = "__main__", func.__name__
    return func


def guarded(*arguments: Any) -> Call:
    """Return the call of ``run_in_process`` for a worker on any machine."""
    return _by_value(), (own(), *arguments)
