"""PhyloZoo's documented import path; all the code lives in :mod:`phylozoo_parallel`."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

import phylozoo_parallel as _ours
from phylozoo_parallel import MultiprocessingExecutor as MultiprocessingExecutor
from phylozoo_parallel import ParallelBackend as ParallelBackend
from phylozoo_parallel import ParallelConfig as ParallelConfig
from phylozoo_parallel import ParallelExecutor as ParallelExecutor
from phylozoo_parallel import PhyloZooTypeError as PhyloZooTypeError
from phylozoo_parallel import PhyloZooValueError as PhyloZooValueError
from phylozoo_parallel import SequentialExecutor as SequentialExecutor
from phylozoo_parallel import ThreadingExecutor as ThreadingExecutor
from phylozoo_parallel import progress as progress

if _TYPE_CHECKING:
    from phylozoo_parallel import WorkerLostError as WorkerLostError
    from phylozoo_parallel import profile as profile

__all__ = [
    "MultiprocessingExecutor",
    "ParallelBackend",
    "ParallelConfig",
    "ParallelExecutor",
    "PhyloZooTypeError",
    "PhyloZooValueError",
    "SequentialExecutor",
    "ThreadingExecutor",
    "WorkerLostError",
    "profile",
    "progress",
]

if not _TYPE_CHECKING:  # type checkers would believe that every name exists here

    def __getattr__(name: str) -> object:
        return getattr(_ours, name)
