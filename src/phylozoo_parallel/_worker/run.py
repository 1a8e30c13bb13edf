"""
What runs in a worker, thread or process: the items of a chunk, one after the other.

Nothing is raised from here: an exception that leaves a worker makes joblib kill its pool,
and with it everybody's results. What went wrong travels in the outcome instead.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, starmap
from time import perf_counter, process_time, thread_time
from typing import Any, NamedTuple

from phylozoo_parallel._worker import settings
from phylozoo_parallel._worker.in_line import seconds_in_line
from phylozoo_parallel.errors import line, short

STRIDE = 255
"""Most items that run between two looks at the clock, where no item has a time limit; a note of
the board can tell no more."""

QUICK = 0.001
"""Seconds; items of a stride slower than this are looked at one by one."""

TRIVIAL = 2.5e-7
"""Seconds; items quicker than this run without a step of Python's between two of them."""


class Failure(NamedTuple):
    """Why a chunk ended before its last item."""

    item: int
    """Index of the item that failed; -1 when only the chunk as a whole did."""
    error: Any
    """The exception, on its way packed; None when it does not pickle."""
    line: str
    """The exception's own line of its traceback."""
    where: str
    """The item's index and short repr, and the worker."""
    trace: str
    """The traceback in the worker."""


class Times(NamedTuple):
    """When a chunk was where in its worker, by the worker's `perf_counter`."""

    worker: str
    ready: float | None
    """When the worker process was up; None where nobody knows."""
    loaded: float | None
    """When it had loaded what it was told to load before its first chunk."""
    began: float
    known: float
    """When it had the function."""
    unpacked: float
    ran: float
    ended: float
    cpu: float
    """Seconds on a core, of the thread that ran the items."""
    cpu_all: float
    """The same, of all threads of its process."""
    longest: tuple[float, int, int]
    """Of the longest item: seconds, index; and how many quick items after it are in these."""
    in_line: float = 0.0
    """Seconds in which this thread was ready to run, but other programs had the cores."""


class Took(NamedTuple):
    """What a chunk took in its worker; a plain tuple on its way, for the pickler's sake."""

    seconds: float
    """From unpickling the chunk to pickling its results."""
    ran: float = 0.0
    """Of these, the seconds of the items alone."""
    steps: int = 1
    """How often the clock was read between items."""
    squares: float = 0.0
    """Of the seconds between, each divided by the items in it: the sum, for the spread."""


Outcome = tuple[Any, int, tuple[float, ...], Sequence[Failure], bytes | None, Times | None]
"""
What came of a chunk, plain for the pickler's sake: the results of its first items in order (a
list, packed in a process), how many they are, what they took (:class:`Took`), what failed, what
it told besides (:mod:`.told`), and when it was where, for a profile. The last failure has no result
where the chunk ended with it; otherwise None stands for the result of a failed item.
"""


class Pace(NamedTuple):
    """How a chunk runs."""

    budget: float | None
    """Seconds after which a worker leaves the rest of a chunk to others, None for no limit."""
    stride: int
    """Most items that run between two looks at the clock."""
    keep_going: bool
    """Whether the items after a failed one run."""
    timed: bool = False
    """Whether the worker takes the times of the chunk."""


class _Here(threading.local):
    kind: str | None = None


here = _Here()
"""``here.kind`` is "process" or "thread" while this thread runs a chunk."""


UNSEEN = object()
"""An item that was not unpickled."""


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
    failures: list[Failure]
    """Empty; what failed is put here, before the None that stands for its result."""
    wanted: Callable[[], bool]
    """Whether the map still is."""
    note: Callable[[int, int], None]
    """Takes how many items have run, and how many run next."""


def run_in_thread(task: Task, errors: tuple[str, ...] | None) -> Outcome:
    """Run a chunk on objects shared with the caller, in a copy of the caller's context."""
    here.kind = "thread"
    try:
        begin = perf_counter()
        if not task.wanted():
            return [], 0, (0.0,), (), None, None
        settings.own_numbers(errors)
        cpu, waited = cpu_seconds(task.pace), seconds_in_line() if task.pace.timed else 0.0
        ran, longest = run(task)
        now, times = perf_counter(), None
        if task.pace.timed:
            name, used = threading.current_thread().name, cpu_seconds(task.pace, cpu)
            waited = seconds_in_line() - waited
            times = Times(name, None, None, begin, begin, begin, now, now, *used, longest, waited)
        return task.results, len(task.results), (now - begin, *ran), task.failures, None, times
    finally:
        here.kind = None


def cpu_seconds(pace: Pace, since: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """Return the seconds that this thread and its process used since then, where it is wanted."""
    if not pace.timed:
        return since
    return thread_time() - since[0], process_time() - since[1]


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
                if len(results) < done:  # here a StopIteration ends the items without a trace
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
        # Quick items do not pay for a look at the clock each.
        before, now = now, perf_counter()
        took = now - before
        steps, squares = steps + 1, squares + took * took / (done - start)
        if took > longest[0]:
            longest = took, first + start, done - start
        stride = min(2 * stride, most) if took < QUICK else 1
        if now - looked > QUICK:
            looked = now
            if (budget is not None and now - begin > budget) or not wanted():
                break
    return (now - begin, steps, squares), longest


def describe(error: BaseException, index: int, item: Any, shown: Any = None) -> Failure:
    """Describe an `error` to raise, and the one whose traceback is to be `shown` with it."""
    shown = error if shown is None else shown
    trace = shown.__traceback__
    trace = trace and (trace.tb_next or trace)  # without this module's own frame
    where = f"in worker thread {threading.current_thread().name}"
    if here.kind == "process":
        where = f"in worker process {os.getpid()}"
    if index >= 0:
        shape = "" if item is UNSEEN else f" = {short(item)}"
        where = f"item {index}{shape}, {where}"
    text = "".join(traceback.format_exception(type(shown), shown, trace))
    return Failure(index, error, line(error), where, text)
