"""The initializer: what each worker process does first, before any task."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

from phylozoo_parallel._shipping.memory import Name
from phylozoo_parallel._worker import lifeline
from phylozoo_parallel._worker.warm import load


def begin(
    caller: int,
    line: Name | None,
    modules: Sequence[str],
    hidden: Sequence[str],
    initializer: Callable[..., None] | None,
    initargs: Sequence[Any],
) -> None:
    """
    Make this worker end with its caller, and get ready for the first chunk.

    Parameters
    ----------
    caller : int
        Process id of the caller.
    line : tuple or None
        The name of the caller's lifeline.
    modules : sequence of str
        Modules to import, as given to ``warm_up``.
    hidden : sequence of str
        Environment variables that were only needed to start this process. They are removed, so
        that programs which items start do not see them.
    initializer, initargs
        The user's own initializer, and its arguments.
    """
    for name in hidden:
        os.environ.pop(name, None)
    with suppress(Exception):
        lifeline.attach(line)
        # Imported now, while the caller does other things.
        from phylozoo_parallel._worker import known, process

        # If the caller ended while this worker started, there was no lifeline to use.
        known.watch(caller if os.name == "posix" else os.getppid())
        process.ready = perf_counter()
    load(modules)
    if initializer is not None:
        initializer(*initargs)
    with suppress(Exception):  # if the import above failed, there is no `process`
        process.loaded = perf_counter()
