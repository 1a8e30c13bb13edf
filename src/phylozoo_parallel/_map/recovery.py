"""
Decide what to do with a chunk whose worker died: a pure function.

::

    chunk, its progress, who died ──► chunks to run again, and the errors of failed items

loky ends all workers of a pool when one of them dies. Chunks that no worker had begun, and chunks
of the other workers, run again, which does not count as one of their `retries`. The items that the
dead worker may have been running are tried one by one, each at most `retries` times, so that the
item that kills workers is found.
"""

from __future__ import annotations

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines.base import WorkersLost
from phylozoo_parallel._engines.limits import exceeded
from phylozoo_parallel._options import Options
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel.errors import short
from phylozoo_parallel.lost import WorkerLostError


def salvage(
    chunk: Chunk, loss: WorkersLost, options: Options
) -> tuple[list[Chunk], list[tuple[int, Exception]]]:
    """
    Decide what to do with a lost chunk.

    Parameters
    ----------
    chunk : Chunk
        With its progress and its items.
    loss : WorkersLost
        Which workers died, and how.
    options : Options
        The options of the map.

    Returns
    -------
    tuple
        The chunks to run again, and the index and the error of each failed item. Without
        `return_exceptions` the map ends with the error, and there is at most one.
    """
    first, items, progress = chunk.first, chunk.items, chunk.progress
    guilty = progress is not None and (chunk.late or loss.may_have_died_in(progress))
    begun = progress is not None and not progress.at_function
    if progress is None or (not guilty and (options.retries or not begun)):
        # No worker had begun with it; or its worker was alive, and running it again is allowed.
        return [Chunk(first, items, chunk.losses)], []
    begin, end = _suspects(chunk, progress)
    found = end - begin == 1 or not begun
    message = _verdict(chunk, progress, loss, options, found)
    lost = begin if options.retries else 0  # the results before them are lost with the worker
    before = [Chunk(first, items[:lost])] if lost else []
    after = [Chunk(first + end, items[end:])] if end < len(items) else []
    if message is None:
        losses = chunk.losses + (not chunk.late)
        singles = [Chunk(first + it, items[it : it + 1], losses) for it in range(begin, end)]
        return before + singles + after, []
    kind = TimeoutError if chunk.late else WorkerLostError
    if not options.return_exceptions:
        if begin > lost:
            message += f"; results of items before it, from {first} on, are lost with that worker"
        return before, [(first + lost, kind(message))]
    failed: list[tuple[int, Exception]] = []
    for it in range(lost, end):
        own = message if found else f"{_item(chunk, it)}: {message}"
        if it < begin:
            own = f"{_item(chunk, it)}: its result is lost with its worker process: {message}"
        failed.append((first + it, WorkerLostError(own) if it < begin else kind(own)))
    return before + after, failed


def _verdict(
    chunk: Chunk, progress: Progress, loss: WorkersLost, options: Options, found: bool
) -> str | None:
    """
    Return the message of the error, or None to try again.

    `found` says that it is known which item, or the function, is at fault.
    """
    if chunk.late:
        return too_late(chunk, progress, options) if found or not options.retries else None
    # Unpickling the function is tried twice even without retries: no item has begun by then.
    if chunk.losses < (max(options.retries, 1) if progress.at_function else options.retries):
        return None
    guilty = loss.may_have_died_in(progress)
    how = (loss.codes or {}).get(
        progress.pid, "how is unknown" if guilty else "with one of its pool"
    )
    return (
        f"{_named(chunk, progress)}: its worker process died ({how}), and "
        f"retries={options.retries} allows no more; usual causes are a crash in compiled "
        "code and too little memory"
    )


def too_late(chunk: Chunk, progress: Progress, options: Options) -> str:
    """Return the message for an item that took too long, or for what comes before and after it."""
    return _named(chunk, progress) + exceeded(progress, options.timeout or 0.0)


def _suspects(chunk: Chunk, progress: Progress) -> tuple[int, int]:
    """Return the positions, from and up to, of the items that may have been running."""
    if not progress.running:  # the worker was unpickling the items, or pickling the results
        return 0, len(chunk.items)
    return progress.done, min(progress.done + progress.running, len(chunk.items))


def _named(chunk: Chunk, progress: Progress) -> str:
    if progress.at_function:
        return f"the function, unpickled to run item {chunk.first}"
    begin, end = _suspects(chunk, progress)
    if end - begin == 1:
        return _item(chunk, begin)
    return f"one of the items {chunk.first + begin} to {chunk.first + end - 1}"


def _item(chunk: Chunk, position: int) -> str:
    return f"item {chunk.first + position} = {short(chunk.items[position])}"
