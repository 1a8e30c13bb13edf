"""
Workers end with the program, however it ends and whatever runs in them then.

::

    Linux      the program holds a pipe; workers asked the kernel to kill them when it breaks
    Windows    a thread of the system's in each worker waits for the program
    others     a small process sees its pipe to the program break, and kills the workers

Workers look at their parent besides. Code that does not let go of the interpreter's lock keeps
them from looking.
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
"""Workers that joblib had started before this library could have them hang on."""

if sys.platform == "linux":
    import fcntl

    from phylozoo_parallel._shipping.memory_linux import path_of

    _pipe: list[int] = []
    _lifeline: Name | None = None
    _hanging: dict[int, int] = {}
    """Of each process that hangs on through this one, the descriptor that it does so with."""
    _started: set[int] = set()

    @lru_cache(maxsize=1)
    def own() -> Name | None:
        """Return the name of a pipe that breaks when this process ends; None if there is none."""
        with suppress(OSError):
            _pipe[:] = os.pipe()
            return named(path_of(_pipe[0]), _pipe[0])
        return None

    def hang_on(lifeline: Name | None, others: Iterable[int] = ()) -> None:
        """
        Have the kernel kill this worker when its caller is gone, whatever runs here then.

        And others of the caller's workers with it, which may never have a chunk to run.
        """
        global _lifeline
        _lifeline = lifeline or _lifeline
        me, caller = os.getpid(), os.getppid()
        for pid in {me, *others} - _hanging.keys():
            _hang(pid, {me} if pid == me else {caller})

    def hang_started() -> None:
        """Have the kernel kill, with this worker, the programs that its items have started."""
        started = _descendants()
        for pid in _started & (_hanging.keys() - started):
            _started.remove(pid)
            os.close(_hanging.pop(pid))
        for pid in started - _hanging.keys():
            _started.add(pid)
            _hang(pid, started | {os.getpid()})

    def _hang(pid: int, parents: set[int]) -> None:
        """Have a process hang on, unless its parent is another: its number has been given anew."""
        if _lifeline is None:
            return
        with suppress(OSError, IndexError):
            fd = opened(_lifeline, os.O_RDONLY)
            _hanging[pid] = fd
            fcntl.fcntl(fd, fcntl.F_SETOWN, pid)  # from here on it is this process or none
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
        with suppress(OSError):  # it has ended, or the kernel does not tell
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    children += map(int, file.read().split())
        return children

    def _parent(pid: int) -> int:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])

    def guard(workers: Iterable[int]) -> None:
        """Do nothing: the workers hang on by themselves."""

    def _forget() -> None:
        """Leave the pipe to the parent, in a forked child, which must not keep it whole."""
        while _pipe:
            os.close(_pipe.pop())
        own.cache_clear()

    os.register_at_fork(after_in_child=_forget)

elif sys.platform == "win32":
    from phylozoo_parallel._worker import lifeline_windows

    def own() -> Name | None:
        """Return None: a worker knows its parent."""
        return None

    def hang_on(lifeline: Name | None, others: Iterable[int] = ()) -> None:
        """Have the system end this worker when its parent is gone."""
        lifeline_windows.end_with_parent()

    def hang_started() -> None:
        """Do nothing: it is the worker alone that ends with its caller."""

    def guard(workers: Iterable[int]) -> None:
        """Do nothing: the workers hang on by themselves."""

else:
    from phylozoo_parallel._shipping.memory_files import folders
    from phylozoo_parallel._worker import reaper

    def own() -> Name | None:
        """Return None: the reaper sees when this process ends."""
        return None

    def hang_on(lifeline: Name | None, others: Iterable[int] = ()) -> None:
        """Do nothing: the reaper knows of this worker."""

    def hang_started() -> None:
        """Do nothing: it is the worker alone that ends with its caller."""

    def guard(workers: Iterable[int]) -> None:
        """Tell the reaper which workers there are."""
        reaper.guard(workers, folders.values())
