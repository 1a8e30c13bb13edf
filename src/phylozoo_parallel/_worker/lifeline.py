"""
Workers end with the program, however it ends and whatever runs in them then.

::

    program   holds a pipe ········ is killed: the pipe breaks
    worker    asked the kernel to kill it when that happens, and looks at its parent besides
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import lru_cache

from phylozoo_parallel._shipping.memory import Name, name_of, opened


@lru_cache(maxsize=1)
def own() -> Name | None:
    """Return the name of a pipe that breaks when this process ends; None where there is none."""
    with suppress(OSError):
        return name_of(os.pipe()[0]) if hasattr(os, "memfd_create") else None
    return None


def hang_on(lifeline: Name) -> None:
    """
    Have the kernel kill this worker when its caller is gone, whatever runs here then.

    Code that spins without the interpreter's lock let go of keeps every thread from looking.
    """
    import fcntl  # where there is a lifeline, there is this

    with suppress(OSError):
        fd = opened(lifeline, os.O_RDONLY)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=own.cache_clear)  # the pipe of before is the parent's
