"""
One sentence of advice on a map, if one thing took much of its time.

Each rule looks for one cause. It returns the share of the workers' time that this cause explains,
and what to do about it. The rule with the largest share gives the advice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

from phylozoo_parallel._profile.figures import Figures
from phylozoo_parallel._profile.lanes import (
    AGAIN,
    CALLER,
    COMPUTING,
    INPUT,
    READER,
    SHIPPING,
    STARTING,
    TAIL,
    UNPICKLING,
)
from phylozoo_parallel._profile.units import count, seconds, size

DOMINATES = 0.25
"""Smallest share of the workers' time that is worth advice."""

SHORT = 0.05
"""Seconds; a map that takes less needs no advice."""

LARGE = 1e6
"""Bytes of a pickled function from which on it may take much time."""

TINY = 1e-3
"""Seconds; an item that takes less is small."""

HEAVY = 3e4
"""Bytes of an item or a result from which on it may take much time."""

Found = tuple[float, str] | None
"""A rule's share of the workers' time and its advice; None if the cause is not there."""

RULES: list[Callable[[Figures], Found]] = []


def advice(one: Figures) -> str | None:
    """Return the advice on a map; None if no cause explains enough."""
    if one.wall < SHORT:
        return None
    causes = [found for rule in RULES if (found := rule(one)) and found[0] >= DOMINATES]
    return max(causes)[1] if causes else None


def _rule(rule: Callable[[Figures], Found]) -> Callable[[Figures], Found]:
    RULES.append(rule)
    return rule


@_rule
def tiny(one: Figures) -> Found:
    """Find items that take less time than it takes to send them."""
    if one.backend == "sequential" or _heavy(one) or one.reached >= 1:
        return None
    each, cost = one.computing / one.items, break_even(one)
    if each > TINY:
        return None
    others = "threads" if one.backend == "threading" else "processes"
    return one.shares[SHIPPING] + one.shares[CALLER] + one.shares[UNPICKLING], (
        f"the function takes {seconds(each)} for an item, and the map {seconds(cost)}: from about "
        f"{seconds(cost)} an item on, {others} pay; do more work in an item, or use the "
        "sequential backend"
    )


def _heavy(one: Figures) -> bool:
    each = max(one.bytes_out, one.bytes_back) / max(one.items, 1)
    return each >= HEAVY or one.function_bytes >= LARGE


def break_even(one: Figures) -> float:
    """Return the time that an item of this map took altogether: longer ones are worth sending."""
    apart = one.shares[STARTING] + one.shares[TAIL]
    return one.wall * (1 - apart) / max(one.items, 1)


@_rule
def captured(one: Figures) -> Found:
    """Find a function that captures much memory, which is shipped with it."""
    if one.function_bytes < LARGE:
        return None
    pickling = sum(it.end - it.begin for it in one.record.spells() if it.doing == "pickling")
    unpickling = [run.known - run.begin for run in one.runs]
    share = (pickling * len(one.lanes) + sum(unpickling)) / one.time
    return share, (
        f"the function captures {size(one.function_bytes)}, which took {seconds(pickling)} to "
        f"pickle and {seconds(max(unpickling, default=0.0))} to unpickle in each worker: hand "
        "over only what it needs, or have it read that from a file itself"
    )


@_rule
def large_results(one: Figures) -> Found:
    """Find results that take long to come back."""
    each = one.bytes_back / max(one.items, 1)
    if each < HEAVY or one.bytes_back < one.bytes_out:
        return None
    return one.shares[SHIPPING] + one.shares[CALLER], (
        f"results of {size(each)} each take their time to come back: return less, or save them "
        "in the worker and return the file's name"
    )


@_rule
def large_items(one: Figures) -> Found:
    """Find items that take long to send."""
    each = one.bytes_out / max(one.items, 1)
    if each < HEAVY or one.bytes_out < one.bytes_back:
        return None
    return one.shares[SHIPPING] + one.shares[CALLER] + one.shares[UNPICKLING], (
        f"items of {size(each)} each take their time to send: hand over file names, and read the "
        "files in the function"
    )


@_rule
def input_bound(one: Figures) -> Found:
    """Find an input that is read too slowly for the workers."""
    if one.backend == "sequential" and one.shares[INPUT] < 0.5:
        return None
    return one.shares[INPUT], (
        "the workers waited for the input: have the iterable do less, and move what it does for "
        "an item into the function"
    )


@_rule
def reader_bound(one: Figures) -> Found:
    """Find a loop over the results that takes longer than the work."""
    if one.backend == "sequential":
        return None
    return one.shares[READER], (
        "the workers waited for the loop over the results: move what it does with a result into "
        "the function"
    )


@_rule
def caller_bound(one: Figures) -> Found:
    """Find a caller that is too busy with many small chunks, because of the user's chunksize."""
    if one.backend == "sequential" or one.shares[CALLER] < 0.1 or _heavy(one):
        return None
    return one.shares[CALLER] + one.shares[SHIPPING] - 0.01, (
        f"the caller cannot send and take in chunks fast enough for "
        f"{count(one.workers, 'worker')}: leave chunksize to the library, or take fewer workers"
    )


@_rule
def starting(one: Figures) -> Found:
    """Find workers that took long to start, and not because others had died."""
    if one.losses:
        return None
    times = [run.ready - one.record.begin for run in one.runs if run.ready is not None]
    took = max(times, default=0.0)
    took = took if took > 0 else one.shares[STARTING] * one.wall
    start = f"starting the workers took {seconds(took)}"
    if one.computing < took:
        return one.shares[STARTING] + one.shares[UNPICKLING], (
            f"{start}, and the work itself takes less, {seconds(one.computing)} on one core: use "
            "the sequential backend for so little, or make one map of many"
        )
    return one.shares[STARTING], f"{start}; they stay up, and the next maps do without"


@_rule
def warming_up(one: Figures) -> Found:
    """Find a function that compiles or loads something when a worker calls it first."""
    firsts, others = {}, []
    for run in one.runs:
        if run.row.times is None:
            continue
        longest, index, many = run.row.times.longest
        if run.worker not in firsts:
            firsts[run.worker] = longest if index == run.row.first and many == 1 else 0.0
        else:
            others.append((run.ran - run.unpacked) / max(run.row.done, 1))
    usual = median(others) if others else 0.0
    slow = [took for took in firsts.values() if took > 10 * usual and took > 0.1]
    if not others or len(slow) < max(len(firsts), 2):
        return None
    return sum(slow) / one.time, (
        f"the first item took {seconds(max(slow))} in each worker, and others {seconds(usual)}: "
        "the function compiles or loads something there; numba keeps what it compiled with "
        "cache=True, and the next maps find it loaded"
    )


@_rule
def importing(one: Figures) -> Found:
    """Find a function whose module takes long to load."""
    if one.function_bytes >= LARGE:
        return None
    took = [run.known - run.begin for run in one.runs]
    begin = one.record.begin
    started = {run.worker: (run.ready or begin, run.loaded or begin) for run in one.runs}
    took += [max(loaded - max(ready, begin), 0.0) for ready, loaded in started.values()]
    share = sum(took) / one.time
    return share, (
        f"importing what the function needs took {seconds(max(took, default=0.0))} in each worker; "
        "they stay up, and the next maps do without"
    )


@_rule
def uneven(one: Figures) -> Found:
    """Find workers that had nothing left to do while others still ran."""
    took, index, many = one.longest
    idle = one.shares[TAIL]
    if one.items < one.workers:
        many_workers = count(one.workers, "worker")
        return idle, f"{count(one.items, 'item')} cannot keep {many_workers} busy: cut them smaller"
    if took >= 0.4 * one.wall and many == 1:
        return idle, (
            f"item {index} took {seconds(took)} of the {seconds(one.wall)}, and no other worker "
            "can help with it: cut it in two, or let long items come first"
        )
    return idle, (
        "workers were idle while others ran the last items: let long items come first, and leave "
        "chunksize to the library"
    )


@_rule
def one_lock(one: Figures) -> Found:
    """Find threads that wait for each other because of the global interpreter lock."""
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    if free or one.backend != "threading" or one.reached < 1.5:
        return None
    times = [run.row.times for run in one.runs if run.row.times]
    cores = sum(it.cpu for it in times) / one.wall
    wanted = cores + one.record.in_line / one.wall  # if other programs had no core
    if cores > 1.3 or wanted < 0.6:  # they run in parallel, or wait for something else
        return None
    return one.shares[COMPUTING] * (1 - wanted / one.reached), (
        f"all threads were busy, and together they used {cores:.1f} cores: they take turns with "
        "the interpreter's lock (GIL); use processes"
    )


@_rule
def many_threads(one: Figures) -> Found:
    """Find workers whose own threads are more than there are cores."""
    import joblib

    times = [run.row.times for run in one.runs if run.row.times]
    used, all_used = sum(it.cpu for it in times), sum(it.cpu_all for it in times)
    if one.backend == "threading":
        all_used = one.record.cpu
    cores = joblib.cpu_count()
    threads = all_used / used if used else 0.0
    busy = one.backend != "sequential" and not one.running and all_used > 0.1 * one.computing
    if not busy or threads < 1.5 or one.workers * threads < 1.2 * cores:
        return None
    return one.shares[COMPUTING], (
        f"each worker keeps about {threads:.0f} threads busy (BLAS or OpenMP), too many for "
        f"{count(cores, 'core')}: allow one a worker, with threadpoolctl or inner_max_num_threads"
    )


@_rule
def died(one: Figures) -> Found:
    """Find workers that died."""
    if not one.losses:
        return None
    return one.shares[AGAIN] + one.shares[STARTING], (
        f"{count(one.losses, 'chunk')} ran again because worker processes died: the log says of "
        "what; often the memory is short, and fewer workers help"
    )
