"""
Four maps on any system, beside joblib and the standard library: ``python -m benchmarks.systems``.

For the simulated Mac and for Windows under Wine, where the other benchmarks have no time or do not
run. On both, the ratios tell something and the milliseconds little.
"""

import argparse
import platform
import sys
from functools import partial
from importlib.metadata import version
from multiprocessing import Pool
from statistics import median
from time import perf_counter

import numpy as np
from joblib import Parallel, delayed

from phylozoo_parallel import MultiprocessingExecutor

WORKERS = 2


def square(item):
    return item * item


def entry(captured, item):
    """Return one entry of something large, so that the work is in sending it."""
    return float(captured[item])


def array(entries):
    return partial(entry, np.arange(float(entries)))


def dictionary(entries):
    return partial(entry, {key: float(key) for key in range(entries)})


ROWS = {
    "a captured array of 50 MB, 20 items": (array, 6_250_000, 20, 3),
    "a captured dict of 200,000 entries, 20 items": (dictionary, 200_000, 20, 3),
    "two items": (lambda _: square, 0, 2, 30),
    "200,000 trivial items": (lambda _: square, 0, 200_000, 3),
}
"""By what is mapped: what makes the function, from so many entries; the items, and the runs."""

SMALL = 1000
"""The part of the entries that is enough to try a row."""


def ours(func, items):
    return list(MultiprocessingExecutor(WORKERS).map(func, items))


def joblib(func, items):
    return Parallel(WORKERS, prefer="processes")(delayed(func)(item) for item in items)


def samples(candidates, func, items, runs):
    """Return the seconds of every run by candidate, who take turns; results are compared."""
    expected = list(map(func, items))
    seconds = {name: [] for name in candidates}
    for turn in range(runs + 1):
        for name, run in candidates.items():
            begin = perf_counter()
            results = run(func, items)
            if turn:  # the first is for the workers' imports
                seconds[name].append(perf_counter() - begin)
            if results != expected:
                raise AssertionError(f"{name}: {results!r:.200} is not {expected!r:.200}")
    return seconds


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.systems", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try every row once, at a tiny size")
    quick = parser.parse_args().quick
    print(f"{sys.platform}, Python {platform.python_version()}, joblib {version('joblib')}")
    print(f"{WORKERS} workers; milliseconds: median (least to most)\n")
    print("| | phylozoo-parallel | joblib | multiprocessing.Pool |\n|---|--:|--:|--:|", flush=True)
    with Pool(WORKERS) as pool:
        candidates = {"phylozoo-parallel": ours, "joblib": joblib, "Pool": pool.map}
        for name, (make, entries, items, runs) in ROWS.items():
            func, data = make(entries // SMALL if quick else entries), range(items)
            found = samples(candidates, func, data, 1 if quick else runs)
            cells = [[1000 * second for second in seconds] for seconds in found.values()]
            told = [f"{median(it):,.1f} ({min(it):,.1f} to {max(it):,.1f})" for it in cells]
            print("|", " | ".join([name, *told]), "|", flush=True)


if __name__ == "__main__":
    main()
