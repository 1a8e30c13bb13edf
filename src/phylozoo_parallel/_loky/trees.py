"""
Ends workers with all programs that they have started (aligners, shells) and that those started.

loky's own way needs psutil or ``pgrep``, which small systems do not have. It also misses programs
that a shell starts while loky looks. Here each process is stopped before its children are listed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def end(workers: Iterable[Any]) -> None:
    """
    End worker processes and their descendants at once, and wait until the workers are gone.

    Parameters
    ----------
    workers : iterable of multiprocessing.Process
        Those that have ended by themselves are skipped: their children can no longer be found.
    """
    running = [worker for worker in workers if worker.exitcode is None]
    _end(running)
    for worker in running:
        worker.join()


if sys.platform == "win32":

    def _end(workers: Iterable[Any]) -> None:
        for worker in workers:
            with suppress(OSError):
                command = ["taskkill", "/F", "/T", "/PID", str(worker.pid)]
                flags = subprocess.CREATE_NO_WINDOW
                subprocess.run(command, capture_output=True, creationflags=flags, check=False)
            with suppress(OSError):
                worker.terminate()  # on Windows this is what SIGKILL is elsewhere

else:

    def _end(workers: Iterable[Any]) -> None:
        found: set[int] = set()
        new: set[int] = {worker.pid for worker in workers}
        try:
            while new:
                found |= new
                for pid in new:
                    _signal(pid, signal.SIGSTOP)
                children = _children()
                new = {child for pid in found for child in children[pid]} - found
        finally:  # also after Ctrl-C: they must not stay stopped
            for pid in found:
                _signal(pid, signal.SIGKILL)

    def _signal(pid: int, number: int) -> None:
        # It is gone, or another user's process has its number by now.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)

    def _children() -> defaultdict[int, list[int]]:
        """Return the children of each process, by its pid."""
        children = defaultdict(list)
        with suppress(OSError):
            for pid, parent in _parents():
                children[parent].append(pid)
        return children

    def _parents() -> Iterable[tuple[int, int]]:
        if not os.path.exists("/proc/self/stat"):
            command = ["/bin/ps", "-A", "-o", "pid=,ppid="]
            listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            for row in listed.splitlines():
                pid, parent = map(int, row.split())
                yield pid, parent
            return
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The name of the program, in parentheses, may contain any character.
                yield int(name), int(file.read().rpartition(b")")[2].split()[1])
