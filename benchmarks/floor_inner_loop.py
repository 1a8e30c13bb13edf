"""
The floor under short maps in a row: ``python -m benchmarks.floor_inner_loop``.

Maps of 32 items of 1 ms as bare work through ``joblib.Parallel``: eight chunks of four items each,
the best for items that all take the same, submitted at once to the backend of one that is held
open. There is no function to ship, no error to tell, no chunk to size, and nothing to call off.
Beside it PhyloZoo's own executor, whose pool sends the same eight chunks, and ours.
"""

import random
import statistics
from queue import SimpleQueue
from time import perf_counter

from joblib import Parallel
from joblib.parallel import BatchedCalls

from benchmarks import rivals, work

ITEMS = [0.001] * 32


def bare():
    """Return a map through the backend of an open ``joblib.Parallel``."""
    parallel = Parallel(2, batch_size=1, pre_dispatch="all")
    parallel.__enter__()
    backend = parallel._backend
    backend.start_call()
    nested = backend.get_nested_backend()

    def run(func, items):
        queue = SimpleQueue()
        for at in range(0, len(items), 4):
            calls = [(func, (item,), {}) for item in items[at : at + 4]]
            backend.submit(BatchedCalls(calls, nested), callback=queue.put)
        outs = [queue.get() for _ in range(0, len(items), 4)]
        return [result for out in outs for result in backend.retrieve_result_callback(out)]

    return run


def main():
    maps = {"bare joblib": bare(), "ours": rivals.ours("processes")}
    maps["PhyloZoo"] = rivals.phylozoo_processes()
    seconds = {name: [] for name in maps}
    for turn in range(220):
        for name in random.sample(list(maps), len(maps)):
            begin = perf_counter()
            assert list(maps[name](work.spin, ITEMS)) == ITEMS
            if turn >= 20:
                seconds[name].append(perf_counter() - begin)
    floor = statistics.median(seconds["bare joblib"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:20}{1000 * median:8.2f} ms   {median / floor:.2f} of the floor")


if __name__ == "__main__":
    with rivals.closing:
        main()
