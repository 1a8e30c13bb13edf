"""
How long a worker may take: for an item, what the user says; for all around it, far more.

Imports, unpickling and pickling are not the item's fault, and would fail again at each try. A
limit they have all the same, lest one that hangs holds up the map for ever.
"""

from __future__ import annotations

from phylozoo_parallel._shipping.board import Progress

LEAST = 60.0
"""Seconds that all around the items may take, however short their own limit is."""

TIMES = 10
"""The same, in the time limits of an item."""


def limit(progress: Progress, timeout: float) -> float:
    """Return the seconds that what a worker does now may take."""
    return timeout if progress.running else max(LEAST, TIMES * timeout)


def exceeded(progress: Progress, timeout: float) -> str:
    """Tell which limit a worker is over, as the end of a sentence about an item."""
    if progress.running:
        return f" took longer than timeout={timeout} seconds"
    doing = "pickling results" if progress.done else "importing or unpickling"
    return (
        f": its worker was {doing} for longer than {limit(progress, timeout):g} seconds; "
        f"timeout={timeout} itself counts only while an item runs"
    )
