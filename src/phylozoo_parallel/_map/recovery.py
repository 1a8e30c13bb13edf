"""
Decide what to do with a chunk whose worker died: a pure function.

::

    chunk, how far it was, who died ──► chunks to run again, and the error where there is one

loky ends all workers of a pool when one of them dies. What no worker had begun, and what the
others ran, runs again at no cost. What the dead one ran is tried item by item, so that the
guilty one is found, and each at most `retries` times.
"""

from __future__ import annotations

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines.base import WorkersLost
from phylozoo_parallel._options import Options
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel.errors import short
from phylozoo_parallel.lost import WorkerLostError


def salvage(
    chunk: Chunk, loss: WorkersLost, options: Options
) -> tuple[list[Chunk], tuple[int, Exception] | None]:
    """
    Decide what becomes of a lost chunk.

    Parameters
    ----------
    chunk : Chunk
        With its progress, and with its items.
    loss : WorkersLost
        Which workers died, and how.
    options : Options
        Of the map.

    Returns
    -------
    tuple
        The chunks to run again, and the index and error of what has failed, or None.
    """
    first, items, progress = chunk.first, chunk.items, chunk.progress
    guilty = progress is not None and (chunk.late or loss.hit(progress))
    if progress is None or (options.retries and not guilty):  # no worker, or not a dead one, had it
        return [Chunk(first, items, chunk.losses)], None
    begin, end = _suspects(chunk, progress)
    error: Exception | None = None
    if chunk.late:
        if end - begin == 1 or not options.retries:
            error = too_late(chunk, progress, options)
    elif chunk.losses >= options.retries:
        unknown = "how is unknown" if guilty else "with one of its pool"
        how = (loss.codes or {}).get(progress.pid, unknown)
        error = WorkerLostError(
            f"{_named(chunk, progress)}: its worker process died ({how}), and "
            f"retries={options.retries} allows no more; usual causes are a crash in compiled "
            "code and too little memory"
        )
    before = [Chunk(first, items[:begin])] if begin and options.retries else []
    if error:
        return before, (first + begin if options.retries else first, error)
    losses = chunk.losses + (not chunk.late)
    singles = [Chunk(first + it, items[it : it + 1], losses) for it in range(begin, end)]
    after = [Chunk(first + end, items[end:])] if end < len(items) else []
    return before + singles + after, None


def too_late(chunk: Chunk, progress: Progress, options: Options) -> TimeoutError:
    """Return the error that an item over its time ends the map with."""
    late = _named(chunk, progress)
    return TimeoutError(f"{late} took longer than timeout={options.timeout} seconds")


def _suspects(chunk: Chunk, progress: Progress) -> tuple[int, int]:
    """Return the first and the last but one position of the items that may have been running."""
    if not progress.running:  # it unpickled the items, or pickled the results
        return 0, len(chunk.items)
    return progress.done, min(progress.done + progress.running, len(chunk.items))


def _named(chunk: Chunk, progress: Progress) -> str:
    begin, end = _suspects(chunk, progress)
    if end - begin == 1:
        return f"item {chunk.first + begin} = {short(chunk.items[begin])}"
    return f"one of the items {chunk.first + begin} to {chunk.first + end - 1}"
