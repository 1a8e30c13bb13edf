"""
Segments on macOS and the BSDs: files in a folder of this process, which only its user can open.

POSIX shared memory is not used: on macOS it can be neither mapped copy-on-write nor resized. A
file is removed with its segment, and the folder when the program ends. What a killed program
leaves, the reaper removes (:mod:`phylozoo_parallel._worker.reaper`).
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
import threading
from contextlib import suppress
from multiprocessing.util import Finalize

assert sys.platform != "win32"  # for type checkers, which look no further there

folders: dict[str, str] = {}
"""This process's own folders, by the folder that each is in."""

_numbers = itertools.count()
_lock = threading.Lock()


def made(folder: str | None) -> tuple[int, str]:
    """
    Make a file in a folder, or in the temporary directory.

    Returns
    -------
    tuple
        Its file descriptor, and its path.

    Raises
    ------
    OSError
        It cannot be made.
    """
    path = os.path.join(_own(folder or tempfile.gettempdir()), str(next(_numbers)))
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path


def opened(path: str, flags: int) -> int:
    """Open a file that another process made, and return its file descriptor."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def removed(path: str) -> None:
    """Remove a file; a forked child leaves the files of its parent alone."""
    if os.path.dirname(path) in folders.values():
        with suppress(OSError):  # something else has removed it
            os.unlink(path)


def _own(within: str) -> str:
    """Return this process's folder within another folder."""
    with _lock:
        # Some systems remove temporary folders after some days, and it has to be made again.
        if not os.path.isdir(folders.get(within, "")):
            if not folders:
                Finalize(None, _leave, exitpriority=10)
            folders[within] = tempfile.mkdtemp(prefix="phylozoo-parallel-", dir=within)
        return folders[within]


def _leave() -> None:
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
    folders.clear()


def _forget() -> None:
    """Leave the folders to the parent in a forked child."""
    global _lock
    _lock = threading.Lock()
    folders.clear()


os.register_at_fork(after_in_child=_forget)
