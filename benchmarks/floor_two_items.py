"""
The floor under a map of two items: ``python -m benchmarks.floor_two_items processes|threads``.

Bare work through ``joblib.Parallel``: two calls submitted to the backend of one that is held
open, and two outcomes taken from a queue. There is no function to ship, no error to tell, no
chunk to size, and nothing to call off. Beside it what lies below joblib, and ours.
"""

import random
import statistics
import sys
from queue import SimpleQueue
from time import perf_counter

from joblib import Parallel
from joblib.parallel import BatchedCalls

from benchmarks import rivals, work

ITEMS = [1, 2]


def bare(kind):
    """Return a map through the backend of an open ``joblib.Parallel``."""
    parallel = Parallel(2, prefer=kind, batch_size=1, pre_dispatch="all")
    parallel.__enter__()
    backend = parallel._backend
    backend.start_call()
    nested = backend.get_nested_backend()

    def run(func, items):
        queue = SimpleQueue()
        for item in items:
            backend.submit(BatchedCalls([(func, (item,), {})], nested), callback=queue.put)
        return [backend.retrieve_result_callback(queue.get())[0] for _ in items]

    return run


def main(kind):
    maps = {"bare joblib": bare(kind), "ours": rivals.ours(kind)}
    maps["ours from config"] = rivals.ours_from_config(kind)
    below = rivals.loky() if kind == "processes" else rivals.futures(kind)
    maps["loky" if kind == "processes" else "ThreadPoolExecutor"] = below
    seconds = {name: [] for name in maps}
    for turn in range(600):
        for name in random.sample(list(maps), len(maps)):
            begin = perf_counter()
            assert sorted(maps[name](work.square, ITEMS)) == [1, 4]
            if turn >= 100:
                seconds[name].append(perf_counter() - begin)
    floor = statistics.median(seconds["bare joblib"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:20}{1000 * median:8.3f} ms   {median / floor:.2f} of the floor")


if __name__ == "__main__":
    main(sys.argv[1])
