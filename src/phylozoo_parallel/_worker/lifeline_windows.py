"""On Windows, a thread of the system waits for the program and then ends the worker."""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
from ctypes import wintypes
from functools import lru_cache

assert sys.platform == "win32"  # for type checkers, which look no further elsewhere

_INFINITE, _ONCE = 0xFFFFFFFF, 8

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel32.RegisterWaitForSingleObject.argtypes = [
    ctypes.POINTER(wintypes.HANDLE),
    wintypes.HANDLE,
    ctypes.c_void_p,
    ctypes.c_void_p,
    wintypes.ULONG,
    wintypes.ULONG,
]


@lru_cache(maxsize=1)
def end_with_parent() -> None:
    """Make the system end this process when its parent is gone; to call it once is enough."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # Windows then calls TerminateProcess(this process, 0).
    end, this = ctypes.cast(_kernel32.TerminateProcess, ctypes.c_void_p), ctypes.c_void_p(-1)
    wait = wintypes.HANDLE()
    _kernel32.RegisterWaitForSingleObject(
        ctypes.byref(wait), parent.sentinel, end, this, _INFINITE, _ONCE
    )
