"""Marks for what not every system has: each says why."""

import multiprocessing
import os
import sys

import pytest

KILL = 9
"""The number of SIGKILL; Windows ends a process with any, and with that as its exit code."""

WINDOWS = sys.platform == "win32"
LINUX = sys.platform == "linux"

KILLED = "exit code 9" if WINDOWS else "SIGKILL"
TERMINATED = "exit code 15" if WINDOWS else "SIGTERM"
"""How the end of such processes is reported."""


def needs_linux(why: str) -> pytest.MarkDecorator:
    """Skip a test on other systems, and say what Linux has that they have not."""
    return pytest.mark.skipif(not LINUX, reason=f"Linux alone {why}")


def needs_posix(why: str) -> pytest.MarkDecorator:
    """Skip a test on Windows, and say what other systems have that it has not."""
    return pytest.mark.skipif(WINDOWS, reason=f"Windows has no {why}")


no_guard = pytest.mark.skipif(
    multiprocessing.get_all_start_methods()[0] != "fork",
    reason="multiprocessing spawns its processes here, which takes a main guard",
)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
