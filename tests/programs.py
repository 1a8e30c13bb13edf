"""
Random programs of maps, and what the sequential model says of them.

::

    random ──make──► Program (threads of groups of maps) ──run──► Report (counts, what was wrong)

The maps of a group take turns, the groups of a thread follow each other, and the threads run
at once. Items may fail, end their worker, or take their time, or longer than they may; readers may
stop early; workers may be killed from outside. Whatever happens, a map's results have to be those
that the built-in ``map`` would give, up to the item at which it has to end; with
``return_exceptions=True`` each item has its own result or its own exception.
"""

import os
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import psutil

from phylozoo_parallel import ParallelConfig, WorkerLostError
from phylozoo_parallel._loky.start import current

LIMIT = 60
"""Seconds that a program may take."""

TIMEOUT = 3.0
"""Seconds that an item may take where there is a limit."""

HANGING = 4 * TIMEOUT
"""Seconds that an item takes which takes too long; a map that was closed does not end it."""

NEVER_READ = "results were never read"


class Odd(Exception):
    """The exception that a failing item raises."""


@dataclass(frozen=True)
class Plan:
    """One map of a program."""

    backend: str
    n_jobs: int
    method: str
    size: int
    chunksize: int | None
    cost: str
    sized: bool
    """Whether the input has a length."""
    retries: int
    failing: tuple[int, ...] = ()
    """Items that raise :class:`Odd`."""
    dying: tuple[int, ...] = ()
    """Items that end their worker in their first run."""
    deadly: tuple[int, ...] = ()
    """Items that end their worker in every run."""
    hanging: tuple[int, ...] = ()
    """Items that take too long in every run."""
    going_on: bool = False
    """Whether exceptions stand in the places of results."""
    ends: int | None = None
    """Item in whose place the input raises."""
    read: int | None = None
    """Results after which the reader stops; None for all."""
    drop: bool = False
    """Whether a reader that stops drops the iterator instead of closing it."""

    @property
    def stop(self) -> tuple[int, type[BaseException] | None]:
        """Return where the map has to end, and with what."""
        bad: list = [] if self.ends is None else [(self.ends, Odd)]
        bad += [(index, WorkerLostError) for index in self.deadly]
        if not self.retries:
            bad += [(index, WorkerLostError) for index in self.dying]
        bad += [(index, TimeoutError) for index in self.hanging]
        bad += [(index, Odd) for index in self.failing]
        if self.going_on:
            bad = [(self.ends, Odd)] if self.ends is not None else []
        # Of two with the same index the first comes first in time, too.
        return min(bad, key=lambda one: one[0], default=(self.size, None))

    def fails(self, item: int) -> type[BaseException] | None:
        """Return the exception with which an item fails, however often it runs."""
        if item in self.deadly or (item in self.dying and not self.retries):
            return WorkerLostError
        if item in self.hanging:
            return TimeoutError
        return Odd if item in self.failing else None


@dataclass(frozen=True)
class Program:
    """Threads of groups of maps, and when workers are killed (seconds since the one before)."""

    threads: tuple[tuple[tuple[Plan, ...], ...], ...]
    kills: tuple[float, ...] = ()

    @property
    def deaths(self) -> bool:
        """Whether workers may die."""
        plans = [plan for groups in self.threads for group in groups for plan in group]
        return bool(self.kills) or any(
            plan.dying or plan.deadly or (plan.hanging and plan.backend == "multiprocessing")
            for plan in plans
        )


@dataclass
class Report:
    """The counts of one program or of many, and what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: tuple[float, Plan | None] = (0.0, None)

    def add(self, other: "Report") -> None:
        self.counts += other.counts
        self.wrong += other.wrong
        self.slowest = max(self.slowest, other.slowest, key=lambda one: one[0])


def some(random: Random, size: int, most: int) -> tuple[int, ...]:
    """Choose up to `most` of `size` items."""
    return tuple(sorted({random.randrange(size) for _ in range(random.randint(1, most))}))


def make(random: Random, deadly: bool, largest: int = 3000, hanging: bool = False) -> Program:
    """
    Make a program.

    Parameters
    ----------
    random
        The source of all choices.
    deadly
        Whether workers may die in it.
    largest
        Most items of a map.
    hanging
        Whether items may take too long in it.
    """
    kills = tuple(random.uniform(0, 1.5) for _ in range(random.randint(0, 3) * deadly))
    threads = []
    for _ in range(random.choice([1, 1, 2, 4])):
        groups = []
        for _ in range(random.randint(1, 2)):
            group = [
                make_plan(random, deadly, bool(kills), largest)
                for _ in range(random.choice([1, 1, 2, 3]))
            ]
            if hanging and group[0].size and random.random() < 0.5:
                # Alone: while another map is read, nobody looks how long this one takes.
                late = some(random, group[0].size, 2)
                group = [replace(group[0], hanging=late)]
            groups.append(tuple(group))
        threads.append(tuple(groups))
    return Program(tuple(threads), kills)


def on(program: Program, workers: int) -> Program:
    """Return a program with this number of workers for each of its maps."""
    threads = [
        tuple(tuple(replace(plan, n_jobs=workers) for plan in group) for group in groups)
        for groups in program.threads
    ]
    return replace(program, threads=tuple(threads))


def make_plan(random: Random, deadly: bool, kills: bool, largest: int) -> Plan:
    """Make a map; `kills` tells that workers die from outside, too."""
    backend = random.choice(["threading", "multiprocessing", "multiprocessing"])
    cost = random.choice(["none", "none", "even", "uneven", "large"])
    most = {"none": largest, "even": 300, "uneven": 200, "large": 60}[cost]
    size = random.choice([0, 1, 2, 3, random.randint(0, 50), random.randint(0, most)])
    size = min(size, most)
    plan = {
        "backend": backend,
        "n_jobs": random.randint(1, 4),
        "method": random.choice(["map", "starmap", "map_unordered", "starmap_unordered"]),
        "size": size,
        "chunksize": random.choice([None, None, None, 1, 7, 100]),
        "cost": cost,
        "sized": random.random() < 0.5,
        "drop": random.random() < 0.5,
        "going_on": random.random() < 0.5,
        # A kill from outside strikes whom it strikes, and may do so again.
        "retries": 1000 if kills else 1,
    }
    if plan["chunksize"] == 1:
        plan["size"] = size = min(size, 300)
    if random.random() < 0.3:
        plan["read"] = random.choice([0, 0, 1, random.randint(0, size)])
    if size and random.random() < 0.2:
        plan["failing"] = some(random, size, size if plan["going_on"] else 3)
    if random.random() < 0.05:
        plan["ends"] = random.randint(0, size)
    if deadly and size and backend == "multiprocessing":
        what = random.choice(["nothing", "one", "some", "none may", "deadly"])
        if what == "one":  # one alone: a neighbour's death must not count against it
            plan["dying"] = (random.randrange(size),)
        elif what == "some":
            # Two quick items that run between two notes share the blame.
            plan |= {"dying": some(random, size, 3), "retries": plan["retries"] + 3}
        elif what == "none may":
            plan |= {"dying": (random.randrange(size),), "retries": 0}
        elif what == "deadly" and not kills:
            plan["deadly"] = some(random, size, 2 if plan["going_on"] else 1)
    return Plan(**plan)


def result(plan: Plan, item: int):
    """Return the result of an item."""
    return (item, bytes([item % 251]) * 150_000) if plan.cost == "large" else (item, -item)


def runner(plan: Plan, scratch: Path):
    """Return the function of a plan: a closure, so that each map has a new one."""
    failing, hanging = frozenset(plan.failing), frozenset(plan.hanging)
    dying, deadly = frozenset(plan.dying), frozenset(plan.deadly)

    def run(item, *_):
        if item in deadly or (item in dying and first(scratch / str(item))):
            if item % 2:
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL)
        if item in hanging:
            time.sleep(HANGING)
        if item in failing:
            raise Odd(item)
        if plan.cost == "even":
            time.sleep(0.001)
        elif plan.cost == "uneven" and item % 29 == 0:
            time.sleep(0.02)
        return result(plan, item)

    return run


def item_of(came) -> int:
    """Return the item that a result or an exception belongs to."""
    if isinstance(came, Odd):
        return came.args[0]
    if isinstance(came, Exception):
        return int(re.match(r"item (\d+)", str(came))[1])
    return came[0]


def first(mark: Path) -> bool:
    """Return whether this is the first call, in any process."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def given(plan: Plan):
    """Return the input of a plan."""
    items = range(plan.size)
    if plan.method.startswith("starmap"):
        items = [(item, "more") for item in items]
    if plan.ends is None and plan.sized:
        return items

    def generate():
        for index, item in enumerate(items):
            if index == plan.ends:
                raise Odd("input")
            yield item
        if plan.ends == plan.size:
            raise Odd("input")

    return generate()


class Run:
    """A map that is being read."""

    def __init__(self, plan: Plan, report: Report, deaths: bool, scratch: Path) -> None:
        self.plan, self.report, self.deaths = plan, report, deaths
        self.scratch = Path(mkdtemp(dir=scratch))
        self.begin = time.monotonic()
        self.results: list = []
        self.error: BaseException | None = None
        config = ParallelConfig(
            plan.backend,
            plan.n_jobs,
            retries=plan.retries,
            timeout=TIMEOUT if plan.hanging else None,
        )
        method = getattr(config.get_executor(), plan.method)
        self.iterator = method(
            runner(plan, self.scratch),
            given(plan),
            plan.chunksize,
            return_exceptions=plan.going_on,
        )

    def step(self) -> bool:
        """Read one result; return whether the map goes on."""
        if self.plan.read is not None and len(self.results) >= self.plan.read:
            if not self.plan.drop:
                self.iterator.close()
                left = list(self.iterator)
                self.expect(not left, f"gave {len(left)} results after it was closed")
            self.report.counts["early closes"] += 1
            return self.end()
        try:
            self.results.append(next(self.iterator))
        except StopIteration:
            return self.end()
        except Exception as error:
            self.error = error
            return self.end()
        return True

    def end(self) -> bool:
        """Compare the results with the model."""
        self.iterator = None
        plan, counts, error = self.plan, self.report.counts, self.error
        stop, expected = plan.stop
        whole = plan.read is None or plan.read > len(self.results)
        right = self.as_each_item_must_be() if plan.going_on else self.as_the_built_in_map()
        # Without retries any death in the pool may end the map, earlier than its own would.
        lost = self.lost_early() and not plan.going_on
        if whole and not lost:
            right &= type(error) is expected if expected else error is None
        else:
            right &= error is None or lost or (not self.ordered and type(error) is expected)
        if isinstance(error, Odd):
            right &= error.args in ((stop,), ("input",))
        shown = str([it if isinstance(it, Exception) else it[0] for it in self.results])
        told = f"gave items {shown[:300]} and {error!r}, where {stop}, {expected} was due"
        self.expect(right, told)
        counts["maps"] += 1
        counts["maps that go on"] += plan.going_on
        counts["results"] += len(self.results)
        for result in self.results:
            if isinstance(result, Exception):
                counts[f"{type(result).__name__} among results"] += 1
        counts["deaths of items"] += len(list(self.scratch.iterdir()))
        counts["errors expected"] += bool(whole and expected)
        counts["errors met"] += error is not None
        counts["lost maps"] += isinstance(error, WorkerLostError)
        seconds = time.monotonic() - self.begin
        self.report.slowest = max(self.report.slowest, (seconds, plan), key=lambda one: one[0])
        return False

    @property
    def ordered(self) -> bool:
        return not self.plan.method.endswith("_unordered")

    def may_be_lost(self) -> bool:
        """Return whether an item may be lost with a worker that another item ended."""
        return self.deaths and not self.plan.retries

    def lost_early(self) -> bool:
        """Return whether the map ended where results were lost with a worker, and says so."""
        if isinstance(self.error, TimeoutError) and not self.plan.retries:
            return str(self.error).endswith("are lost with that worker")
        return isinstance(self.error, WorkerLostError) and self.may_be_lost()

    def as_the_built_in_map(self) -> bool:
        """Return whether the results are right, up to where the map has to end."""
        plan = self.plan
        stop, expected = plan.stop
        items = [result[0] for result in self.results]
        if self.ordered:
            right = items == list(range(len(items))) and len(items) <= stop
        else:
            right = len(set(items)) == len(items)
            right &= not set(items) & {*plan.failing, *plan.deadly, *plan.hanging, plan.ends}
            right &= all(0 <= item < plan.size for item in items)
        lost = self.lost_early()
        if (plan.read is None or plan.read > len(items)) and not lost:
            right &= set(range(stop)) <= set(items)
            if plan.ends is not None and expected:
                right &= all(item < plan.ends for item in items)
        return right and all(
            one == result(plan, item) for one, item in zip(self.results, items, strict=True)
        )

    def as_each_item_must_be(self) -> bool:
        """Return whether each item has its own result, or its own exception in its place."""
        plan, results = self.plan, self.results
        stop, _ = plan.stop
        items = list(range(len(results))) if self.ordered else list(map(item_of, results))
        right = len(set(items)) == len(items) and all(0 <= item < stop for item in items)
        whole = plan.read is None or plan.read > len(results)
        right &= len(results) == stop if whole else len(results) <= stop
        return right and all(map(self.is_right, items, results))

    def is_right(self, item: int, came) -> bool:
        """Return whether an item may have this result."""
        if not isinstance(came, Exception):
            return self.plan.fails(item) is None and came == result(self.plan, item)
        if item_of(came) != item:
            return False
        lost = type(came) is WorkerLostError and self.may_be_lost()
        return lost or type(came) is self.plan.fails(item)

    def expect(self, right: bool, told: str) -> None:
        if not right:
            self.report.wrong.append(f"{self.plan} {told}")


def run(program: Program, seed: int = 0) -> Report:
    """Run a program and return the report; `seed` decides the order of its threads."""
    scratch = Path(mkdtemp(prefix="program-"))
    reports = [Report() for _ in program.threads]
    total, over = Report(), threading.Event()
    end = time.monotonic() + LIMIT

    def use(groups, report, random):
        try:
            for group in groups:
                runs = [Run(plan, report, program.deaths, scratch) for plan in group]
                while runs:
                    one = random.choice(runs)
                    for _ in range(random.choice([1, 10, 1000])):
                        if not one.step():
                            runs.remove(one)
                            break
        except BaseException as error:
            report.wrong.append(f"{groups} raised {error!r}")

    threads = [
        threading.Thread(target=use, args=(groups, report, Random(seed + at)), daemon=True)
        for at, (groups, report) in enumerate(zip(program.threads, reports, strict=True))
    ]
    killer = threading.Thread(target=kill, args=(program.kills, Random(seed), over, total))
    hook = sys.unraisablehook
    sys.unraisablehook = lambda seen: total.wrong.append(f"unraisable: {seen.exc_value!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", NEVER_READ)
        for thread in (killer, *threads):
            thread.start()
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
            if thread.is_alive():
                total.wrong.append(f"{program} takes more than {LIMIT} seconds")
                total.counts["programs that hang"] += 1
        over.set()
        killer.join()
    sys.unraisablehook = hook
    for report in reports:
        total.add(report)
    total.counts["programs"] += 1
    shutil.rmtree(scratch, ignore_errors=True)
    return total


def kill(pauses, random: Random, over: threading.Event, report: Report) -> None:
    """Kill a worker of the pool after each pause, from outside."""
    for pause in pauses:
        if over.wait(pause):
            return
        executor = current()
        ours = {child.pid for child in psutil.Process().children()}
        pids = sorted(ours & {*(executor._processes if executor else ())})
        if pids:
            os.kill(random.choice(pids), signal.SIGKILL)
            report.counts["kills from outside"] += 1
