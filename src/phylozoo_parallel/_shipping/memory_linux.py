"""
Segments on Linux: memory without a name, which other processes open through ``/proc``.

It is freed when the last process that has it open ends, in whatever way, and nobody can guess a
name. If the user names a folder for temporary files, segments are files without a name there.
"""

from __future__ import annotations

import os
import sys

assert sys.platform == "linux"  # for type checkers, which look no further elsewhere

_TMPFILE = getattr(os, "O_TMPFILE", 0o20000000 | os.O_DIRECTORY)


def made(folder: str | None) -> tuple[int, str]:
    """
    Make memory, or a file in a folder, that is freed when no process has it open any more.

    Returns
    -------
    tuple
        Its file descriptor, and the path by which other processes of this user can open it.

    Raises
    ------
    OSError
        It cannot be made.
    """
    if folder is None:
        fd = _memory()
        os.fchmod(fd, 0o600)
    else:
        fd = os.open(folder, _TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    return fd, path_of(fd)


def path_of(fd: int) -> str:
    """Return the path by which other processes of this user can open a file descriptor."""
    return f"/proc/{os.getpid()}/fd/{fd}"


def opened(path: str, flags: int) -> int:
    """Open memory that another process made, and return its file descriptor."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def removed(path: str) -> None:
    """Do nothing: there is no name to remove."""


def _memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("phylozoo-parallel")
    # The Pythons of conda and uv are built for older systems than they run on, and so lack it.
    import ctypes

    create = getattr(ctypes.CDLL(None, use_errno=True), "memfd_create", None)
    fd: int = create(b"phylozoo-parallel", 1) if create is not None else -1  # MFD_CLOEXEC
    if fd < 0:
        raise OSError(ctypes.get_errno(), "this system has no memory without a name")
    return fd
