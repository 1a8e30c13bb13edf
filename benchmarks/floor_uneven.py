"""
The floor under uneven work: ``python -m benchmarks.floor_uneven falling|rising|shuffled``.

The bound that no schedule of two workers beats is half of the work, where they share it evenly.
Beside it bare work through ``joblib.Parallel``: every item by itself, submitted to the backend of
one that is held open, four in flight.
"""

import random
import statistics
import sys
from queue import SimpleQueue
from time import perf_counter

from joblib import Parallel
from joblib.parallel import BatchedCalls

from benchmarks import rivals, work
from benchmarks.rows import ROWS


def bare(func, items, in_flight=4):
    """Map through the backend of an open ``joblib.Parallel``, item by item."""
    with Parallel(2, batch_size=1, pre_dispatch="all") as parallel:
        backend, queue, left = parallel._backend, SimpleQueue(), iter(items)
        nested = backend.get_nested_backend()
        results = []
        for turn in range(-in_flight, len(items)):
            if turn >= 0:
                results.append(backend.retrieve_result_callback(queue.get())[0])
            for item in left:
                backend.submit(BatchedCalls([(func, (item,), {})], nested), callback=queue.put)
                break
        return results


def main(order):
    items = ROWS[f"lognormal-{order}"].make(400)
    maps = {"bare joblib": bare, "ours": rivals.ours("processes")}
    maps["joblib"] = rivals.joblib("processes")
    seconds = {name: [] for name in maps}
    for turn in range(12):
        for name in random.sample(list(maps), len(maps)):
            begin = perf_counter()
            assert sorted(maps[name](work.spin, items)) == sorted(items)
            if turn:
                seconds[name].append(perf_counter() - begin)
    floor = statistics.median(seconds["bare joblib"])
    print(f"{'half of the work':20}{500 * sum(items):8.0f} ms")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:20}{1000 * median:8.0f} ms   {median / floor:.2f} of the floor")


if __name__ == "__main__":
    main(sys.argv[1])
