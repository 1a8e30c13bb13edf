"""PhyloZoo's documented import path; all the code lives in :mod:`phylozoo_parallel`."""

from phylozoo_parallel import MultiprocessingExecutor as MultiprocessingExecutor
from phylozoo_parallel import ParallelBackend as ParallelBackend
from phylozoo_parallel import ParallelConfig as ParallelConfig
from phylozoo_parallel import ParallelExecutor as ParallelExecutor
from phylozoo_parallel import PhyloZooTypeError as PhyloZooTypeError
from phylozoo_parallel import PhyloZooValueError as PhyloZooValueError
from phylozoo_parallel import SequentialExecutor as SequentialExecutor
from phylozoo_parallel import ThreadingExecutor as ThreadingExecutor

__all__ = [
    "MultiprocessingExecutor",
    "ParallelBackend",
    "ParallelConfig",
    "ParallelExecutor",
    "PhyloZooTypeError",
    "PhyloZooValueError",
    "SequentialExecutor",
    "ThreadingExecutor",
]
