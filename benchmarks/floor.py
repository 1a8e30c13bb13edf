"""What the ``floor_*`` scripts share: bare work through joblib, and candidates in turn."""

import random
import statistics
from queue import SimpleQueue
from time import perf_counter

from joblib import Parallel
from joblib.parallel import BatchedCalls


def bare(kind="processes", size=1):
    """
    Return a map in chunks of that size through the backend of an open ``joblib.Parallel``.

    There is no function to ship, no error to tell, no chunk to size, and nothing to call off.
    """
    parallel = Parallel(2, prefer=kind, batch_size=1, pre_dispatch="all")
    parallel.__enter__()
    backend = parallel._backend
    backend.start_call()
    nested = backend.get_nested_backend()

    def run(func, items):
        queue, chunks = SimpleQueue(), range(0, len(items), size)
        for at in chunks:
            calls = [(func, (item,), {}) for item in items[at : at + size]]
            backend.submit(BatchedCalls(calls, nested), callback=queue.put)
        outs = [queue.get() for _ in chunks]
        return [result for out in outs for result in backend.retrieve_result_callback(out)]

    return run


def compare(maps, func, items, turns, warm=1):
    """Run the maps in turn, and print their medians beside that of the first."""
    seconds = {name: [] for name in maps}
    expected = sorted(map(func, items))
    for turn in range(warm + turns):
        for name in random.sample(list(maps), len(maps)):
            begin = perf_counter()
            assert sorted(maps[name](func, items)) == expected
            if turn >= warm:
                seconds[name].append(perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        ratio = median / next(iter(medians.values()))
        print(f"{name:20}{1000 * median:9.3f} ms   {ratio:.2f} of the floor")
