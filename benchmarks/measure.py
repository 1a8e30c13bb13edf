"""
Measure one row in this interpreter: ``python -m benchmarks.measure ROW QUICK REPEAT``.

The last line of the output is JSON. Every row has an interpreter of its own, so that no row
inherits the threads, the memory or the worker processes of another.
"""

import json
import random
import sys
from time import perf_counter

from benchmarks import rivals
from benchmarks.rows import ROWS, MemoryRow


def times(row, quick, repeat):
    """Return the seconds of every run by candidate, and which candidates are not installed."""
    maps, missing = {}, {}
    for name, opened in row.candidates.items():
        try:
            maps[name] = opened()
        except ImportError as error:
            missing[name] = str(error)
    check(row, maps)
    data = row.make(row.quick if quick else row.size)
    samples = {name: [] for name in maps}
    chance = random.Random(0)
    for _ in range(repeat or (1 if quick else row.repeat)):
        # In a new order each time, so that no candidate always runs after the same other one.
        for name in chance.sample(list(maps), len(maps)):
            if row.before:
                row.before(maps[name], data)
            start = perf_counter()
            results = row.run(maps[name], data)
            samples[name].append(perf_counter() - start)
            del results
    return {"seconds": samples, "missing": missing}


def check(row, maps):
    """Compare every candidate's results with the built-in map's; this also warms them up."""
    import numpy

    data = row.make(row.quick)
    expected = row.run(map, data)
    for name, theirs in maps.items():
        found = row.run(theirs, data)
        if not numpy.array_equal(found, expected):
            raise AssertionError(f"{name}: {found!r:.200} is not {expected!r:.200}")


def main(name, quick, repeat):
    row, quick = ROWS[name], quick == "True"
    if isinstance(row, MemoryRow):
        return {"megabytes": row.run(row.quick if quick else row.size)}
    with rivals.closing:
        return times(row, quick, int(repeat))


if __name__ == "__main__":
    print(f"\n{json.dumps(main(*sys.argv[1:]))}")
