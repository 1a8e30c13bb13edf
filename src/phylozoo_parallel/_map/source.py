"""
Adds the lines of source code that a worker's traceback lacks.

Code that was typed into a notebook or at a prompt is only in the caller's ``linecache``, and a
worker on another machine may not have the caller's files.
"""

from __future__ import annotations

import linecache
import re
from typing import Any

_FRAME = re.compile(r'(?P<margin>[ |+]*)  File "(?P<file>.+)", line (?P<line>\d+), in (?P<name>.+)')


def with_source(trace: str) -> str:
    """Return the text of a traceback with the missing lines of source, as far as known here."""
    lines = trace.splitlines()
    filled = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        filled.append(line)
        frame = _FRAME.fullmatch(line)
        if frame and not after.startswith(f"{frame['margin']}    "):
            source = _line(frame["file"], frame["name"], int(frame["line"])).strip()
            if source:
                filled.append(f"{frame['margin']}    {source}")
    return "\n".join([*filled, ""])


def _line(file: str, name: str, number: int) -> str:
    found = linecache.getline(file, number)
    # From Python 3.13.1 on, lines typed at the prompt are kept by code object, and not by file.
    typed: dict[Any, Any] = getattr(linecache, "_interactive_cache", {})
    for key, entry in reversed(typed.items()) if not found else ():
        if isinstance(key, tuple) and {file, name} <= set(key) and 0 < number <= len(entry[2]):
            return str(entry[2][number - 1])
    return found
