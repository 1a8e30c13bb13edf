"""How long threads were ready to run, but other programs had the cores."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

TASKS = "/proc/self/task"
"""Where Linux tells of each thread of this process how long it has run and waited for a core."""


def seconds_in_line() -> float:
    """
    Return the seconds of all threads but this one, where the system tells (Linux); 0 elsewhere.

    The caller asks, twice for a long map, and not each worker for its chunks: reading a file
    releases the interpreter's lock, and other threads may then keep it for milliseconds.
    """
    total, own = 0, str(threading.get_native_id())
    with suppress(OSError):
        for thread in os.listdir(TASKS):
            if thread != own:
                total += _in_line(thread)
    return total / 1e9


def _in_line(thread: str) -> int:
    """Return the nanoseconds of one thread; 0 if it has just ended."""
    try:
        file = os.open(f"{TASKS}/{thread}/schedstat", os.O_RDONLY)
        try:
            return int(os.read(file, 100).split()[1])
        finally:
            os.close(file)
    except (OSError, IndexError, ValueError):
        return 0
