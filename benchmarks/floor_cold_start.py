"""
The floor under the first map of a program: ``python -m benchmarks.floor_cold_start``.

Bare work through ``joblib.Parallel``: import joblib, open a ``Parallel``, submit two calls to its
backend, wait for their outcomes, and end the program.
"""

from benchmarks import floor, rivals

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
    "loky": (
        "from loky import get_reusable_executor; "
        "results = list(get_reusable_executor(2).map(abs, items))"
    ),
    "ours": (
        "from phylozoo_parallel import MultiprocessingExecutor; "
        "results = list(MultiprocessingExecutor(2).map(abs, items))"
    ),
}


if __name__ == "__main__":
    maps = {name: rivals.fresh(program) for name, program in PROGRAMS.items()}
    floor.compare(maps, abs, [1, 2], turns=15)
