"""
Records how one map runs: what its caller did, and where each chunk was, and when.

All times are from ``perf_counter``. It is the same clock in all processes of a machine: on Linux it
is CLOCK_MONOTONIC, on macOS mach_absolute_time, on Windows QueryPerformanceCounter, and each counts
from the start of the machine. :mod:`.lanes` corrects the times of other machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from time import perf_counter, process_time, thread_time
from typing import Any, NamedTuple

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._listener import Doing, Listener
from phylozoo_parallel._profile.in_line import seconds_in_line
from phylozoo_parallel._worker.run import Times
from phylozoo_parallel.errors import short

IN_PLACE = "in place"
"""The name of the engine of maps that the caller runs itself: sequentially, or inside workers."""

BLINK = 0.01
"""Seconds; for maps that the caller runs itself, times are added up over this long."""

LONG = 0.02
"""Seconds after which it is worth the time to ask how long threads wait for cores."""


@dataclass(slots=True)
class Row:
    """One chunk."""

    first: int
    """Index of the first item."""
    items: int
    packing: float
    """When the caller began to pack it."""
    sent: float
    out: int
    """Bytes of the packed items."""
    back: int = 0
    """Bytes of the packed results."""
    done: int = 0
    """Number of items that have a result."""
    arrived: float | None = None
    """When it was back in this process."""
    settled: float | None = None
    """When the caller handled its outcome."""
    end: str = "running"
    """How it ended: "done", "lost", "late" or "failed"."""
    times: Times | None = None
    """The times that its worker took."""
    pid: int | None = None
    """The worker that had begun with it, if it was lost; 0 if it is not known which one."""


class Spell(NamedTuple):
    """A stretch of the caller's time, in which it did one thing."""

    doing: Doing
    begin: float
    end: float


class Recorder(Listener):
    """
    Records one map.

    Parameters
    ----------
    func : callable
    kind : str
        The kind of workers; empty without workers.
    """

    timed = True

    def __init__(self, func: Callable[..., Any], kind: str) -> None:
        while isinstance(func, partial):
            func = func.func
        self.function: str = getattr(func, "__qualname__", None) or short(func)
        self.kind = kind
        self.engine = IN_PLACE
        self.workers = 1
        self.function_bytes = 0
        self.rows: list[Row] = []
        self.end: float | None = None
        self.cpu = process_time()
        """
        CPU seconds of all threads of this process but the caller's. While the map runs, it is what
        they had used when it began.
        """
        self.in_line = 0.0
        """Seconds in which worker threads were ready to run, but other programs had the cores."""
        self._asked: tuple[float, float] | None = None  # when, and the seconds in line until then
        self._caller = get_ident(), thread_time()
        self._doings: list[Doing] = ["opening"]
        self._turns = [perf_counter()]
        self._flying: dict[Chunk, Row] = {}

    @property
    def begin(self) -> float:
        """When the map began."""
        return self._turns[0]

    def spells(self) -> list[Spell]:
        """Return what the caller did, and when."""
        end = perf_counter() if self.end is None else self.end
        turns = self._turns[: len(self._doings)]
        return list(map(Spell, self._doings, turns, [*turns[1:], end]))

    def started(self, engine: str, workers: int, function: int) -> None:
        """Note the engine, its number of workers, and the bytes of the pickled function."""
        self.engine, self.workers, self.function_bytes = engine, workers, function

    def turn(self, doing: Doing) -> None:
        """Note what the caller begins to do."""
        if doing != self._doings[-1] or doing == "sending":
            self._turns.append(perf_counter())
            self._doings.append(doing)

    def sending(self, chunk: Chunk) -> None:
        """Note that a chunk, packed by now, is being sent."""
        out = chunk.nbytes if chunk.packed is not None else 0
        row = Row(chunk.first, len(chunk.items), self._turns[-1], perf_counter(), out)
        self._flying[chunk] = row
        self.rows.append(row)

    def arrived(self, chunk: Chunk) -> None:
        """Note that a chunk is back; called in any thread."""
        row = self._flying.get(chunk)
        if row is not None:
            row.arrived = perf_counter()

    def came(self, chunk: Chunk, done: int, seconds: float, times: Times | None) -> None:
        """Note that a chunk came back with the results of `done` items."""
        row = self._settled(chunk, "done" if done else "failed")
        if row is not None:
            row.done, row.times = done, times
            row.back = max(chunk.nbytes - row.out, 0) if row.out else 0

    def failed(self, chunk: Chunk, how: str) -> None:
        """Note that a chunk has no results, and why: it is "lost", "late" or "failed"."""
        row = self._settled(chunk, how)
        if row is not None and chunk.progress is not None:
            row.pid = chunk.progress.pid

    def ended(self) -> None:
        """Note that the map ends."""
        if self.end is None:
            self.end = perf_counter()
            caller, used = self._caller
            self.cpu = process_time() - self.cpu
            if get_ident() == caller:
                self.cpu -= thread_time() - used
            when, before = self._asked or (self.end, 0.0)
            if self.end - when > LONG:
                share = max(seconds_in_line() - before, 0.0) / (self.end - when)
                self.in_line = share * (self.end - self.begin)
            self._flying.clear()

    def _settled(self, chunk: Chunk, how: str) -> Row | None:
        row = self._flying.pop(chunk, None)
        if row is not None:
            row.settled, row.end = perf_counter(), how
            row.arrived = row.arrived or row.settled
            if self.kind == "threads" and not self._asked and row.settled - self.begin > LONG:
                self._asked = row.settled, seconds_in_line()
        return row

    # The sequential backend: the caller is its own worker.

    def in_place(
        self, func: Callable[..., Any], items: Iterator[Any]
    ) -> tuple[Callable[..., Any], Iterator[Any]]:
        """Return the function and the items so that their times are recorded."""
        self._doings.clear()
        self._turns = [perf_counter()]
        timed = _InPlace(self)
        return timed.func(func), timed.items(items)

    def add(self, begin: float, row: Row | None, spent: dict[Doing, float]) -> None:
        """Note how long the caller did each thing since `begin`, and the items that it ran."""
        for doing, seconds in spent.items():
            self._doings.append(doing)
            begin += seconds
            self._turns.append(begin)
        if row is not None:
            self.rows.append(row)


class _InPlace:
    """Measures a function and its items, and adds up their times over a :data:`BLINK`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._first = self._done = 0  # items
        self._now = self._begin = recorder.begin
        self._cpu = process_time()
        self._spent: dict[Doing, float] = {"away": 0.0, "reading": 0.0, "computing": 0.0}
        self._longest = 0.0, 0, 0

    def func(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and is measured."""

        def timed(*args: Any) -> Any:
            self._turn("reading")
            try:
                return func(*args)
            finally:
                took = self._turn("computing")
                if took > self._longest[0]:
                    self._longest = took, self._done, 1
                self._done += 1

        return timed

    def items(self, items: Iterator[Any]) -> Iterator[Any]:
        """Yield the items, and measure the time between two of them."""
        try:
            while True:
                if self._turn("away") is not None and self._now - self._begin > BLINK:
                    self._flush()
                try:
                    item = next(items)
                except StopIteration:
                    self._turn("reading")
                    return
                yield item
                del item
        finally:
            self._turn("away")
            self._flush()
            self._recorder.ended()

    def _turn(self, doing: Doing) -> float:
        before, self._now = self._now, perf_counter()
        self._spent[doing] += self._now - before
        return self._now - before

    def _flush(self) -> None:
        row, items, cpu = None, self._done - self._first, process_time()
        if items:
            began = self._begin + self._spent["away"] + self._spent["reading"]
            ran = began + self._spent["computing"]
            used = cpu - self._cpu
            at = began, began, began, ran, ran, used, used
            times = Times("caller", None, None, *at, self._longest)
            row = Row(self._first, items, self._begin, began, 0, 0, items, ran, ran, "done", times)
        self._recorder.add(self._begin, row, self._spent)
        self._first, self._begin, self._cpu = self._done, self._now, cpu
        self._spent = dict.fromkeys(self._spent, 0.0)
        self._longest = 0.0, 0, 0
