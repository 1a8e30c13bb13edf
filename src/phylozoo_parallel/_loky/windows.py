"""On Windows: keeps Ctrl-C away from the processes that loky starts."""

from __future__ import annotations

import _winapi
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from phylozoo_parallel._loky import contract

assert sys.platform == "win32"  # for type checkers, which look no further elsewhere

_NEW_PROCESS_GROUP = 0x200

_STARTERS: list[Any] = [contract.resource_tracker]
with suppress(ImportError):
    _STARTERS.append(import_module(f"{contract.LOKY}.backend.popen_loky_win32"))

_here = threading.local()


@contextmanager
def own_group() -> Iterator[None]:
    """Start loky's processes in process groups of their own, which Ctrl-C does not reach."""
    for module in _STARTERS:
        if getattr(module, "_winapi", None) is _winapi:
            module._winapi = SimpleNamespace(**vars(_winapi) | {"CreateProcess": _create_process})
    before, _here.own_group = getattr(_here, "own_group", False), True
    try:
        yield
    finally:
        _here.own_group = before


def _create_process(*arguments: Any) -> Any:
    if getattr(_here, "own_group", False):
        flags = arguments[5] | _NEW_PROCESS_GROUP
        arguments = (*arguments[:5], flags, *arguments[6:])
    return _winapi.CreateProcess(*arguments)
