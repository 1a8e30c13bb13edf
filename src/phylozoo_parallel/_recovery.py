"""
What it means that a chunk did not come back because its worker, or a neighbour of it, is gone.

::

    chunk, how far it was, who died ──► chunks to run again, and the error where there is one

loky ends all workers of a pool when one of them dies. What no worker had begun, and what the
others ran, runs again at no cost. What the dead one ran is tried item by item, so that the
guilty one is found, and each at most `retries` times.
"""

from __future__ import annotations

from phylozoo_parallel._board import Progress
from phylozoo_parallel._checks import Options
from phylozoo_parallel._loky import WorkersLost
from phylozoo_parallel._transport import Chunk
from phylozoo_parallel.errors import short
from phylozoo_parallel.lost import WorkerLostError


def salvage(
    chunk: Chunk, death: WorkersLost, options: Options
) -> tuple[list[Chunk], tuple[int, Exception] | None]:
    """
    Decide what becomes of a lost chunk.

    Parameters
    ----------
    chunk : Chunk
        With its progress, and with its items.
    death : WorkersLost
        Which workers died, and how.
    options : Options
        Of the map.

    Returns
    -------
    tuple
        The chunks to run again, and the index and error of what has failed, or None.
    """
    first, items, at = chunk.first, chunk.items, chunk.progress
    guilty = at is not None and (chunk.late or death.hit(at))
    if at is None or (options.retries and not guilty):  # no worker, or not a dead one, had it
        return [Chunk(first, items, chunk.losses)], None
    begin, end = _suspects(chunk, at)
    error: Exception | None = None
    if chunk.late:
        if end - begin == 1 or not options.retries:
            error = too_late(chunk, at, options)
    elif chunk.losses >= options.retries:
        unknown = "how is unknown" if guilty else "with one of its pool"
        how = (death.codes or {}).get(at.pid, unknown)
        error = WorkerLostError(
            f"{_named(chunk, at)}: its worker process died ({how}), and retries={options.retries} "
            "allows no more; usual causes are a crash in compiled code and too little memory"
        )
    before = [Chunk(first, items[:begin])] if begin and options.retries else []
    if error:
        return before, (first + begin if options.retries else first, error)
    losses = chunk.losses + (not chunk.late)
    singles = [Chunk(first + at, items[at : at + 1], losses) for at in range(begin, end)]
    after = [Chunk(first + end, items[end:])] if end < len(items) else []
    return before + singles + after, None


def too_late(chunk: Chunk, at: Progress, options: Options) -> TimeoutError:
    """Return the error that an item over its time ends the map with."""
    return TimeoutError(f"{_named(chunk, at)} took longer than timeout={options.timeout} seconds")


def _suspects(chunk: Chunk, at: Progress) -> tuple[int, int]:
    """Return the first and the last but one position of the items that may have been running."""
    if not at.running:  # it unpickled the items, or pickled the results
        return 0, len(chunk.items)
    return at.done, min(at.done + at.running, len(chunk.items))


def _named(chunk: Chunk, at: Progress) -> str:
    begin, end = _suspects(chunk, at)
    if end - begin == 1:
        return f"item {chunk.first + begin} = {short(chunk.items[begin])}"
    return f"one of the items {chunk.first + begin} to {chunk.first + end - 1}"


def told(chunk: Chunk) -> str:
    """Name the items of a chunk."""
    last = chunk.first + len(chunk.items) - 1
    return f"items {chunk.first} to {last}" if last > chunk.first else f"item {last}"
