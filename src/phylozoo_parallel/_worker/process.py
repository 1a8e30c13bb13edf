"""
One chunk in a worker process: packed items in, packed results out.

::

    function and items, packed ──► unpack ──► run ──► pack ──► Outcome
"""

from __future__ import annotations

import os
import pickle
import platform
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter, process_time, thread_time
from typing import Any

from phylozoo_parallel._shipping import board, exceptions, pickles
from phylozoo_parallel._shipping.board import Ticket
from phylozoo_parallel._shipping.memory import Name
from phylozoo_parallel._shipping.pickles import Packed
from phylozoo_parallel._worker import notices, settings
from phylozoo_parallel._worker.known import Head, known, unpickled, wanted
from phylozoo_parallel._worker.run import (
    UNSEEN,
    Failure,
    Outcome,
    Pace,
    Task,
    Times,
    describe,
    here,
    run,
)
from phylozoo_parallel._worker.settings import Settings
from phylozoo_parallel.errors import line

_NO_ATTRIBUTE = re.compile(r"on <module '(?P<module>[^']+)'")
"""Matches pickle's error for a module that has another content than the caller's."""

_SENTINEL = b"\x8c\x06object\x94\x93"
"""What is in a pickle that holds an ``object()``: pickle copies it, even if it is a module's."""

ready: float | None = None
"""When this worker process was up, if that is known."""

loaded: float | None = None
"""When it had imported the modules of its initializer."""

Sent = tuple[int, tuple[Any, ...], Name | None, int | None]
"""
What is sent with a chunk besides its items: the index of its first item, its pace, the name of the
segment for large results, and its cell on the caller's board.
"""


def run_in_process(function: Packed, items: Packed, head: Head, sent: Sent) -> Outcome:
    """
    Run a packed chunk with a packed function (and `star`), and return the packed outcome.

    The function and the items are arguments of their own, so that joblib's backend for Dask sends
    large ones to a worker once.
    """
    key, ticket, caller, packed = head
    first, pace, reply, cell = sent
    here.kind = "process"
    begin = perf_counter()
    note = _noter(ticket, cell)
    note(board.AT_FUNCTION, 0)
    callers: Settings = unpickled(packed)
    settings.limits.enter(callers)
    try:
        try:
            its = known(head, function)
        except BaseException as wrong:
            message = f"the function could not be unpickled in its worker: {_missing(wrong)}"
            return _nothing(begin, first, pickle.UnpicklingError(message), wrong)
        if not wanted(key, its.ticket):
            return b"", 0, (0.0,), (), None, None
        knew = perf_counter()
        note(0, 0)
        context = its.context.copy()  # what an item sets stays in its chunk
        try:
            chunk = context.run(pickles.unpack, items)
        except BaseException as wrong:
            message = f"item {first} could not be unpickled in its worker: {_missing(wrong)}"
            return _nothing(begin, -1, pickle.UnpicklingError(message), wrong)
        still = partial(wanted, key, its.ticket)
        task = Task(its.func, its.star, chunk, first, Pace(*pace), [], [], still, note)
        unpacked, cpu = perf_counter(), _cpu_seconds(task.pace)
        with notices.collecting(caller is not None) as noticed:
            ran, longest = context.run(settings.as_caller, callers, run, task)
        done, cpu = perf_counter(), _cpu_seconds(task.pace, cpu)
        note(max(len(task.results), 1), 0)  # 0 and 0 would mean: before the first item
        outcome = _packed(task, begin, ran, task.failures, reply)
        times = None
        if task.pace.timed:
            at = begin, knew, unpacked, done, perf_counter()
            times = Times(_me(caller is None), ready, loaded, *at, *cpu, longest)
        return (*outcome[:4], notices.pack(noticed), times)
    finally:
        settings.limits.leave()
        here.kind = None


def _cpu_seconds(pace: Pace, since: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """Return the CPU seconds of this thread and its process since then, if times are taken."""
    if not pace.timed:
        return since
    return thread_time() - since[0], process_time() - since[1]


def _me(elsewhere: bool) -> str:
    """Return a name for this worker: its process, its thread if not the main one, its machine."""
    machine = f"{platform.node()} " if elsewhere else ""
    thread = threading.current_thread()
    which = "" if thread is threading.main_thread() else f" {thread.name}"
    return f"{machine}{os.getpid()}{which}"


def _missing(wrong: BaseException) -> str:
    """Return why unpickling failed; if a module is missing, say how to ship it."""
    found = _NO_ATTRIBUTE.search(str(wrong)) if isinstance(wrong, AttributeError) else None
    name = found["module"] if found else getattr(wrong, "name", None)
    if not (found or isinstance(wrong, ModuleNotFoundError)) or name in (None, "__main__"):
        return line(wrong)
    return (
        f"{line(wrong)}; if your program loaded {name} itself, from a path say, workers cannot"
        f" import it: call cloudpickle.register_pickle_by_value({name}) before the map"
    )


def _noter(ticket: Ticket | None, cell: int | None) -> Callable[[int, int], None]:
    page = board.of(ticket[0]) if ticket else None
    return page.noter(cell) if page and cell is not None else lambda done, running: None


def _parts(value: Any) -> list[Any]:
    if not pickles.copied:
        with suppress(Exception):
            pieces = pickles.parts(value, pickle.dumps)
            if _SENTINEL not in pieces[0]:
                return pieces
    # What only our own pickler can do: lambdas, classes of __main__, sentinels.
    from phylozoo_parallel._shipping.pickler import dumps

    return pickles.parts(value, dumps)


def _pack(value: Any, reply: Name | None) -> Packed:
    pieces = _parts(value)
    if reply is not None and (len(pieces) > 1 or len(pieces[0]) >= pickles.LARGE):
        with suppress(OSError):  # no room, or the caller is gone
            return pickles.answer(reply, pieces)
    return pickles.in_message(pieces)


def _packed(
    task: Task,
    begin: float,
    ran: tuple[float, ...],
    failures: list[Failure],
    reply: Name | None,
) -> Outcome:
    results = task.results
    try:
        packed = _pack(results, reply)
    except BaseException as error:
        found = _unpicklable(task)
        if not found:
            message = f"the results from item {task.first} on could not be pickled: {line(error)}"
            return _nothing(begin, -1, pickle.PicklingError(message), error)
        if not task.pace.keep_going:
            del results[found[0].item - task.first :]
            found, failures = found[:1], []
        return _packed(task, begin, ran, failures + found, reply)
    took = perf_counter() - begin, *ran
    return packed, len(results), took, list(map(_carried, failures)), None, None


def _unpicklable(task: Task) -> list[Failure]:
    """Replace the results that cannot be pickled by None, and return their failures."""
    found = []
    for position, result in enumerate(task.results):
        try:
            _parts(result)
        except BaseException as wrong:
            index = task.first + position
            message = f"the result of item {index} could not be pickled: {line(wrong)}"
            item = task.items[position]
            found.append(describe(pickle.PicklingError(message), index, item, wrong))
            task.results[position] = None
    return found


def _nothing(begin: float, index: int, error: Exception, shown: BaseException) -> Outcome:
    failure = describe(error, index, UNSEEN, shown)
    return b"", 0, (perf_counter() - begin,), [_carried(failure)], None, None


def _carried(failure: Failure) -> Failure:
    """Pack the exception of a failure; None if it cannot be pickled."""
    packed, lost = exceptions.carried(failure.error, lambda value: _pack(value, None))
    return failure._replace(error=packed, where=failure.where + lost)
