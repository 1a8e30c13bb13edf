"""How long a thread was ready to run, but other programs had the cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class _File:
    """The file in which Linux counts for this thread; opening it for each chunk takes too long."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self.before = self.read()

    def read(self) -> float:
        """Return the seconds until now."""
        return int(os.pread(self.fd, 100, 0).split()[1]) / 1e9

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "fd"):
            close(self.fd)


_here = threading.local()


def seconds_in_line() -> float:
    """
    Return the seconds of this thread since the last call, where the system tells (Linux).

    A thread that waits for its next chunk does not wait for a core. So one call at the end of each
    chunk is enough, and a first one before. Each releases the interpreter's lock, and other threads
    may then keep it for milliseconds.
    """
    try:
        file: _File | None = getattr(_here, "file", None)
        if file is None or file.pid != os.getpid():  # after a fork it is the parent's
            file = _here.file = _File()
        before, file.before = file.before, file.read()
        return file.before - before
    except (OSError, IndexError, ValueError):
        return 0.0


def known() -> bool:
    """Return whether this thread has called :func:`seconds_in_line` before."""
    return hasattr(_here, "file")
