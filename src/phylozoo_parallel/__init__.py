"""PhyloZoo's documented parallel interface, running on joblib.

Importing this package imports neither joblib nor NumPy nor PhyloZoo; the first parallel map
imports what it needs.
"""

from typing import TYPE_CHECKING, Any

from phylozoo_parallel._progress import progress
from phylozoo_parallel.backend import ParallelBackend
from phylozoo_parallel.config import ParallelConfig
from phylozoo_parallel.errors import PhyloZooTypeError, PhyloZooValueError
from phylozoo_parallel.executors import (
    MultiprocessingExecutor,
    SequentialExecutor,
    ThreadingExecutor,
)
from phylozoo_parallel.protocol import ParallelExecutor

if TYPE_CHECKING:
    from phylozoo_parallel.lost import WorkerLostError as WorkerLostError
    from phylozoo_parallel.profiles import profile as profile

    __version__: str

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

if not TYPE_CHECKING:  # type checkers would believe that every name exists here

    def __getattr__(name: str) -> Any:
        if name == "__version__":  # importlib.metadata is slow to import
            from importlib.metadata import version

            return version("phylozoo-parallel")
        if name == "WorkerLostError":  # its base class is slow to import
            from phylozoo_parallel.lost import WorkerLostError

            return WorkerLostError
        if name == "profile":  # rarely used
            from phylozoo_parallel.profiles import profile

            return profile
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
