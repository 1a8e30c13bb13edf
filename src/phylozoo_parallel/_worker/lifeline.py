"""
Lifeline: makes workers end with the program, in whatever way it ends and whatever they are running.

::

    Linux      the program holds a pipe; the kernel kills the workers when the pipe breaks
    Windows    a thread of Windows in each worker waits for the program
    others     a small process, the reaper, sees its pipe to the program break, and kills them

In addition, each worker looks every second whether its parent lives. That alone is not enough: code
that does not release the global interpreter lock keeps the worker from looking.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from phylozoo_parallel._shipping.memory import Name, named, opened

others: tuple[int, ...] = ()
"""Workers that joblib started before this library could give them an initializer."""

if sys.platform == "linux":
    import fcntl

    from phylozoo_parallel._shipping.memory_linux import path_of

    _pipe: list[int] = []
    _lifeline: Name | None = None
    _attached: dict[int, int] = {}
    """The file descriptor of the lifeline, for each process that this one has attached to it."""
    _started: set[int] = set()

    @lru_cache(maxsize=1)
    def own() -> Name | None:
        """Return the name of a pipe that breaks when this process ends; None if it has none."""
        with suppress(OSError):
            _pipe[:] = os.pipe()
            return named(path_of(_pipe[0]), _pipe[0])
        return None

    def attach(lifeline: Name | None, others: Iterable[int] = ()) -> None:
        """
        Make the kernel kill this worker when its caller is gone, and `others` with it.

        The others are workers of the same caller, which may never get a chunk and come here.
        """
        global _lifeline
        _lifeline = lifeline or _lifeline
        me, caller = os.getpid(), os.getppid()
        for pid in {me, *others} - _attached.keys():
            _attach(pid, {me} if pid == me else {caller})

    def attach_descendants() -> None:
        """Make the kernel kill the programs that items have started, when the caller is gone."""
        started = _descendants()
        for pid in _started & (_attached.keys() - started):
            _started.remove(pid)
            os.close(_attached.pop(pid))
        for pid in started - _attached.keys():
            _started.add(pid)
            _attach(pid, started | {os.getpid()})

    def _attach(pid: int, parents: set[int]) -> None:
        """
        Make the kernel kill a process when the caller is gone.

        If the process does not have one of these parents, another process has got its number.
        """
        if _lifeline is None:
            return
        with suppress(OSError, IndexError):
            fd = opened(_lifeline, os.O_RDONLY)
            _attached[pid] = fd
            fcntl.fcntl(fd, fcntl.F_SETOWN, pid)  # from here on the kernel means this very process
            if pid == os.getpid() or _parent(pid) in parents:
                fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)

    def _descendants() -> set[int]:
        found: set[int] = set()
        new = {os.getpid()}
        while new:
            found |= new
            new = {child for pid in new for child in _children(pid)} - found
        return found - {os.getpid()}

    def _children(pid: int) -> list[int]:
        children: list[int] = []
        with suppress(OSError):  # it has ended, or this kernel does not list children
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    children += map(int, file.read().split())
        return children

    def _parent(pid: int) -> int:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])

    def guard(workers: Iterable[int]) -> None:
        """Do nothing: each worker attaches itself to the lifeline."""

    def _forget() -> None:
        """Close the parent's pipe in a forked child: it must break when the parent ends."""
        while _pipe:
            os.close(_pipe.pop())
        own.cache_clear()

    os.register_at_fork(after_in_child=_forget)

elif sys.platform == "win32":
    from phylozoo_parallel._worker import lifeline_windows

    def own() -> Name | None:
        """Return None: a worker knows its parent process, and needs no pipe."""
        return None

    def attach(lifeline: Name | None, others: Iterable[int] = ()) -> None:
        """Make Windows end this worker when its parent is gone."""
        lifeline_windows.end_with_parent()

    def attach_descendants() -> None:
        """Do nothing: on this system only the worker itself ends with its caller."""

    def guard(workers: Iterable[int]) -> None:
        """Do nothing: each worker attaches itself to the lifeline."""

else:
    from phylozoo_parallel._shipping.memory_files import folders
    from phylozoo_parallel._worker import reaper

    def own() -> Name | None:
        """Return None: the reaper sees when this process ends."""
        return None

    def attach(lifeline: Name | None, others: Iterable[int] = ()) -> None:
        """Do nothing: the caller has told the reaper of this worker."""

    def attach_descendants() -> None:
        """Do nothing: on this system only the worker itself ends with its caller."""

    def guard(workers: Iterable[int]) -> None:
        """Tell the reaper which workers there are."""
        reaper.guard(workers, folders.values())
