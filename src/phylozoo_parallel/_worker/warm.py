"""What a worker process can do before its first chunk: import what the chunks will need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from time import sleep

HOLD = 0.1
"""Seconds that a worker which is warm by now holds the next call, for one that is still coming."""

_warm: set[str] = set()


def warm_up(path: Sequence[str], modules: Sequence[str]) -> None:
    """Import modules where the caller finds them."""
    if _warm.issuperset(modules):
        sleep(HOLD)
        return
    _warm.update(modules)
    before = sys.path[:]
    sys.path[:] = path
    try:
        load(modules)
    finally:
        sys.path[:] = before


def load(modules: Sequence[str]) -> None:
    """Import modules; what fails fails again where it is needed, and tells why."""
    for module in modules:
        with suppress(Exception):
            import_module(module)
