"""
What runs in a worker: one chunk in, one outcome out.

::

    process   the map's function and the chunk, packed
                  └─► unpack ──► run ──► pack ──► Outcome with packed results
    thread    the function and the items themselves
                  └───────────► run ────────────► Outcome with a list

Nothing is raised from here: an exception that leaves a worker makes joblib kill its pool,
and with it everybody's results. What went wrong travels in the outcome instead.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import islice, starmap
from time import perf_counter, sleep
from typing import Any, NamedTuple

from phylozoo_parallel import _board, _shipping
from phylozoo_parallel._board import Ticket
from phylozoo_parallel._shipping import Name, Packed
from phylozoo_parallel.errors import line, short

STRIDE = 255
"""Most items that run between two looks at the clock, where no item has a time limit; a note of
the board can tell no more."""

QUICK = 0.001
"""Seconds; items of a stride slower than this are looked at one by one."""

TRIVIAL = 2.5e-7
"""Seconds; items quicker than this run without a step of Python's between two of them."""

KEPT = 8
"""Functions that a worker keeps unpickled at most, for maps that take turns."""

WATCH = 1.0
"""Seconds between two looks at whether the caller lives and what it still wants."""


class Failure(NamedTuple):
    """Why a chunk ended before its last item."""

    item: int | None
    """Index of the item that failed; None when only the chunk as a whole did."""
    error: Any
    """The exception, pickled in a process; None when it does not pickle."""
    line: str
    """The exception's own line of its traceback."""
    where: str
    """The item's index and short repr, and the worker."""
    trace: str
    """The traceback in the worker."""


Outcome = tuple[Any, int, float, Failure | None]
"""
What came of a chunk, plain for the pickler's sake: the results of its first items in order (a
list, packed in a process), how many they are, the seconds from the chunk's unpickling to its
results' pickling, and why it ended before its last item.
"""


Pace = tuple[float | None, int]
"""
Seconds after which a worker leaves the rest of a chunk to others, None for no limit; and most
items that run between two looks at the clock.
"""


Head = tuple[int, Ticket | None, bytes | None]
"""
Of a map: its name, where to look whether it is still wanted, and the pickled :class:`Place`
(None on another machine).
"""

Sent = tuple[int, Pace, Name | None, int | None]
"""
Of a chunk: the index of its first item, its pace, the name of the segment for large results, and
the cell of the caller's board for notes of how far it is.
"""


class Place(NamedTuple):
    """What a worker on the caller's machine has to know of the caller."""

    directory: str | None
    """Working directory."""
    path: tuple[str, ...]
    """``sys.path``."""
    leak_limit: tuple[str, str]
    """Module and name of the bytes that a worker may grow by before joblib replaces it."""
    lifeline: Name | None
    """Pipe that breaks when the caller is gone."""


class _Here(threading.local):
    kind: str | None = None


here = _Here()
"""``here.kind`` is "process" or "thread" while this thread runs a chunk."""


class _Known(NamedTuple):
    func: Callable[..., Any]
    star: bool
    ticket: Ticket | None
    place: Place | None
    held: int
    """Bytes that the function is taken to hold."""


_UNSEEN = object()
"""An item that was not unpickled."""

_unpickled = lru_cache(maxsize=8)(pickle.loads)
"""Of each :class:`Place`: it comes with every chunk."""

_known: dict[int, _Known] = {}
_entered = 0
_watcher: threading.Thread | None = None


class Task(NamedTuple):
    """A chunk to run, where its items are objects."""

    func: Callable[..., Any]
    star: bool
    """Whether an item is a tuple of arguments."""
    items: Sequence[Any]
    first: int
    """Index of the first item."""
    pace: Pace
    results: list[Any]
    """Empty; results are put here as they come."""
    wanted: Callable[[], bool]
    """Whether the map still is."""
    note: Callable[[int, int], None]
    """Takes how many items have run, and how many run next."""


def run_in_thread(task: Task) -> Outcome:
    """Run a chunk on objects shared with the caller."""
    here.kind = "thread"
    try:
        begin = perf_counter()
        if not task.wanted():
            return [], 0, 0.0, None
        failure = _run(task)
        return task.results, len(task.results), perf_counter() - begin, failure
    finally:
        here.kind = None


def run_in_process(function: Packed, items: Packed, head: Head, sent: Sent) -> Outcome:
    """
    Run packed items with a packed function and `star`, and pack what comes of it.

    Those two are arguments of their own, for joblib to send large ones to Dask's workers once.
    """
    key, ticket, place = head
    first, pace, reply, cell = sent
    here.kind = "process"
    begin = perf_counter()
    note = _noter(ticket, cell)
    note(0, 0)
    try:
        try:
            known = _known.get(key) or _get_to_know(key, ticket, place, function)
            _enter(key, known.place)
        except BaseException as wrong:
            told = f"the function could not be unpickled in its worker: {line(wrong)}"
            return _nothing(begin, first, pickle.UnpicklingError(told), wrong)
        if not _wanted_here(key, known.ticket):
            return b"", 0, 0.0, None
        try:
            chunk = _shipping.unpack(items)
        except BaseException as wrong:
            told = f"item {first} could not be unpickled in its worker: {line(wrong)}"
            return _nothing(begin, None, pickle.UnpicklingError(told), wrong)
        wanted = partial(_wanted_here, key, known.ticket)
        task = Task(known.func, known.star, chunk, first, pace, [], wanted, note)
        failure = _run(task)
        note(len(task.results), 0)
        return _packed(task, begin, failure, reply)
    finally:
        here.kind = None


def _run(task: Task) -> Failure | None:
    """Run items until one fails, the budget is spent or they are no longer wanted."""
    func, star, items, first, pace, results, wanted, note = task
    calls: Iterator[Any] = (starmap if star else map)(func, items)
    append = results.append
    budget, most = pace
    done, stride, took = 0, 1, QUICK
    now = begin = looked = perf_counter()
    try:
        while done < len(items):
            note(done, stride)
            done = min(done + stride, len(items))
            if took < stride * TRIVIAL:
                results.extend(islice(calls, stride))
                if len(results) < done:  # here a StopIteration ends the items without a trace
                    raise StopIteration("raised by func; to see where, call it with this item")
            else:
                while len(results) < done:
                    append(next(calls))
            # Quick items do not pay for a look at the clock each.
            before, now = now, perf_counter()
            took = now - before
            stride = min(2 * stride, most) if took < QUICK else 1
            if now - looked > QUICK:
                looked = now
                if (budget is not None and now - begin > budget) or not wanted():
                    break
    except BaseException as error:
        return _failure(error, first + len(results), items[len(results)])
    return None


def _get_to_know(key: int, ticket: Ticket | None, place: bytes | None, function: Packed) -> _Known:
    """Unpack a map's function, in the caller's directory and with its ``sys.path``."""
    global _watcher
    told: Place | None = _unpickled(place) if place else None
    _enter(key, told)
    func, star = _shipping.unpack(function)
    known = _Known(func, star, ticket, told, _shipping.size(function))
    while len(_known) >= KEPT:
        _let_go(next(iter(_known)))
    _known[key] = known
    if told is not None:
        _grow(told, known.held)
        if _watcher is None:
            if told.lifeline:
                _board.hang_on(told.lifeline)
            _watcher = threading.Thread(target=_watch, args=(os.getppid(),), daemon=True)
            _watcher.start()
    return known


def _enter(key: int, place: Place | None) -> None:
    global _entered
    if place is None or _entered == key:
        return
    sys.path[:] = place.path
    if place.directory is not None:
        with suppress(OSError):  # it is gone by now
            os.chdir(place.directory)
    _entered = key


def _wanted_here(key: int, ticket: Ticket | None) -> bool:
    board = _board.of(ticket[0]) if ticket else None
    return not (ticket and board) or board.wanted(ticket[1], key)


def _noter(ticket: Ticket | None, cell: int | None) -> Callable[[int, int], None]:
    board = _board.of(ticket[0]) if ticket else None
    return board.noter(cell) if board and cell is not None else lambda done, running: None


def _let_go(key: int) -> None:
    known = _known.pop(key, None)
    if known is not None and known.place is not None:
        _grow(known.place, -known.held)


def _grow(place: Place, held: int) -> None:
    """Tell joblib's leak guard what is held on purpose: unpickled objects outgrow their pickle."""
    module, name = place.leak_limit
    guard = sys.modules.get(module)
    if guard is not None and abs(held) > _shipping.LARGE:
        setattr(guard, name, getattr(guard, name) + 8 * held)


def _watch(parent: int) -> None:
    """End this worker when its caller is gone, and let go of what no map wants any more."""
    while True:
        sleep(WATCH)
        if os.getppid() != parent:
            os._exit(1)
        # Keys alone: no variable here must keep what is let go.
        for key in [key for key, it in list(_known.items()) if not _wanted_here(key, it.ticket)]:
            _let_go(key)


def _parts(value: Any) -> list[Any]:
    try:
        return _shipping.parts(value, pickle.dumps)
    except Exception:  # what only cloudpickle can do: lambdas, classes of __main__
        import cloudpickle

        return _shipping.parts(value, cloudpickle.dumps)


def _pack(value: Any, reply: Name | None) -> Packed:
    pieces = _parts(value)
    if reply is not None and (len(pieces) > 1 or len(pieces[0]) >= _shipping.LARGE):
        with suppress(OSError):  # no room, or the caller is gone
            return _shipping.answer(reply, pieces)
    return _shipping.in_message(pieces)


def _packed(task: Task, begin: float, failure: Failure | None, reply: Name | None) -> Outcome:
    items, first, results = task.items, task.first, task.results
    try:
        packed = _pack(results, reply)
    except BaseException as error:
        for good, result in enumerate(results):
            try:
                _parts(result)
            except BaseException as wrong:
                told = f"the result of item {first + good} could not be pickled: {line(wrong)}"
                failed = _failure(pickle.PicklingError(told), first + good, items[good], wrong)
                return _packed(task._replace(results=results[:good]), begin, failed, reply)
        told = f"the results from item {first} on could not be pickled: {line(error)}"
        return _nothing(begin, None, pickle.PicklingError(told), error)
    return packed, len(results), perf_counter() - begin, failure


def _nothing(begin: float, index: int | None, told: Exception, error: BaseException) -> Outcome:
    return b"", 0, perf_counter() - begin, _failure(told, index, _UNSEEN, error)


def _failure(error: BaseException, index: int | None, item: Any, shown: Any = None) -> Failure:
    """Describe an `error` to raise, and the one whose traceback is to be `shown` with it."""
    shown = error if shown is None else shown
    trace = shown.__traceback__
    trace = trace and (trace.tb_next or trace)  # without this module's own frame
    carried: Any = error
    where = f"in worker thread {threading.current_thread().name}"
    if here.kind == "process":
        where, carried = f"in worker process {os.getpid()}", None
        with suppress(BaseException):
            carried = _pack(error, None)
    if index is not None:
        shape = "" if item is _UNSEEN else f" = {short(item)}"
        where = f"item {index}{shape}, {where}"
    text = "".join(traceback.format_exception(type(shown), shown, trace))
    return Failure(index, carried, line(error), where, text)
