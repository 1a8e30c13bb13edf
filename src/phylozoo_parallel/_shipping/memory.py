"""
Segments: memory that other processes of this user can open.

::

    Linux      memory (or a file) without a name, reached through the caller's entry in /proc
    Windows    a file that is deleted with its last handle
    others     a file in a folder of this process

Segments are filled with ``write``, and not through a mapping: if there is no room, ``write`` is an
error, and a mapping would crash the process (SIGBUS).
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

if sys.platform == "linux":
    from phylozoo_parallel._shipping.memory_linux import made, removed
    from phylozoo_parallel._shipping.memory_linux import opened as _opened
elif sys.platform == "win32":
    from phylozoo_parallel._shipping.memory_windows import made, removed
    from phylozoo_parallel._shipping.memory_windows import opened as _opened
else:
    from phylozoo_parallel._shipping.memory_files import made, removed
    from phylozoo_parallel._shipping.memory_files import opened as _opened

Name = tuple[str, int, int]
"""Path, device and inode of a segment; the path alone could lead to another file by now."""

AT_ONCE = 1 << 30
"""Most bytes to write in one call; macOS and Windows refuse more than a signed ``int`` holds."""


class Segment:
    """
    Memory, or a file, that other processes of this user can open.

    Parameters
    ----------
    folder : str or None
        Folder for a file; None for memory, or on other systems for the temporary directory.

    Raises
    ------
    OSError
        It cannot be made.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.fd, path = made(folder)
        low = []
        # The number of a closed stdin, stdout or stderr is no good: prints would go into it.
        while self.fd <= 2:
            low.append((self.fd, path))
            self.fd, path = made(folder)
        for low_fd, low_path in low:
            os.close(low_fd)
            removed(low_path)
        self.name = named(path, self.fd)

    def write(self, pieces: Sequence[Any]) -> tuple[int, ...]:
        """Write buffers one after the other, and return their sizes in bytes."""
        return _write(self.fd, pieces)

    def read(self, sizes: Sequence[int]) -> list[memoryview]:
        """Return copies of the buffers in the segment, which have these sizes."""
        # With a mapping, a file descriptor would stay open as long as the user keeps an array.
        pieces = [memoryview(bytearray(size)) for size in sizes]
        with open(self.fd, "rb", buffering=0, closefd=False) as file:
            for left, offset in zip(pieces, _offsets(sizes), strict=True):
                file.seek(offset)
                while left:
                    done = file.readinto(left)
                    if not done:
                        raise EOFError("shared memory ends before the value in it")
                    left = left[done:]
        return pieces

    def share(self, size: int) -> mmap.mmap:
        """Return `size` bytes of this memory; all processes that map it can write into it."""
        os.ftruncate(self.fd, size)
        return mmap.mmap(self.fd, size)

    def close(self) -> None:
        """Close the segment; the memory stays until the last process that maps it lets it go."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            removed(self.name[0])


def stored(pieces: Sequence[Any], folder: str | None) -> tuple[Segment, tuple[int, ...]] | None:
    """
    Write buffers into a new segment.

    Parameters
    ----------
    pieces : sequence of buffers
    folder : str or None
        The user's folder for temporary files; None for memory or, without room there, the temporary
        directory.

    Returns
    -------
    tuple or None
        The segment and the sizes of the buffers; None if there is no room.
    """
    for find in (lambda: folder,) if folder else (lambda: None, tempfile.gettempdir):
        try:
            segment = Segment(find())  # find, too, fails if there is no temporary directory
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
    return [whole[start : start + size] for start, size in zip(_offsets(sizes), sizes, strict=True)]


def shared(name: Name, size: int) -> mmap.mmap:
    """
    Return `size` bytes of another process's memory, into which both can write.

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
    Open the segment, or the pipe, of another process.

    Returns
    -------
    int
        A file descriptor.

    Raises
    ------
    OSError
        It is gone.
    """
    fd = _opened(name[0], flags)
    if named(name[0], fd) != name:
        os.close(fd)
        raise FileNotFoundError(
            f"the shared memory {name[0]} is gone, and another file has its name"
        )
    return fd


def named(path: str, fd: int) -> Name:
    """Return the name of a file descriptor that other processes open by this path."""
    found = os.fstat(fd)
    return path, found.st_dev, found.st_ino


def _write(fd: int, pieces: Sequence[Any]) -> tuple[int, ...]:
    views = [memoryview(piece).cast("B") for piece in pieces]
    sizes = tuple(map(len, views))
    for view, offset in zip(views, _offsets(sizes), strict=True):
        os.lseek(fd, offset, os.SEEK_SET)  # no other thread uses this descriptor meanwhile
        while view:
            view = view[os.write(fd, view[:AT_ONCE]) :]
    return sizes


def _offsets(sizes: Sequence[int]) -> Iterator[int]:
    """Yield where each buffer begins: at the start of a page, so that arrays are aligned."""
    offset = 0
    for size in sizes:
        yield offset
        offset += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
