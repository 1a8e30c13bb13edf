"""
The reaper: a small process that kills the workers of a program that was killed (macOS, BSDs).

::

    program   keeps a pipe to the reaper, and writes its workers and its folders into it
    reaper    reads; when the pipe breaks, it kills those workers and removes those folders

The reaper runs in a session of its own, so that a signal to the program's whole process group does
not end it. It ends when the program has ended.
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
_sent: Any = None
"""What the reaper was told last."""


def guard(workers: Iterable[int], folders: Iterable[str]) -> None:
    """
    Tell the reaper which workers to kill and which folders to remove; start it if necessary.

    Parameters
    ----------
    workers : iterable of int
        Process ids.
    folders : iterable of str
        Paths.
    """
    global _sent
    news = tuple(workers), tuple(folders)
    if news != _sent:
        # The system may have no more processes or files. Workers still look at their parent.
        with suppress(OSError):
            _tell(*news)
            _sent = news


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
        os.close(_pipe)  # the reaper was killed
        _pipe = None
    _pipe = _started()
    os.write(_pipe, line)


def _started() -> int:
    """Start the reaper, and return the pipe to it."""
    import subprocess
    from multiprocessing.spawn import get_executable

    # With -I and -S it ignores environment variables, and imports nothing of the user or the site.
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
    process.returncode = 0  # otherwise Popen would warn: nobody waits for the reaper's end
    return writes


def _reap() -> None:
    workers: list[tuple[int, int]] = []
    folders: list[str] = []
    for line in sys.stdin.buffer:
        if line.endswith(b"\n"):  # if the program was killed while writing, the line is not whole
            workers, folders = json.loads(line)
    for pid, group in workers:
        with suppress(OSError):
            if os.getpgid(pid) == group:  # otherwise another process has got this number
                os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _forget() -> None:
    """Close the parent's pipe in a forked child: it must break when the parent ends."""
    global _pipe, _sent
    if _pipe is not None:
        os.close(_pipe)
    _pipe = _sent = None


if __name__ == "__main__":
    _reap()
else:
    os.register_at_fork(after_in_child=_forget)
