"""
Memory that other processes of this user can open: the one room that knows an operating system's.

A segment is memory (or a file) without a name: a worker opens it through the caller's entry in
``/proc``, and it vanishes with its holders, however they end. Segments are filled with ``write``:
where there is no room that is an error, and not a crash (SIGBUS) as it would be through a mapping.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

Name = tuple[str, int, int]
"""Path, device and inode: a path in ``/proc`` alone could by now lead to another file."""


class Segment:
    """
    Nameless memory that other processes of this user can open.

    Parameters
    ----------
    folder : str or None
        Where to make it, as a file without a name; None for memory.

    Raises
    ------
    OSError
        There is none to be had.
    """

    def __init__(self, folder: str | None = None) -> None:
        if folder is None and hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("phylozoo-parallel")
            os.fchmod(self.fd, 0o600)
        elif folder is not None and hasattr(os, "O_TMPFILE"):
            self.fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        else:
            raise OSError("no memory that another process could open")
        if self.fd <= 2:  # of a closed stdin, stdout or stderr: what is printed would go there
            import fcntl  # where there are nameless files, there is this

            low, self.fd = self.fd, fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(low)
        self.name = name_of(self.fd)

    def write(self, pieces: Sequence[Any]) -> tuple[int, ...]:
        """Write buffers one behind the other, and return their sizes in bytes."""
        return _write(self.fd, pieces)

    def read(self, sizes: Sequence[int]) -> list[memoryview]:
        """Return the buffers that have these sizes, copied out of the segment."""
        # A mapping would keep a file descriptor open for as long as the caller keeps an array.
        pieces = [memoryview(bytearray(size)) for size in sizes]
        for left, offset in zip(pieces, _offsets(sizes), strict=True):
            while left:
                done = os.preadv(self.fd, [left], offset)
                if not done:
                    raise EOFError("shared memory ends before the value in it")
                left, offset = left[done:], offset + done
        return pieces

    def share(self, size: int) -> mmap.mmap:
        """Return this memory, of so many bytes, for all who map it to write in."""
        os.ftruncate(self.fd, size)
        return mmap.mmap(self.fd, size)

    def close(self) -> None:
        """Let go; what is mapped stays until its last user lets go too."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def stored(pieces: Sequence[Any], folder: str | None) -> tuple[Segment, tuple[int, ...]] | None:
    """
    Write buffers into a new segment.

    Parameters
    ----------
    pieces : sequence of buffers
    folder : str or None
        Where the user wants temporary files; None for memory, or else the temporary directory.

    Returns
    -------
    tuple or None
        The segment and the sizes of the buffers; None where there is no room.
    """
    for find in (lambda: folder,) if folder else (lambda: None, tempfile.gettempdir):
        try:
            segment = Segment(find())  # there may be no temporary directory, either
        except OSError:
            continue
        try:
            return segment, segment.write(pieces)
        except OSError:  # no room
            segment.close()
    return None


def mapped(name: Name, sizes: Sequence[int]) -> list[memoryview]:
    """
    Return the buffers in another process's segment, writable and private (copied on write).

    Raises
    ------
    OSError
        The segment is gone.
    """
    with open(opened(name, os.O_RDONLY), "rb", buffering=0) as segment:
        whole = memoryview(mmap.mmap(segment.fileno(), 0, access=mmap.ACCESS_COPY))
    return [whole[at : at + size] for at, size in zip(_offsets(sizes), sizes, strict=True)]


def shared(name: Name, size: int) -> mmap.mmap:
    """
    Return another process's memory, of so many bytes, for both to write in.

    Raises
    ------
    OSError
        The segment is gone.
    """
    with open(opened(name, os.O_RDWR), "r+b", buffering=0) as segment:
        return mmap.mmap(segment.fileno(), size)


def filled(name: Name, pieces: Sequence[Any]) -> tuple[int, ...]:
    """
    Write buffers into the segment that another process holds open for them; return their sizes.

    Raises
    ------
    OSError
        There is no room, or the segment is gone.
    """
    fd = opened(name, os.O_WRONLY)
    try:
        return _write(fd, pieces)
    except OSError:
        os.ftruncate(fd, 0)
        raise
    finally:
        os.close(fd)


def opened(name: Name, flags: int) -> int:
    """
    Open a descriptor of another process.

    Returns
    -------
    int
        The file descriptor.

    Raises
    ------
    OSError
        It is gone.
    """
    fd = os.open(name[0], flags | os.O_CLOEXEC | os.O_NONBLOCK)
    if _name(name[0], fd) != name:
        os.close(fd)
        raise FileNotFoundError(f"the shared memory {name[0]} is no longer what it was")
    return fd


def name_of(fd: int) -> Name:
    """Return the name by which other processes of this user can open a descriptor."""
    return _name(f"/proc/{os.getpid()}/fd/{fd}", fd)


def _name(path: str, fd: int) -> Name:
    found = os.fstat(fd)
    return path, found.st_dev, found.st_ino


def _write(fd: int, pieces: Sequence[Any]) -> tuple[int, ...]:
    views = [memoryview(piece).cast("B") for piece in pieces]
    sizes = tuple(map(len, views))
    for view, offset in zip(views, _offsets(sizes), strict=True):
        while view:
            done = os.pwrite(fd, view, offset)
            view, offset = view[done:], offset + done
    return sizes


def _offsets(sizes: Sequence[int]) -> Iterator[int]:
    """Tell where each buffer begins: at a page, so that arrays are aligned."""
    offset = 0
    for size in sizes:
        yield offset
        offset += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
