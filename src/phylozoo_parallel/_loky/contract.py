"""
Every name of joblib's and loky's insides that maps lean on, in one list, checked once.

::

    import ──► modules and classes, from where joblib itself has them ──┐ a needed one is not
    a pool opens ──► check(what, thing) ────────────────────────────────┘ there: `missing`

What is optional is done without. When a needed name is missing, maps run on plain calls of
``Parallel``, which lean on nothing that joblib does not export.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from importlib import import_module
from inspect import signature
from operator import attrgetter
from typing import Any

import joblib

NEEDED = {
    "joblib.parallel": "BACKENDS BatchedCalls get_active_backend",
    "loky.process_executor": """ShutdownExecutorError _ExecutorManagerThread.terminate_broken
        _global_shutdown""",
    "loky.backend.resource_tracker": "ensure_running",
    "threading": "_register_atexit",
    "Parallel": "_backend n_jobs",
    # The joblib that can tell a backend's exceptions, before 1.5, has no submit but apply_async,
    # and none of the settings.
    "its backend": """effective_n_jobs get_nested_backend nesting_level retrieve_result_callback
        start_call stop_call submit|get_exceptions""",
    "its backend of threads": "_pool",
    "its backend of processes": "backend_kwargs|get_exceptions inner_max_num_threads",
    "its open backend of processes": "_workers",
    "its executor": """_call_queue _executor_manager_thread _executor_manager_thread_wakeup.wakeup
        _flags.broken _flags.flag_as_broken _flags.kill_workers _flags.shutdown _max_workers
        _pending_work_items _processes _processes_management_lock _result_queue._writer
        _shutdown_lock _work_ids terminate""",
}
"""What maps need: by the thing that has it, names; of some, one of two."""

OPTIONAL = {
    # Where there is no surrounding context, or an old one of processes, it need not be asked for.
    "joblib.parallel": "DEFAULT_BACKEND _backend default_parallel_config",
    # Temporary files go where the user's context wants them.
    "Parallel": "_backend_kwargs|_backend_args",
    # Where joblib has no processes, maps run in place with a warning, and not as plain calls.
    "joblib._multiprocessing_helpers": "mp",
    # What a map leaves behind on a Dask cluster is cancelled.
    "joblib._dask": "DaskDistributedBackend",
    "its backend of Dask": "_callbacks _collect client",
    # An executor that joblib opened before is found: shared, not resized while it is busy.
    "loky.reusable_executor": "_executor|_executor_storage _executor_lock",
    # The direct path: a task skips two threads of loky on its way to a worker.
    "loky.process_executor": "_CallItem _WorkItem.fn _WorkItem.future",
    "its executor": """_call_queue._buffer _call_queue._sem.acquire _call_queue._wlock.acquire
        _call_queue._wlock._semlock._is_mine _call_queue._writer.send_bytes _call_queue.full
        _call_queue.qsize _running_work_items.append _work_ids.mutex _work_ids.queue""",
    # Its workers have one hash seed.
    "its executor that has not started": "_env",
    # On Windows, Ctrl-C is the caller's alone.
    "loky.backend.popen_loky_win32": "_winapi",
    # All workers begin with a call, and without a task.
    "its executor's workers": "_ensure_executor_running _env _initargs _initializer",
    # A worker that holds much on purpose is not replaced.
    "a worker's loky.process_executor": "_MAX_MEMORY_LEAK_SIZE",
}
"""What is done without where it is missing."""

missing = ""
"""What is needed and not there; maps then run on plain calls of ``Parallel``."""


class Missing(Exception):
    """joblib or loky is not as maps need it; the text says what is not there."""


def check(what: str, thing: Any) -> None:
    """
    Look for all that maps need of a thing, before anything depends on it.

    Raises
    ------
    Missing
        A name is not there; from now on `missing` says so.
    """
    lacks = lacking(what, thing)
    if lacks:
        raise miss(lacks)


def lacking(what: str, thing: Any) -> str:
    """Say what that maps need a thing has not; empty if it has all."""
    for names in NEEDED[what].split():
        if not has(thing, names):
            return f"{what} has no {names.replace('|', ' or ')}"
    return ""


def miss(what: str) -> Missing:
    """Note that something needed is not there, and return the exception to raise."""
    global missing
    missing = missing or what
    return Missing(what)


def fits(what: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """
    Look whether something can be called in this way.

    Raises
    ------
    Missing
        It takes other arguments.
    """
    if not takes(call, *args, **kwargs):
        raise miss(f"{what} takes other arguments")


def takes(call: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Tell whether something can be called in this way."""
    with suppress(TypeError, ValueError):
        signature(call).bind(*args, **kwargs)
        return True
    return False


def has(thing: Any, names: str) -> bool:
    """Tell whether a thing has an attribute, which may have dots or be one of two."""
    for name in names.split("|"):
        with suppress(AttributeError):
            attrgetter(name)(thing)
            return True
    return False


def optional(what: str, thing: Any) -> bool:
    """Tell whether a thing has all that is optional of it."""
    return all(has(thing, names) for names in OPTIONAL[what].split())


def _loky() -> str:
    """Find the package of joblib's executor: its own copy of loky, or loky itself."""
    with suppress(ImportError, AttributeError):
        executor = import_module("joblib.executor").MemmappingExecutor
        return str(executor.__base__.__module__.rpartition(".")[0])
    with suppress(ImportError):
        return import_module("joblib.externals.loky").__name__
    return "loky"


def _module(what: str) -> Any:
    """Import a module, whose name may begin with "loky", and look for what is needed of it."""
    module = None
    with suppress(ImportError):
        module = import_module(LOKY + what[4:] if what.startswith("loky.") else what)
    with suppress(Missing):
        check(what, module)
    return module


VERSION = getattr(joblib, "__version__", "of unknown version")
LOKY = _loky()
parallel = _module("joblib.parallel")
process_executor = _module("loky.process_executor")
resource_tracker = _module("loky.backend.resource_tracker")
reusable_executor: Any = None
with suppress(ImportError):
    reusable_executor = import_module(f"{LOKY}.reusable_executor")
with suppress(Missing):
    check("threading", threading)

BACKENDS: dict[str, Any] = getattr(parallel, "BACKENDS", {})
BatchedCalls: Any = getattr(parallel, "BatchedCalls", None)


def _backend(name: str) -> Any:
    found = BACKENDS.get(name.lower()) or getattr(parallel, f"{name}Backend", None)
    return found or type(None)


LokyBackend = _backend("Loky")
MultiprocessingBackend = _backend("Multiprocessing")
SequentialBackend = _backend("Sequential")
ThreadingBackend = _backend("Threading")

LOST: tuple[type[BaseException], ...] = (BrokenProcessPool,)
"""What loky raises for the tasks of a pool whose workers are gone."""
if hasattr(process_executor, "ShutdownExecutorError"):
    LOST += (process_executor.ShutdownExecutorError,)
