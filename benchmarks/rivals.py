"""
The candidates: whoever can map a function over items.

A candidate is opened by a function without arguments that starts its workers and returns its
``map(func, items)``. What it leaves open is closed by leaving :data:`closing`. Workers that are
forked are started here, before any candidate has threads; ours and joblib's come up with the
untimed check.
"""

import importlib.util
import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

# Imported before joblib. loky and joblib's copy of it register their kind of worker under one
# name, the later import wins, and with loky's workers joblib takes a second to free an array.
from loky import get_reusable_executor

from phylozoo_parallel import ParallelConfig, profile

WORKERS = 2
EXAMPLE = Path(__file__).parents[1] / "examples" / "bootstrap_splits.py"
KINDS = {"processes": "multiprocessing", "threads": "threading"}

closing = ExitStack()


def ours(kind, workers=WORKERS):
    return ParallelConfig(KINDS[kind], workers).get_executor().map


def ours_with_a_bar():
    return ParallelConfig("multiprocessing", WORKERS, progress=True).get_executor().map


def ours_going_on(failing):
    """Go on past failures; of 10 items `failing` raise, with what would have been the result."""
    executor = ParallelConfig("multiprocessing", WORKERS).get_executor()

    def run(func, items):
        call = partial(or_raise, func, failing)
        results = executor.map(call, enumerate(items), return_exceptions=True)
        return [it.args[0] if isinstance(it, ArithmeticError) else it for it in results]

    return run


def or_raise(func, failing, pair):
    """Return the result of a numbered item, or raise it for the first `failing` of each ten."""
    number, item = pair
    result = func(item)
    if number % 10 < failing:
        raise ArithmeticError(result)
    return result


def ours_profiled(kind):
    """Return a map that runs in a new profile each time."""
    map = ours(kind)

    def profiled(func, items):
        with profile():  # it records the map until that ends
            return map(func, items)

    return profiled


def ours_unordered():
    return ParallelConfig("multiprocessing", WORKERS).get_executor().map_unordered


def ours_from_config(kind, workers=WORKERS):
    config = ParallelConfig(KINDS[kind], workers)
    return lambda func, items: config.get_executor().map(func, items)


@cache
def phylozoo_parallel_py():
    """Load PhyloZoo's own module from its file: the import path is ours."""
    from phylozoo.utils import exceptions  # `import phylozoo` would do without PhyloZoo, too

    file = Path(exceptions.__file__).parents[1] / "parallel.py"
    spec = importlib.util.spec_from_file_location("phylozoo.utils._own_parallel", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def phylozoo_threads():
    executor = phylozoo_parallel_py().ThreadingExecutor(WORKERS)
    closing.callback(executor._executor.shutdown)
    return executor.map


def phylozoo_processes():
    executor = phylozoo_parallel_py().MultiprocessingExecutor(WORKERS)
    closing.callback(executor._pool.terminate)
    return executor.map


def pool_imap(chunksize):
    """Use the pool of PhyloZoo's executor with ``imap``, its only method that streams."""
    executor = phylozoo_parallel_py().MultiprocessingExecutor(WORKERS)
    closing.callback(executor._pool.terminate)
    return lambda func, items: executor._pool.imap(func, items, chunksize)


def joblib(kind, workers=WORKERS):
    from joblib import Parallel, delayed

    return lambda func, items: Parallel(n_jobs=workers, prefer=kind)(
        delayed(func)(item) for item in items
    )


def loky():
    closing.callback(lambda: get_reusable_executor(WORKERS).shutdown())
    return lambda func, items: get_reusable_executor(WORKERS).map(func, items)


def futures(kind, workers=WORKERS, chunksize=1):
    pools = {"processes": ProcessPoolExecutor, "threads": ThreadPoolExecutor}
    executor = closing.enter_context(pools[kind](workers))
    executor.submit(int).result()
    return lambda func, items: executor.map(func, items, chunksize=chunksize)


def mpire(chunksize=None):
    from mpire import WorkerPool

    pool = closing.enter_context(WorkerPool(WORKERS, keep_alive=True))
    pool.map(abs, range(WORKERS))
    return lambda func, items: pool.map(
        func, items, chunk_size=chunksize, concatenate_numpy_output=False
    )


def ideal(workers):
    """Sleep as long as workers that cost nothing would need."""

    def run(func, items):
        time.sleep(max(items) * -(-len(items) // workers))
        return items

    return run


def loop():
    """Run the items in this process, one after the other: parallel work has to be faster."""
    return map


def example(backend):
    """Run the README's first command, with that many replicates, from nothing to its table."""
    command = [sys.executable, str(EXAMPLE), "--backend", backend, "--workers", str(WORKERS)]

    def run(func, items):
        options = [[*command, "--replicates", str(replicates)] for replicates in items]
        return [
            subprocess.check_output(line, text=True, stderr=subprocess.DEVNULL, timeout=120)
            for line in options
        ]

    return run


def fresh(program):
    """Run a program that takes ``items`` to a list ``results``, from a fresh interpreter."""
    code = f"import json, sys; items = json.loads(sys.argv[1]); {program}; print(results)"

    def run(func, items):
        command = [sys.executable, "-c", code, json.dumps(items)]
        return json.loads(subprocess.check_output(command, timeout=60))

    return run
