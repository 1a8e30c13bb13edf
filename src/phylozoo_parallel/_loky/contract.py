"""
The list of all private names of joblib and loky that maps use; each is checked before its use.

::

    import ──► modules and classes, from where joblib itself has them ──┐ a needed one is not
    a pool opens ──► check(what, thing) ────────────────────────────────┘ there: `missing`

If an optional name is missing, maps do without what it is used for. If a needed name is missing,
maps run on plain calls of ``Parallel``, which use only names that joblib exports.
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
    "its backend": """effective_n_jobs get_nested_backend nesting_level retrieve_result_callback
        start_call stop_call submit""",
    "its backend of threads": "_pool",
    "its backend of processes": "backend_kwargs inner_max_num_threads",
    "its open backend of processes": "_workers",
    "its executor": """_call_queue _executor_manager_thread _executor_manager_thread_wakeup.wakeup
        _flags.broken _flags.flag_as_broken _flags.kill_workers _flags.shutdown _max_workers
        _pending_work_items _processes _processes_management_lock _result_queue._writer
        _shutdown_lock _work_ids terminate""",
}
"""What maps need: the names that each thing must have; with a ``|`` one of two is enough."""

OPTIONAL = {
    # Saves asking joblib for the backend where there is no context.
    "joblib.parallel": "DEFAULT_BACKEND _backend default_parallel_config",
    # Temporary files go to the folder that the user's context names.
    "Parallel": "_backend_kwargs",
    # Where joblib has no processes, maps run in the caller, with a warning.
    "joblib._multiprocessing_helpers": "mp",
    # Tasks that a map leaves on a Dask cluster are cancelled.
    "joblib._dask": "DaskDistributedBackend",
    "its backend of Dask": "_callbacks _collect client",
    # An executor that joblib opened before is found, and so is shared and not resized while busy.
    "loky.reusable_executor": "_executor|_executor_storage _executor_lock",
    # A map that needs no new workers does not wait until those that there are have nothing to do.
    "its backend of processes": "_prepare_worker_env",
    # The direct path: a task goes to a worker without passing two of loky's threads.
    "loky.process_executor": "_CallItem _WorkItem.fn _WorkItem.future",
    "its executor": """_call_queue._buffer _call_queue._sem.acquire _call_queue._wlock.acquire
        _call_queue._wlock._semlock._is_mine _call_queue._writer.send_bytes _call_queue.full
        _call_queue.qsize _running_work_items.append _work_ids.mutex _work_ids.queue""",
    # All its workers have the same hash seed.
    "its executor that has not started": "_env",
    # On Windows, Ctrl-C interrupts the caller only.
    "loky.backend.popen_loky_win32": "_winapi",
    # All workers run our initializer, and start before the first task.
    "its executor's workers": "_ensure_executor_running _env _initargs _initializer",
    # The manager thread keeps registered what it waits for.
    "its executor's manager": """thread_wakeup._reader thread_wakeup.clear
        wait_result_broken_or_wakeup""",
    # Workers pickle the outcomes of chunks by pickle alone.
    "a worker's loky.backend.queues": "dumps",
    # loky does not replace a worker because of memory that it holds on purpose.
    "a worker's loky.process_executor": "_MAX_MEMORY_LEAK_SIZE",
}
"""What maps can do without, in the same form; the comments say what each group is for."""

missing = ""
"""What is needed and missing, if anything; maps then run on plain calls of ``Parallel``."""


class Missing(Exception):
    """Something that maps need of joblib or loky is missing; the text says what."""


def check(what: str, thing: Any) -> None:
    """
    Check that a thing has all the names that maps need, before anything depends on them.

    Raises
    ------
    Missing
        A name is missing; from now on `missing` says so.
    """
    lacks = lacking(what, thing)
    if lacks:
        raise miss(lacks)


def lacking(what: str, thing: Any) -> str:
    """Return which needed name a thing lacks, as a sentence; empty if it has all."""
    for names in NEEDED[what].split():
        if not has(thing, names):
            return f"{what} has no {names.replace('|', ' or ')}"
    return ""


def miss(what: str) -> Missing:
    """Note that something needed is missing, and return the exception to raise."""
    global missing
    missing = missing or what
    return Missing(what)


def fits(what: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """
    Check that something can be called with such arguments.

    Raises
    ------
    Missing
        It takes other arguments.
    """
    if not takes(call, *args, **kwargs):
        raise miss(f"{what} takes other arguments")


def takes(call: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Return whether something can be called with such arguments."""
    with suppress(TypeError, ValueError):
        signature(call).bind(*args, **kwargs)
        return True
    return False


def has(thing: Any, names: str) -> bool:
    """Return whether a thing has an attribute; `names` may have dots, and ``|`` between two."""
    for name in names.split("|"):
        with suppress(AttributeError):
            attrgetter(name)(thing)
            return True
    return False


def optional(what: str, thing: Any) -> bool:
    """Return whether a thing has all its optional names."""
    return all(has(thing, names) for names in OPTIONAL[what].split())


def _loky() -> str:
    """Return the name of the loky that joblib uses: its own copy, or an installed package."""
    with suppress(ImportError, AttributeError):
        executor = import_module("joblib.executor").MemmappingExecutor
        return str(executor.__base__.__module__.rpartition(".")[0])
    with suppress(ImportError):
        return import_module("joblib.externals.loky").__name__
    return "loky"


def _module(what: str) -> Any:
    """Import a module (of joblib's loky, if its name begins with "loky.") and check its names."""
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
"""The exceptions that loky raises for the tasks of a pool whose workers are gone."""
if hasattr(process_executor, "ShutdownExecutorError"):
    LOST += (process_executor.ShutdownExecutorError,)
