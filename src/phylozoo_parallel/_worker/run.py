"""
Runs the items of a chunk, one after the other, in a worker thread or process.

It never raises an exception: joblib would end its pool, and with it the results of all maps. Errors
are part of the outcome instead.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, starmap
from time import perf_counter, thread_time
from typing import Any, NamedTuple

from phylozoo_parallel._worker import settings
from phylozoo_parallel.errors import line, short

STRIDE = 255
"""
Most items that run before the clock is read again, if items have no time limit. A note on the board
cannot hold a larger number.
"""

QUICK = 0.02
"""
Seconds that items may take between two readings of the clock. More than a few lines of Python
after each item would cost a worker among many more than the items: its code is in no cache by then.
"""

TRIVIAL = 2.5e-7
"""Seconds; items quicker than this are run by C code, without Python code between them."""


class Failure(NamedTuple):
    """Why an item, or a whole chunk, failed."""

    item: int
    """Index of the item that failed; -1 if it is not known which item of the chunk."""
    error: Any
    """The exception, packed while it is sent; None if it cannot be pickled."""
    line: str
    """The exception's own line of its traceback."""
    where: str
    """The item's index and short repr, and the worker."""
    trace: str
    """The traceback in the worker."""


class Times(NamedTuple):
    """When a chunk was where in its worker, by the worker's ``perf_counter``."""

    worker: str
    ready: float | None
    """When the worker process was up; None if that is not known."""
    loaded: float | None
    """When it had imported the modules of its initializer."""
    began: float
    known: float
    """When it had the function."""
    unpacked: float
    ran: float
    ended: float
    cpu: float
    """CPU seconds of the thread that ran the items."""
    cpu_all: float
    """CPU seconds of all threads of a worker process; in a worker thread, the same as `cpu`."""
    longest: tuple[float, int, int]
    """The longest item: its seconds, its index, and the number of items measured together."""


class Took(NamedTuple):
    """The times of a chunk in its worker; sent as a plain tuple, which is faster to pickle."""

    seconds: float
    """Seconds from unpickling the chunk to pickling its results."""
    ran: float = 0.0
    """Seconds of these for the items alone."""
    steps: int = 1
    """How often the clock was read between items."""
    squares: float = 0.0
    """For the spread: the sum over these steps of seconds squared, divided by the step's items."""


Outcome = tuple[Any, int, tuple[float, ...], Sequence[Failure], bytes | None, Times | None]
"""
The outcome of a chunk, a plain tuple, which is faster to pickle: the results of its first items in
order (a list, packed in a process), their number, their times (:class:`Took`), the failures, the
notices (:mod:`.notices`), and for a profile the :class:`Times`. None stands for the result of a
failed item. If the chunk ended with a failure, that is the last one, and has no result.
"""


class Pace(NamedTuple):
    """How a worker runs a chunk."""

    budget: float | None
    """Seconds after which a worker returns the rest of a chunk; None for no limit."""
    stride: int
    """Most items that run before the clock is read again."""
    keep_going: bool
    """Whether the items after a failed one run."""
    timed: bool = False
    """Whether the worker takes the times of the chunk."""


class _Here(threading.local):
    kind: str | None = None


here = _Here()
"""``here.kind`` is "process" or "thread" while this thread runs a chunk."""


UNSEEN = object()
"""Stands for an item that was not unpickled."""


class Task(NamedTuple):
    """A chunk that is ready to run: its items are objects."""

    func: Callable[..., Any]
    star: bool
    """Whether an item is a tuple of arguments."""
    items: Sequence[Any]
    first: int
    """Index of the first item."""
    pace: Pace
    results: list[Any]
    """A list for the results, empty at first."""
    failures: list[Failure]
    """A list for the failures; each is added before the None that stands for its result."""
    wanted: Callable[[], bool]
    """Returns whether the map is still wanted."""
    note: Callable[[int, int], None]
    """Called with the number of items that have run, and of those that run next."""


def run_in_thread(task: Task, errors: tuple[str, ...] | None) -> Outcome:
    """Run a chunk on objects shared with the caller, in a copy of the caller's context."""
    here.kind = "thread"
    try:
        begin = perf_counter()
        if not task.wanted():
            return [], 0, (0.0,), (), None, None
        settings.own_numbers(errors)
        timed = task.pace.timed
        cpu = thread_time() if timed else 0.0
        ran, longest = run(task)
        now, times = perf_counter(), None
        if timed:
            name, used = threading.current_thread().name, thread_time() - cpu
            times = Times(name, None, None, begin, begin, begin, now, now, used, used, longest)
        return task.results, len(task.results), (now - begin, *ran), task.failures, None, times
    finally:
        here.kind = None


def run(task: Task) -> tuple[tuple[float, int, float], tuple[float, int, int]]:
    """
    Run items until one fails, the budget is spent or they are no longer wanted.

    Returns
    -------
    tuple
        Seconds, steps and squares of a :class:`Took`, and the longest item of :class:`Times`.
    """
    func, star, items, first, pace, results, failures, wanted, note = task
    budget, most, keep_going, _ = pace
    calls: Iterator[Any] = (starmap if star else map)(func, items)
    append = results.append
    done, stride, took = 0, 1, QUICK
    steps, squares, longest = 0, 0.0, (0.0, first, 0)
    now = begin = looked = perf_counter()
    while done < len(items):
        note(done, stride)
        start, done = done, min(done + stride, len(items))
        try:
            if took < stride * TRIVIAL:
                results.extend(islice(calls, stride))
                if len(results) < done:  # func raised StopIteration, which ends islice silently
                    raise StopIteration("raised by func; to see where, call it with this item")
            else:
                while len(results) < done:
                    append(next(calls))
        except BaseException as error:
            failures.append(describe(error, first + len(results), items[len(results)]))
            if not keep_going or isinstance(error, KeyboardInterrupt):
                break
            append(None)
            done = len(results)
        # With quick items, the clock is read only after several of them.
        before, now = now, perf_counter()
        took = now - before
        steps, squares = steps + 1, squares + took * took / (done - start)
        if took > longest[0]:
            longest = took, first + start, done - start
        stride = 2 * stride if 2 * took < QUICK else max(int(stride * QUICK / took), 1)
        stride = min(stride, most)
        if now - looked > QUICK:
            looked = now
            if (budget is not None and now - begin > budget) or not wanted():
                break
    return (now - begin, steps, squares), longest


def describe(error: BaseException, index: int, item: Any, shown: Any = None) -> Failure:
    """Return a failure with an `error` to raise; the traceback of `shown` is shown with it."""
    shown = error if shown is None else shown
    trace = shown.__traceback__
    trace = trace and (trace.tb_next or trace)  # without the frame of this module
    where = f"in worker thread {threading.current_thread().name}"
    if here.kind == "process":
        where = f"in worker process {os.getpid()}"
    if index >= 0:
        shape = "" if item is UNSEEN else f" = {short(item)}"
        where = f"item {index}{shape}, {where}"
    text = "".join(traceback.format_exception(type(shown), shown, trace))
    return Failure(index, error, line(error), where, text)
