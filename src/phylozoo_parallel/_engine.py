"""
The open ``joblib.Parallel`` that chunks run on; all that leans on joblib's insides.

::

    open_engine ──► Engine (one map's use of it) ──submit──► backend of an open Parallel
                                                   ◄──done(out), in a joblib thread──┘

A ``Parallel`` that is called polls for results, dispatches from callbacks and kills its pool
when a call is abandoned. One that is only held open has none of these habits: a map submits
to its backend from the caller's thread, and the callback does no more than put what came out
into the map's queue. Backends that cannot do this get one list call a window.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing.util import Finalize
from typing import Any
from weakref import WeakSet

import joblib
import joblib.parallel
from joblib import Parallel
from joblib._parallel_backends import LokyBackend, MultiprocessingBackend, SequentialBackend
from joblib.externals.loky import reusable_executor
from joblib.parallel import BACKENDS, BatchedCalls, default_parallel_config

from phylozoo_parallel import _loky, _worker
from phylozoo_parallel._threads import Threads
from phylozoo_parallel.errors import PhyloZooValueError

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function, and its arguments."""

Done = Callable[[Any], None]
"""Takes what came of a call, for :meth:`Engine.outcome`."""

LEAK_LIMIT = ("joblib.externals.loky.process_executor", "_MAX_MEMORY_LEAK_SIZE")
"""Where a worker finds the bytes that it may grow by before joblib replaces it."""

IDLE_THREAD_POOLS = 4
"""Pools of worker threads, of different sizes, that stay open; more while maps use them."""

_here = threading.local()
"""``_here.busy`` is true while this thread is inside joblib, which is not reentrant."""

_no_context = (LokyBackend(nesting_level=0), None)
_lock = threading.RLock()
_kept: dict[int | str, _Pool] = {}
"""Open for the next map: of worker threads by how many they are, and of "processes"."""

_lent: dict[int, _Pool] = {}
"""On backends of the user's contexts, by the backend's id; open while a map uses them."""


class _Pool:
    """An open ``Parallel`` and the maps that use it."""

    def __init__(self, backend: Any, workers: int, settings: Any = None) -> None:
        self.settings = settings
        # prefer and require are hints for choosing a backend; this one is chosen. One chunk is
        # one task: no batches of them.
        self.parallel = Parallel(
            backend=backend, prefer=None, require=None, batch_size=1, pre_dispatch="all"
        )
        self.users: WeakSet[Engine] = WeakSet()
        self.kept = True
        """Whether it stays open for the next map; otherwise it closes with its last one."""
        self.calling = threading.Lock()
        self.open(workers)

    def open(self, workers: int) -> None:
        _loky.fill_streams()
        # joblib runs a single worker's work in the caller; with two, it stays in workers.
        self.parallel.n_jobs = max(workers, 2)
        own = isinstance(self.parallel._backend, LokyBackend)
        if own:
            _loky.resize(reusable_executor._executor, self.parallel.n_jobs)
        with _loky.deaf_to_interrupts() if own else nullcontext():
            self.parallel.__enter__()
        self.backend = backend = self.parallel._backend
        # Ray's backend is a subclass of joblib's for multiprocessing.
        self.place = isinstance(backend, LokyBackend) or type(backend) is MultiprocessingBackend
        self.workers = self.backend.effective_n_jobs(self.parallel.n_jobs)
        self.nested = self.backend.get_nested_backend()
        self.backend.start_call()
        if type(self.backend) is LokyBackend:
            # An empty batch has the workers start while this process does other things.
            executor = self.backend._workers
            with suppress(*_loky.LOST), _loky.straight(executor):
                self.backend.submit(BatchedCalls([], self.nested))
            _loky.leave_with(executor)

    def close(self) -> None:
        self.backend.stop_call()
        self.parallel.__exit__(None, None, None)


class Engine:
    """
    One map's use of an open ``Parallel``.

    Attributes
    ----------
    workers : int
        Chunks that run at the same time.
    window : int
        Chunks to keep in flight: running, and waiting next in line.
    pickles : bool
        Whether chunks leave this process.
    place : bool
        Whether the workers are on this machine.
    name : str
        The class of joblib's backend.
    ends_workers : bool
        Whether a worker that takes too long can be ended, or done without.
    """

    pickles = True
    ends_workers = False

    def __init__(self, pool: _Pool, workers: int) -> None:
        self.workers = workers
        # On a pool of another size the window is what keeps this map to its share of it.
        self.window = 2 * workers if workers == pool.workers else workers
        self.place = pool.place
        self.name = type(pool.backend).__name__
        self._pool = pool
        pool.users.add(self)

    @property
    def folder(self) -> str | None:
        """Where the user's joblib settings want temporary files."""
        folder: str | None = self._pool.parallel._backend_kwargs["temp_folder"]
        return folder or os.environ.get("JOBLIB_TEMP_FOLDER")

    def submit(self, call: Call, done: Done) -> None:
        """Have a call run in a worker; `done` gets what :meth:`outcome` takes."""
        self._pool.backend.submit(self._batch(call), callback=done)

    def _batch(self, call: Call) -> BatchedCalls:
        return BatchedCalls([(*call, {})], self._pool.nested)

    def flush(self) -> None:
        """Start what was submitted, on engines that do not start it at once."""

    def outcome(self, out: Any) -> Any:
        """Return what the worker returned, or raise what kept it from doing so."""
        if isinstance(out, BaseException):  # WorkersLost, or what Dask says of a failed task
            raise out
        return self._pool.backend.retrieve_result_callback(out)[0]

    def end_worker(self, pid: int) -> bool:
        """End a worker that takes too long, or do without it; tell whether it was there."""
        return False

    def end_workers(self) -> None:
        """End all workers at once, or do without them."""

    def look_after(self) -> None:
        """See to it that outcomes, or the news of their loss, can arrive."""

    def release(self) -> None:
        """End this map's use."""
        self._pool.users.discard(self)
        if not self._pool.kept:
            with _lock:
                if not self._pool.users:
                    _lent.pop(id(self._pool.backend), None)
                    self._pool.close()


class _ThreadEngine(Engine):
    """On worker threads, which nobody can end: a pool with one that hangs takes no more maps."""

    pickles = False
    ends_workers = True

    def end_worker(self, pid: int) -> bool:
        self.end_workers()
        return True

    def end_workers(self) -> None:
        with _lock, suppress(RuntimeError):  # the system has no more threads
            if _kept.get(self.workers) is self._pool:
                del _kept[self.workers]
                self._pool.kept = False
            self._pool.backend._pool.grow(self.workers)  # for the other maps that are on it

    def look_after(self) -> None:
        if sys.is_finalizing():
            raise RuntimeError("the worker threads have ended in the interpreter's shutdown")


class _ProcessEngine(Engine):
    """On joblib's pool of worker processes, which is opened anew when workers are lost."""

    ends_workers = True
    _ailing: Any = None

    def submit(self, call: Call, done: Done) -> None:
        pool = self._pool
        with _lock:  # nobody else opens the pool anew meanwhile: it has to be this executor's task
            executor = pool.backend._workers

            def landed(future: Any) -> None:
                if isinstance(future.exception(), _loky.LOST):
                    # Here the others of a broken pool still run: it is the moment to see who died.
                    _loky.when_gone(executor, partial(done, _loky.lost(executor)))
                else:
                    done(future)

            _here.busy = True
            try:
                with _loky.straight(executor):
                    pool.backend.submit(self._batch(call), callback=landed)
            except _loky.LOST:
                loss = _loky.lost(executor)
                pool.open(executor._max_workers)
                raise loss from None
            finally:
                _here.busy = False

    def end_worker(self, pid: int) -> bool:
        process = self._pool.backend._workers._processes.get(pid)
        if process is None or process.exitcode is not None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def end_workers(self) -> None:
        _loky.end(self._pool.backend._workers)

    def look_after(self) -> None:
        executor: Any = self._pool.backend._workers
        workers = list(executor._processes.values())
        died = not executor._flags.shutdown and any(it.exitcode is not None for it in workers)
        if died and self._ailing is executor:
            _loky.free(executor)
        self._ailing = executor if died else None  # joblib may be about to notice


class _DaskEngine(Engine):
    """On Dask, whose workers cannot see what is wanted: what a map leaves behind is cancelled."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[Done] = set()

    def submit(self, call: Call, done: Done) -> None:
        def told(out: Any) -> None:
            self._open.discard(told)
            done(out)

        def failed(future: Any) -> None:  # of which the backend does not tell
            if future.exception() is not None:
                told(future.exception())

        self._open.add(told)
        self._pool.backend.submit(self._batch(call), callback=told).add_done_callback(failed)

    def release(self) -> None:
        try:
            if self._open:
                backend = self._pool.backend
                with suppress(RuntimeError):  # Dask's loop is closed
                    backend.client.loop.add_callback(self._cancel, backend)
        finally:
            super().release()

    async def _cancel(self, backend: Any) -> None:
        import asyncio

        for _ in range(100):  # what was submitted last is not there yet
            # Finished results are on their way, and let come: Dask would complain.
            left = [
                future
                for future, told in backend._callbacks.items()
                if told in self._open and future.status == "pending"
            ]
            for future in reversed(left):  # or the places of the first go to the last
                await backend.client.cancel([future], asynchronous=True)
            await asyncio.sleep(0.01)
            if not self._open:
                break


class _ListEngine(Engine):
    """On a backend that only takes whole calls: one list call a window."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._waiting: list[tuple[Any, Done]] = []

    def submit(self, call: Call, done: Done) -> None:
        self._waiting.append(((*call, {}), done))

    def flush(self) -> None:
        calls, self._waiting = self._waiting, []
        if calls:
            with self._pool.calling:  # a Parallel takes one call at a time
                outs = self._pool.parallel([call for call, _ in calls])
            for (_, done), out in zip(calls, outs, strict=True):
                done(out)

    def outcome(self, out: Any) -> Any:
        return out


def worker_count(kind: str, wanted: int | None, within: Any = None) -> int:
    """
    Tell how many workers a map started here and now would use.

    Parameters
    ----------
    kind : {"threads", "processes"}
    wanted : int or None
        As given to the executor: None leaves it to joblib's context, -1 is all.
    within : tuple or None
        That context: its backend and worker count.
    """
    context, count = within or _context()
    if wanted is None:
        wanted = count if count is not None else (1 if kind == "threads" else -1)
    if wanted > 0:
        return wanted
    if wanted == 0:
        raise PhyloZooValueError(
            "n_jobs=0 of the surrounding joblib.parallel_config has no meaning; "
            "give it a positive integer or -1"
        )
    if kind == "processes" and not _in_memory(context):
        return int(context.effective_n_jobs(wanted))
    return max(1, int(joblib.cpu_count()) + 1 + wanted)


def open_engine(kind: str, wanted: int | None) -> Engine | None:
    """
    Find the engine for a map that starts here and now.

    Parameters
    ----------
    kind : {"threads", "processes"}
    wanted : int or None
        As for :func:`worker_count`.

    Returns
    -------
    Engine or None
        None inside a worker, where maps run sequentially.
    """
    context, _ = within = _context()
    if _inside_worker(kind, wanted, context) or _inside_joblib():
        return None
    workers = worker_count(kind, wanted, within)
    _here.busy = True
    try:
        with _lock:
            if kind == "threads":
                return _ThreadEngine(_thread_pool(workers), workers)
            if type(context) is LokyBackend or _in_memory(context):
                return _ProcessEngine(_process_pool(workers, context), workers)
            pool = _lent.get(id(context)) or _Pool(context, workers)
            if isinstance(pool.backend, SequentialBackend):  # joblib fell back to it
                return None
            pool.kept = False
            _lent[id(context)] = pool
            dask = sys.modules.get("joblib._dask")
            if dask is not None and isinstance(context, dask.DaskDistributedBackend):
                return _DaskEngine(pool, workers)
            return (Engine if context.supports_return_generator else _ListEngine)(pool, workers)
    finally:
        _here.busy = False


def close_idle(kind: str, workers: int) -> None:
    """Close the pool of worker threads of this size, or our hold on joblib's pool, if unused."""
    which = workers if kind == "threads" else kind
    with _lock:
        if which in _kept and not _kept[which].users:
            _kept.pop(which).close()


def _context() -> tuple[Any, int | None]:
    """Return the backend and the worker count of the surrounding ``joblib.parallel_config``."""
    config = getattr(joblib.parallel._backend, "config", default_parallel_config)
    if config is default_parallel_config and joblib.parallel.DEFAULT_BACKEND == "loky":
        return _no_context  # what joblib would make anew for every map
    active: tuple[Any, int | None] = joblib.parallel.get_active_backend()
    return active


def _in_memory(backend: Any) -> bool:
    return getattr(backend, "uses_threads", False) or getattr(backend, "supports_sharedmem", False)


def _inside_worker(kind: str, wanted: int | None, context: Any) -> bool:
    here = _worker.here.kind
    nested = here is not None or (context.nesting_level or 0) > 0
    if kind == "threads" and wanted is not None:
        in_process = here == "process" or (here is None and multiprocessing.parent_process())
        return nested and not in_process
    return nested or (kind == "processes" and multiprocessing.current_process().daemon)


def _inside_joblib() -> bool:
    """Tell whether a finalizer that the garbage collector runs has come upon joblib at work."""
    return getattr(_here, "busy", False) or threading.current_thread().name in _loky.THREADS


def _thread_pool(workers: int) -> _Pool:
    pool = _kept.pop(workers, None)
    if pool is None:
        idle = [it for it, pool in _kept.items() if it != "processes" and not pool.users]
        for size in idle[: max(len(idle) + 1 - IDLE_THREAD_POOLS, 0)]:
            _kept.pop(size).close()
        pool = _Pool(BACKENDS["threading"](nesting_level=0), workers)
        pool.backend._pool = Threads(pool.workers)
    _kept[workers] = pool  # the latest used comes last
    return pool


def _process_pool(workers: int, context: Any) -> _Pool:
    """Share joblib's own pool of processes, and resize it only when nobody uses it."""
    settings = _loky_settings(context)
    current = reusable_executor._executor
    open_now = current is not None and not current._flags.shutdown
    busy = open_now and current._pending_work_items
    size = current._max_workers if busy else max(workers, 2)
    pool = _kept.get("processes")
    if pool is None or pool.settings != settings:
        if pool is not None and not pool.users:
            pool.close()
        elif pool is not None:
            pool.kept = False
        own = LokyBackend(nesting_level=0, **settings["backend"])
        if pool is None and multiprocessing.parent_process() is not None:
            # A child of multiprocessing joins its own children before loky ends them.
            Finalize(None, _shut_down, exitpriority=100)
        _kept["processes"] = pool = _Pool(own, size, settings)
    elif not open_now:
        pool.open(size)  # without closing it, which would take it from the maps that use it
    elif not pool.users and (pool.backend._workers is not current or current._max_workers != size):
        pool.close()
        pool.open(size)
    return pool


def _shut_down() -> None:
    if reusable_executor._executor is not None:
        reusable_executor._executor.terminate()


def _loky_settings(context: Any) -> dict[str, Any]:
    """Whatever of joblib's context joblib itself hands to the workers it starts."""
    config = getattr(joblib.parallel._backend, "config", default_parallel_config)
    settings = {key: config[key] for key in ("max_nbytes", "mmap_mode", "temp_folder", "verbose")}
    its = context if type(context) is LokyBackend else _no_context[0]
    settings["backend"] = its.backend_kwargs | {"inner_max_num_threads": its.inner_max_num_threads}
    return settings


def _forget() -> None:
    """Let go, in a forked child, of the pools that stayed with the parent."""
    global _lock, _kept, _lent, _left_behind
    # Kept alive: collecting them would write to the parent's pipes.
    _left_behind = (_kept, _lent, reusable_executor._executor)
    _lock, _kept, _lent = threading.RLock(), {}, {}
    reusable_executor._executor = None
    reusable_executor._executor_lock = threading.RLock()


_left_behind: Any = None
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
