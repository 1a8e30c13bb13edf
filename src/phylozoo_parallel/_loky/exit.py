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
"""Seconds that workers have to end when the program does, unless a thread still needs them."""


def leave_with(executor: Any) -> None:
    """Have :func:`_leave` run before loky's own hook, which it registers with each executor."""
    if not hasattr(executor, "leaves"):
        threading._register_atexit(_leave, ref(executor), os.getpid())  # type: ignore[attr-defined]
        executor.leaves = True


def _leave(known: Callable[[], Any], owner: int) -> None:
    """
    End, with the program, an executor's workers: loky's own hook would wait for whatever they do.

    A worker that dies while it waits for work takes the lock of the queue with it, and the
    others never hear that they may go; one that dies while it answers leaves loky reading.
    """
    if owner != os.getpid():
        return  # in a child that was forked: the executor is its parent's
    executor: Any = known()
    manager = getattr(executor, "_executor_manager_thread", None)
    if manager is None:  # joblib has ended it, and may have opened another
        executor = start.current()
        manager = getattr(executor, "_executor_manager_thread", None)
    if manager is None:
        return
    workers, pending = list(executor._processes.values()), executor._pending_work_items
    threads = set(threading.enumerate()) - {threading.main_thread(), manager}
    if not manager.is_alive() or (pending and all(thread.daemon for thread in threads)):
        kill(executor)  # nobody will read what they still do
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
        kill(executor)
        answers.close()  # the last end of the pipe: loky reads no further
        manager.join(LEAVE)


def kill(executor: Any) -> None:
    """End all workers, with what they have started."""
    trees.end(list(executor._processes.values()))


def kill_thoroughly(executor: Any) -> None:
    """Have loky's thread, too, end what workers have started, wherever it ends them at once."""
    manager = executor._executor_manager_thread
    workers = executor._processes  # not the executor, whose end loky's thread waits for

    def kill_workers(reason: str = "") -> None:
        trees.end(list(workers.values()))
        workers.clear()

    if manager is not None:
        manager.kill_workers = kill_workers


def end(executor: Any) -> None:
    """End all workers at once."""
    # First what waits in line: loky's thread would stumble over it.
    with suppress(Empty):
        while True:
            executor._work_ids.get_nowait()
    start.terminate(executor)  # cleans up, unlike shutdown


def terminate() -> None:
    """End joblib's executor, where there is one."""
    if (executor := start.current()) is not None:
        start.terminate(executor, kill_workers=False)


def end_one(executor: Any, pid: int) -> bool:
    """End the worker with a pid, and tell whether it has not ended by itself."""
    process = executor._processes.get(pid)
    if process is None or process.exitcode is not None:
        return False
    trees.end([process])
    return True
