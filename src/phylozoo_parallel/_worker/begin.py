"""What every worker process does when it has started, whether or not a task ever comes."""

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
    Hang on to the caller, and make ready for the first chunk.

    Parameters
    ----------
    caller : int
        Process id.
    line : tuple or None
        The caller's lifeline.
    modules : sequence of str
        What the function of the first map needs, as far as it was told.
    hidden : sequence of str
        Environment variables that were for the start alone: what items start must not see them.
    initializer, initargs
        What the user wants each worker to begin with.
    """
    for name in hidden:
        os.environ.pop(name, None)
    with suppress(Exception):
        lifeline.hang_on(line)
        # While the caller does other things.
        from phylozoo_parallel._worker import known, process

        # Or the caller went while this worker came, and there was nothing to hang on to.
        known.watch(caller if os.name == "posix" else os.getppid())
        process.ready = perf_counter()
    load(modules)
    if initializer is not None:
        initializer(*initargs)
    with suppress(Exception):  # it could not be imported
        process.loaded = perf_counter()
