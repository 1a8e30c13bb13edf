"""
The floor under the first map of a program: ``python -m benchmarks.floor_cold_start``.

Bare work through ``joblib.Parallel``: import joblib, open a ``Parallel``, submit two calls to its
backend, wait for their outcomes, and end the program.
"""

import random
import statistics
from time import perf_counter

from benchmarks import rivals

PROGRAMS = {
    "bare joblib": (
        "from queue import SimpleQueue; from joblib import Parallel; "
        "from joblib.parallel import BatchedCalls; queue = SimpleQueue(); "
        "parallel = Parallel(2, batch_size=1); parallel.__enter__(); backend = parallel._backend; "
        "nested = backend.get_nested_backend(); "
        "[backend.submit(BatchedCalls([(abs, (item,), {})], nested), callback=queue.put) "
        "for item in items]; "
        "results = [backend.retrieve_result_callback(queue.get())[0] for _ in items]"
    ),
    "joblib": (
        "from joblib import Parallel, delayed; "
        "results = Parallel(n_jobs=2)(delayed(abs)(item) for item in items)"
    ),
    "ours": (
        "from phylozoo_parallel import MultiprocessingExecutor; "
        "results = list(MultiprocessingExecutor(2).map(abs, items))"
    ),
}


def main():
    seconds = {name: [] for name in PROGRAMS}
    for _ in range(15):
        for name in random.sample(list(PROGRAMS), len(PROGRAMS)):
            begin = perf_counter()
            assert sorted(rivals.fresh(PROGRAMS[name])(None, [1, 2])) == [1, 2]
            seconds[name].append(perf_counter() - begin)
    floor = statistics.median(seconds["bare joblib"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:20}{1000 * median:8.0f} ms   {median / floor:.2f} of the floor")


if __name__ == "__main__":
    main()
