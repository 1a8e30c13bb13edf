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
from phylozoo_parallel._map.limits import exceeded
from phylozoo_parallel._options import Options
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel.errors import short
from phylozoo_parallel.lost import WorkerLostError


def salvage(
    chunk: Chunk, loss: WorkersLost, options: Options
) -> tuple[list[Chunk], list[tuple[int, Exception]]]:
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
        The chunks to run again, and the indices and errors of what has failed: of one item, where
        the map ends with it.
    """
    first, items, progress = chunk.first, chunk.items, chunk.progress
    guilty = progress is not None and (chunk.late or loss.hit(progress))
    if progress is None or (options.retries and not guilty):  # no worker, or not a dead one, had it
        return [Chunk(first, items, chunk.losses)], []
    begin, end = _suspects(chunk, progress)
    found = end - begin == 1 or progress.at_function
    message = _verdict(chunk, progress, loss, options, found)
    if not options.retries:  # what its worker has done is lost, too
        begin = 0
    before = [Chunk(first, items[:begin])] if begin else []
    after = [Chunk(first + end, items[end:])] if end < len(items) else []
    if message is None:
        losses = chunk.losses + (not chunk.late)
        singles = [Chunk(first + it, items[it : it + 1], losses) for it in range(begin, end)]
        return before + singles + after, []
    kind = TimeoutError if chunk.late else WorkerLostError
    if not options.return_exceptions:
        return before, [(first + begin, kind(message))]
    return before + after, [(first + it, kind(message)) for it in range(begin, end)]


def _verdict(
    chunk: Chunk, progress: Progress, loss: WorkersLost, options: Options, found: bool
) -> str | None:
    """Say what to raise, with what is at fault `found`; None where that is yet to be seen."""
    if chunk.late:
        return too_late(chunk, progress, options) if found or not options.retries else None
    if chunk.losses < options.retries:
        return None
    guilty = loss.hit(progress)
    how = (loss.codes or {}).get(
        progress.pid, "how is unknown" if guilty else "with one of its pool"
    )
    return (
        f"{_named(chunk, progress)}: its worker process died ({how}), and "
        f"retries={options.retries} allows no more; usual causes are a crash in compiled "
        "code and too little memory"
    )


def too_late(chunk: Chunk, progress: Progress, options: Options) -> str:
    """Say that an item took too long, or what is done around it."""
    return _named(chunk, progress) + exceeded(progress, options.timeout or 0.0)


def _suspects(chunk: Chunk, progress: Progress) -> tuple[int, int]:
    """Return the first and the last but one position of the items that may have been running."""
    if not progress.running:  # it unpickled the items, or pickled the results
        return 0, len(chunk.items)
    return progress.done, min(progress.done + progress.running, len(chunk.items))


def _named(chunk: Chunk, progress: Progress) -> str:
    if progress.at_function:
        return f"the function, unpickled to run item {chunk.first}"
    begin, end = _suspects(chunk, progress)
    if end - begin == 1:
        return f"item {chunk.first + begin} = {short(chunk.items[begin])}"
    return f"one of the items {chunk.first + begin} to {chunk.first + end - 1}"
