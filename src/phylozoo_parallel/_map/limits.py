"""
How long a worker may take for an item, and for what it does before and after the items.

The user's `timeout` is for the item alone. An import that takes long is not the item's fault, and
would take as long in another worker. But imports, pickling and unpickling have a limit, too, a much
longer one: without it, one that hangs would stop the map for ever.
"""

from __future__ import annotations

from phylozoo_parallel._shipping.board import Progress

LEAST = 60.0
"""Seconds that what is before and after the items may take, however short `timeout` is."""

TIMES = 10
"""How many times `timeout` it may take, if that is longer."""


def limit(progress: Progress, timeout: float) -> float:
    """Return how many seconds a worker may take for what it does now."""
    return timeout if progress.running else max(LEAST, TIMES * timeout)


def exceeded(progress: Progress, timeout: float) -> str:
    """Return which limit a worker has exceeded, as the end of a sentence about an item."""
    if progress.running:
        return f" took longer than timeout={timeout} seconds"
    doing = "pickling results" if progress.done else "importing or unpickling"
    return (
        f": its worker was {doing} for longer than {limit(progress, timeout):g} seconds; "
        f"timeout={timeout} itself counts only while an item runs"
    )
