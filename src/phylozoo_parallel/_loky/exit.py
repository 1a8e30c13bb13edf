"""How loky's worker processes end: at once, or with the program."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from time import monotonic
from typing import Any
from weakref import ref

from phylozoo_parallel._loky import contract, start, trees

LEAVE = 2.0
"""Seconds that workers get to end when the program ends, unless a thread still needs them."""


def leave_with(executor: Any) -> None:
    """Run :func:`_leave` when the program ends, before loky's own hook for this executor."""
    if not hasattr(executor, "leaves"):
        threading._register_atexit(_leave, ref(executor), os.getpid())  # type: ignore[attr-defined]
        executor.leaves = True


def _leave(reference: Callable[[], Any], owner: int) -> None:
    """
    End an executor's workers with the program.

    loky's own hook would wait for ever in two cases. A worker that dies while it waits for a task
    keeps the lock of the queue, and the others are never told to end. A worker that dies while it
    sends a result leaves loky waiting for the rest.
    """
    if owner != os.getpid():
        return  # a forked child: the executor is its parent's
    executor: Any = reference()
    manager = getattr(executor, "_executor_manager_thread", None)
    if manager is None:  # joblib has ended it, and may have opened another
        executor = start.current()
        manager = getattr(executor, "_executor_manager_thread", None)
    if manager is None:
        return
    workers, pending = list(executor._processes.values()), executor._pending_work_items
    threads = set(threading.enumerate()) - {threading.main_thread(), manager}
    if not manager.is_alive() or (pending and all(thread.daemon for thread in threads)):
        trees.end(workers)  # nobody will read their results
    answers = executor._result_queue._writer
    contract.process_executor._global_shutdown = True  # as loky's hook does
    with executor._shutdown_lock:
        executor._executor_manager_thread_wakeup.wakeup()
    end = monotonic() + LEAVE
    while manager.is_alive() and (
        monotonic() < end or (pending and all(worker.is_alive() for worker in workers))
    ):
        manager.join(0.05)
    if manager.is_alive():
        trees.end(workers)  # also one that loky waits for, and has already removed from its list
        answers.close()  # no end is open for writing now, so that loky stops reading
        manager.join(LEAVE)


def kill(executor: Any) -> None:
    """End all workers at once, with the programs that they have started."""
    trees.end(list(executor._processes.values()))


def kill_thoroughly(executor: Any) -> None:
    """Make loky's thread, too, end the programs that workers have started when it kills them."""
    manager = executor._executor_manager_thread
    # The function must not hold the executor: loky's thread ends when nobody holds it any more.
    workers = executor._processes

    def kill_workers(reason: str = "") -> None:
        trees.end(list(workers.values()))
        workers.clear()

    if manager is not None:
        manager.kill_workers = kill_workers


def end(executor: Any) -> None:
    """End all workers at once."""
    # Waiting tasks go first: loky's thread fails if it finds one afterwards.
    with suppress(Empty):
        while True:
            executor._work_ids.get_nowait()
    start.terminate(executor)  # unlike shutdown, it removes the temporary folders


def terminate() -> None:
    """End joblib's executor, if there is one; its workers finish their tasks."""
    if (executor := start.current()) is not None:
        start.terminate(executor, kill_workers=False)


def end_one(executor: Any, pid: int) -> bool:
    """End the worker with a pid; return False if it has ended by itself before."""
    process = executor._processes.get(pid)
    if process is None or process.exitcode is not None:
        return False
    trees.end([process])
    return True
