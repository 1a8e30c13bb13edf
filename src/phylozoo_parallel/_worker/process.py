"""
One chunk in a worker process: packed items in, packed results out.

::

    function and items, packed ──► unpack ──► run ──► pack ──► Outcome
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

from phylozoo_parallel._shipping import board, pickles
from phylozoo_parallel._shipping.board import Ticket
from phylozoo_parallel._shipping.memory import Name
from phylozoo_parallel._shipping.pickles import Packed
from phylozoo_parallel._worker import settings, told
from phylozoo_parallel._worker.known import Head, known, unpickled, wanted
from phylozoo_parallel._worker.run import (
    UNSEEN,
    Failure,
    Outcome,
    Pace,
    Task,
    describe,
    here,
    run,
)
from phylozoo_parallel._worker.settings import Settings
from phylozoo_parallel.errors import line

Sent = tuple[int, Pace, Name | None, int | None]
"""
Of a chunk: the index of its first item, its pace, the name of the segment for large results, and
the cell of the caller's board for notes of how far it is.
"""


def run_in_process(function: Packed, items: Packed, head: Head, sent: Sent) -> Outcome:
    """
    Run packed items with a packed function and `star`, and pack what comes of it.

    Those two are arguments of their own, for joblib to send large ones to Dask's workers once.
    """
    key, ticket, caller, packed = head
    first, pace, reply, cell = sent
    here.kind = "process"
    begin = perf_counter()
    note = _noter(ticket, cell)
    note(0, 0)
    callers: Settings = unpickled(packed)
    settings.limits.enter(callers)
    try:
        try:
            its = known(head, function)
        except BaseException as wrong:
            message = f"the function could not be unpickled in its worker: {line(wrong)}"
            return _nothing(begin, first, pickle.UnpicklingError(message), wrong)
        if not wanted(key, its.ticket):
            return b"", 0, 0.0, None, None
        try:
            chunk = pickles.unpack(items)
        except BaseException as wrong:
            message = f"item {first} could not be unpickled in its worker: {line(wrong)}"
            return _nothing(begin, None, pickle.UnpicklingError(message), wrong)
        still = partial(wanted, key, its.ticket)
        task = Task(its.func, its.star, chunk, first, pace, [], still, note)
        with told.listening(caller is not None) as heard, settings.as_caller(callers):
            failure = run(task)
        note(len(task.results), 0)
        outcome = _packed(task, begin, failure and _carried(failure), reply)
        return (*outcome[:4], told.pack(heard))
    finally:
        settings.limits.leave()
        here.kind = None


def _noter(ticket: Ticket | None, cell: int | None) -> Callable[[int, int], None]:
    page = board.of(ticket[0]) if ticket else None
    return page.noter(cell) if page and cell is not None else lambda done, running: None


def _parts(value: Any) -> list[Any]:
    try:
        return pickles.parts(value, pickle.dumps)
    except Exception:  # what only cloudpickle can do: lambdas, classes of __main__
        import cloudpickle

        return pickles.parts(value, cloudpickle.dumps)


def _pack(value: Any, reply: Name | None) -> Packed:
    pieces = _parts(value)
    if reply is not None and (len(pieces) > 1 or len(pieces[0]) >= pickles.LARGE):
        with suppress(OSError):  # no room, or the caller is gone
            return pickles.answer(reply, pieces)
    return pickles.in_message(pieces)


def _packed(task: Task, begin: float, failure: Failure | None, reply: Name | None) -> Outcome:
    items, first, results = task.items, task.first, task.results
    try:
        packed = _pack(results, reply)
    except BaseException as error:
        for good, result in enumerate(results):
            try:
                _parts(result)
            except BaseException as wrong:
                message = f"the result of item {first + good} could not be pickled: {line(wrong)}"
                failure = describe(pickle.PicklingError(message), first + good, items[good], wrong)
                task = task._replace(results=results[:good])
                return _packed(task, begin, _carried(failure), reply)
        message = f"the results from item {first} on could not be pickled: {line(error)}"
        return _nothing(begin, None, pickle.PicklingError(message), error)
    return packed, len(results), perf_counter() - begin, failure, None


def _nothing(begin: float, index: int | None, error: Exception, shown: BaseException) -> Outcome:
    failure = describe(error, index, UNSEEN, shown)
    return b"", 0, perf_counter() - begin, _carried(failure), None


def _carried(failure: Failure) -> Failure:
    """Pack the exception of a failure; None stands for one that cannot be pickled."""
    packed = None
    with suppress(BaseException):
        packed = _pack(failure.error, None)
    return failure._replace(error=packed)
