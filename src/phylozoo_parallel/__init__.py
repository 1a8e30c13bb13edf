"""PhyloZoo's documented parallel interface, running on joblib.

Importing this package imports neither joblib nor NumPy nor PhyloZoo; the first parallel map
imports what it needs. Each name below is imported when it is first used, because every worker
process imports this package, and needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phylozoo_parallel._progress import progress as progress
    from phylozoo_parallel.backend import ParallelBackend as ParallelBackend
    from phylozoo_parallel.config import ParallelConfig as ParallelConfig
    from phylozoo_parallel.errors import PhyloZooTypeError as PhyloZooTypeError
    from phylozoo_parallel.errors import PhyloZooValueError as PhyloZooValueError
    from phylozoo_parallel.executors import MultiprocessingExecutor as MultiprocessingExecutor
    from phylozoo_parallel.executors import SequentialExecutor as SequentialExecutor
    from phylozoo_parallel.executors import ThreadingExecutor as ThreadingExecutor
    from phylozoo_parallel.lost import WorkerLostError as WorkerLostError
    from phylozoo_parallel.profiles import profile as profile
    from phylozoo_parallel.protocol import ParallelExecutor as ParallelExecutor

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

_MODULES = {
    "MultiprocessingExecutor": "executors",
    "ParallelBackend": "backend",
    "ParallelConfig": "config",
    "ParallelExecutor": "protocol",
    "PhyloZooTypeError": "errors",
    "PhyloZooValueError": "errors",
    "SequentialExecutor": "executors",
    "ThreadingExecutor": "executors",
    "WorkerLostError": "lost",
    "profile": "profiles",
    "progress": "_progress",
}

if not TYPE_CHECKING:  # type checkers would believe that every name exists here

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("phylozoo-parallel")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
