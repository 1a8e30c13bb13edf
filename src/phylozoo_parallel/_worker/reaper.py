"""
A small process that ends the workers of a killed program, where the kernel has no signal for it.

::

    program   keeps a pipe to the reaper, and tells it of its workers and its files
    reaper    reads; when the pipe breaks, it kills those workers and removes those files

Workers look at their parent besides, but code that does not let go of the interpreter's lock keeps
them from looking. The reaper is of a session of its own: what ends a whole group of processes
leaves it to its work. It ends with the program.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

assert sys.platform != "win32"  # for type checkers, which look no further there

_pipe: int | None = None
_told: Any = None


def guard(workers: Iterable[int], folders: Iterable[str]) -> None:
    """
    Tell the reaper, which is started when there is none, what there is to end and to remove.

    Parameters
    ----------
    workers : iterable of int
        Process ids.
    folders : iterable of str
        Paths.
    """
    global _told
    news = tuple(workers), tuple(folders)
    if news != _told:
        with suppress(OSError):  # no more processes, or files; workers still look at their parent
            _tell(*news)
            _told = news


def _tell(workers: Iterable[int], folders: Iterable[str]) -> None:
    global _pipe
    groups = {}
    for pid in workers:
        with suppress(ProcessLookupError):
            groups[pid] = os.getpgid(pid)
    line = json.dumps([list(groups.items()), list(folders)]).encode() + b"\n"
    if _pipe is not None:
        with suppress(BrokenPipeError):
            os.write(_pipe, line)
            return
        os.close(_pipe)  # somebody has killed it
        _pipe = None
    _pipe = _started()
    os.write(_pipe, line)


def _started() -> int:
    """Start the reaper, and return the pipe to it."""
    import subprocess
    from multiprocessing.spawn import get_executable

    # It reads what is around it of no environment variable, no user's and no site's folder.
    command: list[Any] = [get_executable(), "-I", "-S", __file__]
    null = subprocess.DEVNULL
    reads, writes = os.pipe()
    try:
        process = subprocess.Popen(
            command, stdin=reads, stdout=null, stderr=null, cwd="/", start_new_session=True
        )
    except BaseException:
        os.close(writes)
        raise
    finally:
        os.close(reads)
    process.returncode = 0  # nobody waits for it: it ends after this process
    return writes


def _reap() -> None:
    workers: list[tuple[int, int]] = []
    folders: list[str] = []
    for line in sys.stdin.buffer:
        if line.endswith(b"\n"):  # not half of one, of a program killed while it wrote
            workers, folders = json.loads(line)
    for pid, group in workers:
        with suppress(OSError):
            if os.getpgid(pid) == group:  # or another process has got the number since
                os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _forget() -> None:
    """Leave the reaper to the parent, in a forked child, which must not keep its pipe whole."""
    global _pipe, _told
    if _pipe is not None:
        os.close(_pipe)
    _pipe = _told = None


if __name__ == "__main__":
    _reap()
else:
    os.register_at_fork(after_in_child=_forget)
