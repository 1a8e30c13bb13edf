"""What a worker process can do before its first chunk: import the modules that chunks will need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from time import sleep

HOLD = 0.1
"""Seconds that a worker waits in a second call, so that other workers get the next ones."""

_warm: set[str] = set()


def warm_up(path: Sequence[str], modules: Sequence[str]) -> None:
    """Import modules with the caller's ``sys.path``."""
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
    """Import modules; an error is ignored here, as the same error is shown when an item runs."""
    for module in modules:
        with suppress(Exception):
            import_module(module)
