"""The names of the three backends."""

from __future__ import annotations

from enum import Enum


class ParallelBackend(Enum):
    """
    How a map runs.

    - ``SEQUENTIAL``: one item after the other in the caller's thread, lazily.
    - ``THREADING``: worker threads that share memory; for I/O and for code that releases
      the global interpreter lock.
    - ``MULTIPROCESSING``: worker processes; for everything else.

    A member is equal to the member of the same name of PhyloZoo's own ``ParallelBackend``, and has
    the same hash, because code written for PhyloZoo compares with the enumeration that it imported.
    """

    SEQUENTIAL = "sequential"
    THREADING = "threading"
    MULTIPROCESSING = "multiprocessing"

    def __eq__(self, other: object) -> bool:
        if type(other).__qualname__ != "ParallelBackend":
            return self is other
        return isinstance(other, Enum) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self._name_)
