"""
Segments on Windows: files that are deleted with their last handle, however their processes end.

Windows keeps them in its file cache, and they can grow, unlike its shared memory. Meanwhile they
are visible in the temporary directory, where only the same user can open them.
"""

from __future__ import annotations

import _winapi
import msvcrt
import os
import sys
import tempfile

assert sys.platform == "win32"  # for type checkers, which look no further elsewhere

_ACCESS = {os.O_RDONLY: 0x80000000, os.O_WRONLY: 0x40000000, os.O_RDWR: 0xC0000000}
_SHARE_ALL, _OPEN_EXISTING, _ATTRIBUTE_TEMPORARY = 7, 3, 0x100


def made(folder: str | None) -> tuple[int, str]:
    """
    Make a file in a folder, or in the temporary directory, that is deleted with its last handle.

    Returns
    -------
    tuple
        Its file descriptor, and its path.

    Raises
    ------
    OSError
        It cannot be made.
    """
    name = f"phylozoo-parallel-{os.urandom(16).hex()}"
    path = os.path.join(folder or tempfile.gettempdir(), name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TEMPORARY | os.O_SHORT_LIVED
    return os.open(path, flags | os.O_BINARY | os.O_NOINHERIT, 0o600), path


def opened(path: str, flags: int) -> int:
    """
    Open a file that another process made, and return its file descriptor.

    ``os.open`` fails here, because it does not share the right to delete the file.
    """
    handle = _winapi.CreateFile(
        path, _ACCESS[flags], _SHARE_ALL, 0, _OPEN_EXISTING, _ATTRIBUTE_TEMPORARY, 0
    )
    return msvcrt.open_osfhandle(handle, flags | os.O_BINARY | os.O_NOINHERIT)


def removed(path: str) -> None:
    """Do nothing: the file is deleted with its last handle."""
