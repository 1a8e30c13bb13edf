"""
New workers: what they run when they start, and why they cannot start.

::

    equip   makes every worker run a function of ours when it starts, whoever starts it
    start   starts the workers, without a task
    trial   runs the program that a worker starts with, and reads its error message
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
"""Seconds that a trial may take."""

_PROGRAM = (
    ["-c", f"import {contract.LOKY}.backend.popen_loky_win32"]
    if sys.platform == "win32"
    else ["-m", f"{contract.LOKY}.backend.popen_loky_posix", "--help"]
)
"""The arguments of Python with which a worker starts, as far as a trial needs them."""


def equip(executor: Any, begin: Callable[..., None], *args: Any) -> tuple[int, ...]:
    """
    Make every worker that an executor starts from now on call a function first.

    It is set on the executor, and not given as one of the executor's arguments, because with other
    arguments joblib would start a new executor.

    Parameters
    ----------
    executor : loky's executor
    begin : callable
        Called with `args`, the names of environment variables to remove, and the initializer of
        the executor's user with its arguments.
    *args

    Returns
    -------
    tuple of int
        The process ids of workers that run already, and so have not called it.
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
    Start the workers of an executor.

    A task would start them, too, and is sent where there is no other way. But loky measures the
    memory of a worker after its first task, and replaces the worker when it has grown much. So the
    first task should be one of the user, with the user's data.
    """
    try:
        if not hasattr(executor, "others"):
            task()
            return
        with executor._shutdown_lock:
            if not executor._flags.shutdown:
                executor._ensure_executor_running()
    # The interpreter is shutting down. It waits for loky's thread, which has started by now.
    except RuntimeError:
        terminate(executor)
        raise


def trial(executor: Any) -> str:
    """Return why no worker can start: its last error message and the file; empty if it can."""
    command = [sys.executable, *_PROGRAM]
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
