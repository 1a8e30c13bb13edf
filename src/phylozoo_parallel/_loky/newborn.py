"""
Newborn workers: what all of an executor begin with, and why none comes into the world.

::

    equip   from now on every worker begins with a call of ours, however it comes to be started
    start   the workers, without a task
    trial   starts what a worker starts with, and reads its last words
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from phylozoo_parallel._loky import contract
from phylozoo_parallel._loky.start import SAFE_PATH, terminate

PATIENCE = 20.0
"""Seconds for a trial."""

_BIRTH = (
    ["-c", f"import {contract.LOKY}.backend.popen_loky_win32"]
    if sys.platform == "win32"
    else ["-m", f"{contract.LOKY}.backend.popen_loky_posix", "--help"]
)
"""What a worker starts with, as arguments of Python."""


def equip(executor: Any, begin: Callable[..., None], *args: Any) -> tuple[int, ...]:
    """
    Have every worker that an executor starts from now on begin with a call.

    These are not the executor's arguments: others there would have joblib start anew.

    Parameters
    ----------
    executor : loky's executor
    begin : callable
        Called with `args`, the names of environment variables that are to go, and the
        initializer of the executor's user with its arguments.
    *args

    Returns
    -------
    tuple of int
        The process ids of those that run already, and so did not begin with it.
    """
    if hasattr(executor, "others") or not contract.optional("its executor's workers", executor):
        return getattr(executor, "others", ())
    hidden = () if SAFE_PATH in os.environ else (SAFE_PATH,)
    executor._env = dict.fromkeys(hidden, "1") | (executor._env or {})
    executor._initargs = (*args, hidden, executor._initializer, executor._initargs)
    executor._initializer = begin
    others: tuple[int, ...] = tuple(executor._processes)
    executor.others = others
    return others


def start(executor: Any, task: Callable[[], Any]) -> None:
    """
    Have the workers of an executor start.

    A task would do it, and does where nothing else can; but what a worker holds after its first
    one is what loky takes for normal, and the user's data comes later.
    """
    try:
        if not hasattr(executor, "others"):
            task()
            return
        with executor._shutdown_lock:
            if not executor._flags.shutdown:
                executor._ensure_executor_running()
    except RuntimeError:  # the interpreter ends, and waits for loky's thread, which runs by now
        terminate(executor)
        raise


def trial(executor: Any) -> str:
    """Tell why no worker can start: its own last words, and the file; empty if it can."""
    command = [sys.executable, *_BIRTH]
    environment = os.environ | (getattr(executor, "_env", None) or {})
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
        words = done.stderr.strip().splitlines()
        if done.returncode and words:
            files = re.findall(r'^ +File "(.+)", line \d+', done.stderr, re.MULTILINE)
            return words[-1].strip() + (f" ({files[-1]})" if files else "")
    return ""
