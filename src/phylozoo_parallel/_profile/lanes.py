"""
A lane for each worker: what it did, and what it waited for, from the map's beginning to its end.

::

    rows, the caller's spells ──► lanes(): for each worker, stretches without a gap ──► shares

The times of a chunk say what its worker did. For the time between two chunks of a worker, the lane
says what delayed the second one: the worker had not started yet; the results of the first, or the
second chunk itself, were being shipped; or the caller was doing something else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from phylozoo_parallel._listener import Doing
from phylozoo_parallel._profile.recorder import IN_PLACE, Recorder, Row, Spell
from phylozoo_parallel._worker.run import Times

COMPUTING = "computing"
STARTING = "starting workers"
UNPICKLING = "importing and unpickling"
SHIPPING = "pickling and shipping"
INPUT = "waiting for input"
READER = "waiting for the reader"
CALLER = "waiting for the caller"
TAIL = "idle at the tail"
AGAIN = "run again after a death"
OTHER = "other"
STATES = (COMPUTING, STARTING, UNPICKLING, SHIPPING, INPUT, READER, CALLER, TAIL, AGAIN, OTHER)

PLAIN = "Parallel"
"""The name of the engine that makes whole calls of ``Parallel``."""

_MEANWHILE: dict[Doing, str] = {
    "opening": STARTING,
    "pickling": SHIPPING,
    "reading": INPUT,
    "sending": CALLER,
    "taking": CALLER,
    "away": READER,
    "waiting": OTHER,
    "computing": COMPUTING,
}
"""What an idle worker waits for, by what the caller is doing."""

_AT_LAST = {**_MEANWHILE, "waiting": SHIPPING, "taking": SHIPPING}
"""The same, once all items have run."""


class Stretch(NamedTuple):
    """A stretch of a worker's time, in one state."""

    state: str
    begin: float
    end: float
    row: Row | None = None


@dataclass
class Lane:
    """A worker; or several one after the other, if a worker died and another took its place."""

    worker: str = ""
    stretches: list[Stretch] = field(default_factory=list)


class Run(NamedTuple):
    """When a chunk was where in its worker, by the caller's clock."""

    worker: str
    begin: float
    known: float
    """When the worker had the function."""
    unpacked: float
    """When it had the items."""
    ran: float
    """When the items had run."""
    end: float
    ready: float | None
    """When the worker process was up."""
    loaded: float | None
    """When it had imported what it was told to import at its start."""
    row: Row


class Clock(NamedTuple):
    """The clock of a worker, compared with the caller's."""

    ahead: float
    """Seconds by which it is ahead."""
    within: float
    """Seconds by which `ahead` may be wrong; 0 if both are the same clock."""


def clocks(rows: Sequence[Row]) -> dict[str, Clock]:
    """
    Compare the workers' clocks with the caller's.

    A chunk begins after it was sent, and ends before it comes back. If all of a worker's own times
    agree with that, its clock is taken for the caller's. Otherwise it is another clock, and is set
    so that they agree: to the middle of the range that the quickest chunks leave.
    """
    least: dict[str, float] = defaultdict(lambda: -float("inf"))
    most: dict[str, float] = defaultdict(lambda: float("inf"))
    for row in rows:
        if row.times is not None and row.arrived is not None:
            worker = row.times.worker
            least[worker] = max(least[worker], row.times.ended - row.arrived)
            most[worker] = min(most[worker], row.times.began - row.sent)
    found = {}
    for worker in least:
        low, high = least[worker], most[worker]
        same = low <= 0 <= high
        found[worker] = Clock(0, 0) if same else Clock((low + high) / 2, abs(high - low) / 2)
    return found


def runs(rows: Sequence[Row], found: dict[str, Clock]) -> list[Run]:
    """Return the chunks that ran, in the order in which they began, by the caller's clock."""
    ran = []
    latest: dict[str, float] = {}
    for row in rows:
        if row.times is not None:
            run = _run(row, row.times, found[row.times.worker].ahead)
            latest[run.worker] = max(latest.get(run.worker, run.end), run.end)
            ran.append(run)
    for row in rows:
        if row.end in ("lost", "late") and row.pid is not None and row.arrived is not None:
            worker = str(row.pid) if row.pid else "lost"
            begin = min(max(row.sent, latest.get(worker, row.sent)), row.arrived)
            ran.append(Run(worker, begin, begin, begin, begin, row.arrived, None, None, row))
    return sorted(ran, key=lambda run: run.begin)


def _run(row: Row, at: Times, ahead: float) -> Run:
    ready = None if at.ready is None else at.ready - ahead
    loaded = None if at.loaded is None else at.loaded - ahead
    known, unpacked = at.known - ahead, at.unpacked - ahead
    ran, ended = at.ran - ahead, at.ended - ahead
    return Run(at.worker, at.began - ahead, known, unpacked, ran, ended, ready, loaded, row)


def lanes(record: Recorder) -> list[Lane]:
    """Return the lanes of a map; each covers the time from its beginning to its end."""
    spells = record.spells()
    end = spells[-1].end if spells else record.begin
    if record.engine == IN_PLACE:
        whole = [Stretch(_MEANWHILE[it.doing], it.begin, it.end) for it in spells]
        return [Lane("caller", whole)]
    found = runs(record.rows, clocks(record.rows))
    painter = _Painter(record, spells, found, end)
    slots = _slots(found, record.workers)
    return [Lane(_names(slot), painter.paint(slot)) for slot in slots]


def shares(all_lanes: Sequence[Lane]) -> dict[str, float]:
    """Return the share of the workers' time that each state took; they add up to 1."""
    spent = dict.fromkeys(STATES, 0.0)
    for lane in all_lanes:
        for stretch in lane.stretches:
            spent[stretch.state] += stretch.end - stretch.begin
    total = sum(spent.values())
    if not total:
        return {**spent, OTHER: 1.0}
    return {state: seconds / total for state, seconds in spent.items()}


def _names(slot: Sequence[Run]) -> str:
    return ", ".join(dict.fromkeys(run.worker for run in slot))


def _slots(found: Sequence[Run], workers: int) -> list[list[Run]]:
    """Assign runs to lanes: one for each worker; when a worker died, the next takes its lane."""
    slots: list[list[Run]] = [[] for _ in range(workers)]
    own: dict[str, list[Run]] = {}
    for run in found:
        slot = own.get(run.worker)
        if slot is None or slot[-1].end > run.begin:
            unused = [it for it in slots if not it]
            free = [it for it in slots if it and it[-1].end <= run.begin]
            free.sort(key=lambda it: (it[-1].row.end != "lost", it[-1].end))
            slot = next(iter((unused + free)[:1]), None)
        if slot is None:
            slots.append(slot := [])
        slot.append(run)
        own[run.worker] = slot
    return slots


class _Painter:
    """Fills the lanes of a map with stretches."""

    def __init__(
        self,
        record: Recorder,
        spells: Sequence[Spell],
        found: Sequence[Run],
        end: float,
    ) -> None:
        begin, rows = record.begin, record.rows
        self._spells = spells
        self._begins = [spell.begin for spell in spells]
        self._begin, self._end = begin, end
        self._last_sent = max((row.sent for row in rows), default=begin)
        self._last_end = max((run.end for run in found), default=begin)
        ready = [run.ready for run in found if run.ready is not None and run.ready > begin]
        self._all_up = max(ready, default=begin)
        # joblib starts the workers within its call, so it is not known when they were up.
        self._first_trip = OTHER if record.engine == PLAIN else SHIPPING
        self._out: list[Stretch] = []
        self._at = begin

    def paint(self, slot: Sequence[Run]) -> list[Stretch]:
        self._out, self._at = [], self._begin
        before: Run | None = None
        met: set[str] = set()
        for run in slot:
            if run.worker not in met and run.ready is not None:
                self._upto(run.ready, STARTING, limit=run.begin)
                self._upto(run.loaded or run.ready, UNPICKLING, limit=run.begin)
            self._wait(before, min(run.row.packing, run.begin), _MEANWHILE)
            self._upto(run.begin, SHIPPING if run.worker in met else self._first_trip)
            met.add(run.worker)
            self._run(run)
            before = run
        if not slot:
            self._upto(self._all_up, STARTING)
        self._wait(before, self._last_sent, _MEANWHILE)
        self._upto(self._last_end, TAIL)
        self._wait(None, self._end, _AT_LAST)
        return self._out

    def _run(self, run: Run) -> None:
        if run.row.end in ("lost", "late"):
            self._upto(run.end, AGAIN if run.row.end == "lost" else COMPUTING, run.row)
            return
        self._upto(run.unpacked, UNPICKLING, run.row)
        self._upto(run.ran, COMPUTING, run.row)
        self._upto(run.end, SHIPPING, run.row)

    def _wait(self, before: Run | None, until: float, meaning: dict[Doing, str]) -> None:
        """Fill the time up to `until`: the run before comes back, then the caller does things."""
        if before is not None and before.row.arrived is not None:
            self._upto(before.row.arrived, SHIPPING, limit=until)
        until = min(until, self._end)
        number = max(bisect_right(self._begins, self._at) - 1, 0)
        for spell in self._spells[number:]:
            if spell.begin >= until:
                break
            self._upto(spell.end, meaning[spell.doing], limit=until)

    def _upto(
        self, end: float, state: str, row: Row | None = None, limit: float = float("inf")
    ) -> None:
        end = min(end, limit, self._end)
        if end > self._at:
            self._out.append(Stretch(state, self._at, end, row))
            self._at = end
