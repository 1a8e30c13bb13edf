"""
How values reach another process: small ones in the message, large ones in shared memory.

::

    value ──pickle──► stream, large buffers ──┬─ small ──► bytes ──────────────► message
                                              ├─ large ──► Segment ◄── mapped ── worker
                                              └─ no segment to be had ──► list ► message

A segment is memory (or a file) without a name: the worker opens it through the caller's
entry in ``/proc``, and it vanishes with its holders, however they end. Each large buffer is
mapped copy-on-write, so arrays arrive without a copy, writable and private. Segments are
filled with ``write``: where there is no room that is an error, and not a crash (SIGBUS) as
it would be through a mapping. Systems without such memory put everything into the message.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

LARGE = 1 << 20
"""Bytes from which a buffer, or a whole pickle, travels in a segment; joblib's threshold too."""

Packed = Any
"""``bytes``; ``list`` of the stream and its buffers; or ``tuple`` of segment name and sizes."""

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
        if folder is not None:
            self.fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        elif hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("phylozoo-parallel")
            os.fchmod(self.fd, 0o600)
        else:
            raise OSError("no memory that another process could open")
        if self.fd <= 2:  # of a closed stdin, stdout or stderr: what is printed would go there
            import fcntl  # where there are nameless files, there is this

            low, self.fd = self.fd, fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(low)
        self.name = name_of(self.fd)

    def read(self, sizes: Sequence[int]) -> Any:
        """Return the value whose parts have these sizes, copied out of the segment."""
        # A mapping would keep a file descriptor open for as long as the caller keeps an array.
        pieces = [memoryview(bytearray(size)) for size in sizes]
        for left, offset in zip(pieces, _offsets(sizes), strict=True):
            while left:
                done = os.preadv(self.fd, [left], offset)
                if not done:
                    raise EOFError("shared memory ends before the value in it")
                left, offset = left[done:], offset + done
        return pickle.loads(pieces[0], buffers=pieces[1:])

    def close(self) -> None:
        """Let go; what is mapped stays until its last user lets go too."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def opened(name: Name, flags: int) -> int:
    """
    Open a segment of another process.

    Returns
    -------
    int
        The file descriptor.

    Raises
    ------
    OSError
        The segment is gone.
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


def parts(value: Any, dumps: Callable[..., bytes]) -> list[Any]:
    """
    Pickle a value.

    Parameters
    ----------
    value
        Anything.
    dumps
        ``pickle.dumps`` or ``cloudpickle.dumps``.

    Returns
    -------
    list
        The pickle, then the large buffers that belong to it but were not copied into it.
    """
    buffers: list[Any] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        with suppress(BufferError):  # not contiguous
            view = buffer.raw()
            if view.nbytes >= LARGE:
                buffers.append(view)
                return False
        return True

    return [dumps(value, protocol=5, buffer_callback=in_band), *buffers]


def pack(pieces: list[Any], folder: str | None) -> tuple[Packed, Segment | None]:
    """
    Choose how a large pickled value travels to a process on this machine.

    Parameters
    ----------
    pieces : list
        From :func:`parts`.
    folder : str or None
        Where the user wants temporary files; None for memory.

    Returns
    -------
    tuple
        What goes into the message, and the segment to keep open until it has been used.
    """
    for find in (lambda: folder,) if folder else (lambda: None, tempfile.gettempdir):
        try:
            segment = Segment(find())  # there may be no temporary directory, either
        except (OSError, AttributeError):  # O_TMPFILE is Linux's
            continue
        try:
            return (segment.name, _write(segment.fd, pieces)), segment
        except OSError:  # no room
            segment.close()
    return in_message(pieces), None


def in_message(pieces: list[Any]) -> Packed:
    """Return a pickled value in the form that needs no shared memory."""
    if len(pieces) == 1:
        return pieces[0]
    return [pieces[0], *map(bytearray, pieces[1:])]  # bytearray: arrays stay writable


def unpack(packed: Packed) -> Any:
    """Return the value, in whatever process it arrived."""
    if isinstance(packed, bytes):
        return pickle.loads(packed)
    if isinstance(packed, tuple):
        name, sizes = packed
        with open(opened(name, os.O_RDONLY), "rb", buffering=0) as segment:
            whole = memoryview(mmap.mmap(segment.fileno(), 0, access=mmap.ACCESS_COPY))
        packed = [whole[at : at + size] for at, size in zip(_offsets(sizes), sizes, strict=True)]
    return pickle.loads(packed[0], buffers=packed[1:])


def answer(name: Name, pieces: list[Any]) -> Packed:
    """Write a large value into the segment that the caller holds open for it."""
    fd = opened(name, os.O_WRONLY)
    try:
        return name, _write(fd, pieces)
    except OSError:
        os.ftruncate(fd, 0)
        raise
    finally:
        os.close(fd)


class Scattered(list[Any]):
    """Large parts in a message; Dask passes on what can be weakly referenced, and sends it once."""

    def __init__(self, packed: Packed) -> None:
        super().__init__([packed] if isinstance(packed, bytes) else packed)


def size(packed: Packed) -> int:
    """Return how many bytes a packed value takes."""
    if isinstance(packed, bytes):
        return len(packed)
    return sum(packed[1]) if isinstance(packed, tuple) else sum(map(len, packed))


def _write(fd: int, pieces: Sequence[Any]) -> tuple[int, ...]:
    views = [memoryview(piece).cast("B") for piece in pieces]
    sizes = tuple(map(len, views))
    for view, offset in zip(views, _offsets(sizes), strict=True):
        while view:
            done = os.pwrite(fd, view, offset)
            view, offset = view[done:], offset + done
    return sizes


def _offsets(sizes: Sequence[int]) -> Iterator[int]:
    """Tell where each part begins: at a page, so that arrays are aligned."""
    offset = 0
    for size in sizes:
        yield offset
        offset += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
