"""How long a thread was ready to run, but other programs had the cores."""

from __future__ import annotations

import os
import threading


class _Opened(threading.local):
    """The file of this thread in which Linux counts; opening it for each chunk takes too long."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # Closed when the thread ends.
        self.file = open("/proc/thread-self/schedstat", "rb", buffering=0)  # noqa: SIM115


_opened: _Opened | None = None


def seconds_in_line() -> float:
    """Return the seconds of this thread, where the system tells (Linux); 0 elsewhere."""
    global _opened
    try:
        if _opened is None or _opened.pid != os.getpid():  # after a fork the file is the parent's
            _opened = _Opened()
        _opened.file.seek(0)
        return int(_opened.file.read(100).split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
