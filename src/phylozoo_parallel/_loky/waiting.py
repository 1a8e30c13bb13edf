"""
How loky's manager thread waits for results: without registering every worker for each of them.

Before each result, loky passes the ends of all its pipes and workers to
``multiprocessing.connection.wait``, which makes a new selector and registers them one by one: a
quarter of a millisecond with 64 workers, during which the caller's thread waits for the
interpreter's lock. They hardly ever change, so the copy of loky's method that is made here keeps
the selector.

It is optional. On Windows, which has no ``select.poll``, and with a loky whose method waits in
another way, loky waits as it always did.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any
from weakref import ref

from phylozoo_parallel._loky import contract

system: Any = select
"""The module, for mypy, which knows that Windows has no ``select.poll``."""


def wait_fast(executor: Any) -> None:
    """Have the manager thread of an executor keep registered what it waits for."""
    manager = executor._executor_manager_thread
    if "wait_result_broken_or_wakeup" in getattr(manager, "__dict__", ()):
        return  # the executor was only resized
    if not (hasattr(select, "poll") and contract.optional("its executor's manager", manager)):
        return
    method, wakeup = type(manager).wait_result_broken_or_wakeup, manager.thread_wakeup
    code, names = getattr(method, "__code__", None), getattr(method, "__globals__", {})
    if code is None or "wait" not in code.co_names or "wait" not in names:
        return
    # The copy sees our `wait`. The module's own is left to the pools that are not ours.
    wait = _Wait()
    names = {**names, "wait": wait}
    copy = FunctionType(code, names, code.co_name, method.__defaults__, method.__closure__)
    # Objects that held themselves would keep their pipes open after the thread's end.
    its, that = ref(manager), ref(wakeup)
    manager.wait_result_broken_or_wakeup = lambda: copy(its())
    wakeup.clear = partial(_clear, that, wait)


def _clear(that: Callable[[], Any], wait: _Wait) -> None:
    """Empty the pipe that wakes the thread, without looking into it if nothing was there."""
    wakeup = that()
    if wakeup._reader in wait.ready:
        type(wakeup).clear(wakeup)


class _Wait:
    """``multiprocessing.connection.wait`` without a time limit, for objects that rarely change."""

    def __init__(self) -> None:
        self.ready: list[Any] = []
        self._objects: list[Any] = []

    def __call__(self, objects: list[Any]) -> list[Any]:
        """Return those of the objects (connections, numbers of files) that are ready."""
        if objects != self._objects:
            self._objects = objects
            self._poll = system.poll()
            self._by_file = {}
            for it in objects:
                file = it if isinstance(it, int) else it.fileno()
                self._by_file[file] = it
                self._poll.register(file, system.POLLIN)
        self.ready = [self._by_file[file] for file, _ in self._poll.poll()]
        return self.ready
