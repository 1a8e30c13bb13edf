"""
How values get to another process: small ones in the message, large ones in shared memory.

::

    value ──pickle──► stream, large buffers ──┬─ small ──► bytes ──────────────► message
                                              ├─ large ──► Segment ◄── mapped ── worker
                                              └─ no shared memory ──► list ────► message

Workers map each large buffer copy-on-write: so an array is not copied until it is written to, and
changes in one process are not seen in another. Without shared memory, everything goes into the
message.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phylozoo_parallel._shipping import memory
from phylozoo_parallel._shipping.memory import Name, Segment

LARGE = 1 << 20
"""From this many bytes on, a buffer or a whole pickle goes into a segment; as in joblib."""

Packed = Any
"""``bytes``; ``list`` of the pickle and its buffers; or ``tuple`` of segment name and sizes."""

copied: bool = False
"""Whether this process has objects that must stay one object, and that plain pickle would copy."""


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
        The pickle, then the large buffers, which were not copied into it.
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
    Pack a large pickled value for a process on this machine.

    Parameters
    ----------
    pieces : list
        From :func:`parts`.
    folder : str or None
        The user's folder for temporary files; None for memory.

    Returns
    -------
    tuple
        What to put into the message, and the segment (or None) to keep open until it was read.
    """
    found = memory.stored(pieces, folder)
    if found is None:
        return in_message(pieces), None
    segment, sizes = found
    return (segment.name, sizes), segment


def in_message(pieces: list[Any]) -> Packed:
    """Return a pickled value in the form that needs no shared memory."""
    if len(pieces) == 1:
        return pieces[0]
    return [pieces[0], *map(bytearray, pieces[1:])]  # bytearray: arrays stay writable


def unpack(packed: Packed) -> Any:
    """Return the value of a message, in the process that received it."""
    if isinstance(packed, bytes):
        return pickle.loads(packed)
    if isinstance(packed, tuple):
        packed = memory.mapped(*packed)
    return pickle.loads(packed[0], buffers=packed[1:])


def read(segment: Segment, sizes: tuple[int, ...]) -> Any:
    """Return the value that a worker wrote into a segment of this process."""
    stream, *buffers = segment.read(sizes)
    return pickle.loads(stream, buffers=buffers)


def answer(name: Name, pieces: list[Any]) -> Packed:
    """Write a large value into the segment that the caller holds open for it; called in workers."""
    return name, memory.filled(name, pieces)


class Scattered(list[Any]):
    """
    Large parts of a message, in a list that can be weakly referenced.

    joblib's backend for Dask sends such an object to the cluster once, and not with each task.
    """

    def __init__(self, packed: Packed) -> None:
        super().__init__([packed] if isinstance(packed, bytes) else packed)

    def __reduce__(self) -> tuple[Any, ...]:
        # It unpickles to a plain list: the other machine may not have this library.
        return list, (list(self),)


def size(packed: Packed) -> int:
    """Return how many bytes a packed value takes."""
    if isinstance(packed, bytes):
        return len(packed)
    return sum(packed[1]) if isinstance(packed, tuple) else sum(map(len, packed))
