"""PhyloZoo's documented parallel interface, running on joblib.

Importing this package imports neither joblib nor NumPy nor PhyloZoo; the first parallel
map does what it needs.
"""

from phylozoo_parallel.backend import ParallelBackend
from phylozoo_parallel.config import ParallelConfig
from phylozoo_parallel.errors import PhyloZooTypeError, PhyloZooValueError
from phylozoo_parallel.executors import (
    MultiprocessingExecutor,
    ParallelExecutor,
    SequentialExecutor,
    ThreadingExecutor,
)

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
