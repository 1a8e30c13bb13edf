"""What the ``floor_*`` scripts share: bare work through joblib, and candidates in turn."""

import random
import statistics
from functools import partial
from operator import itemgetter
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
            done = partial(lambda at, out: queue.put((at, out)), at)
            backend.submit(BatchedCalls(calls, nested), callback=done)
        outs = sorted((queue.get() for _ in chunks), key=itemgetter(0))
        return [result for _, out in outs for result in backend.retrieve_result_callback(out)]

    return run


def compare(maps, func, items, turns, warm=1):
    """Run the maps in turn, and print their medians beside that of the first."""
    seconds = {name: [] for name in maps}
    expected = list(map(func, items))
    for turn in range(warm + turns):
        for name in random.sample(list(maps), len(maps)):
            begin = perf_counter()
            assert list(maps[name](func, items)) == expected
            if turn >= warm:
                seconds[name].append(perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        ratio = median / next(iter(medians.values()))
        print(f"{name:20}{1000 * median:9.3f} ms   {ratio:.2f} of the floor")
