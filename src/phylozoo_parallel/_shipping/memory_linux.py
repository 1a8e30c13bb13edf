"""
Linux has memory without a name: other processes reach it through the caller's entry in ``/proc``.

It vanishes with its holders, however they end, and there is no name to guess. A user who wants
temporary files in a certain folder gets files without a name there.
"""

from __future__ import annotations

import os
import sys

assert sys.platform == "linux"  # for type checkers, which look no further elsewhere

_TMPFILE = getattr(os, "O_TMPFILE", 0o20000000 | os.O_DIRECTORY)


def made(folder: str | None) -> tuple[int, str]:
    """
    Make memory, or a file in a folder, that is gone with its holders.

    Returns
    -------
    tuple
        Its file descriptor, and the path by which other processes of this user can open it.

    Raises
    ------
    OSError
        There is none to be had.
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
    """Open what another process made, and return its file descriptor."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def removed(path: str) -> None:
    """Do nothing: there is no name to remove."""


def _memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("phylozoo-parallel")
    import ctypes  # conda's and uv's Pythons are built for older systems than they run on

    create = getattr(ctypes.CDLL(None, use_errno=True), "memfd_create", None)
    fd: int = create(b"phylozoo-parallel", 1) if create is not None else -1  # MFD_CLOEXEC
    if fd < 0:
        raise OSError(ctypes.get_errno(), "this system has no memory without a name")
    return fd
