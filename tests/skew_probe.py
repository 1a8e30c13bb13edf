"""
Maps of every kind, on whatever joblib this program finds; ran by test_contract.

It prints what went wrong, by step, and what was warned of, as JSON.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config

from phylozoo_parallel import (
    MultiprocessingExecutor,
    ThreadingExecutor,
    WorkerLostError,
)

two, three, threads = MultiprocessingExecutor(2), MultiprocessingExecutor(3), ThreadingExecutor(2)
SQUARES = [item * item for item in range(40)]


def square(item):
    return item * item


def fails(item):
    return 1 // (5 - item)


def ordered():
    assert list(two.map(square, range(40))) == SQUARES
    assert list(two.starmap(pow, ((it, 2) for it in range(40)), chunksize=3)) == SQUARES


def unordered():
    assert sorted(two.map_unordered(square, iter(range(40)))) == SQUARES


def closure():
    offset = 7
    assert list(two.map(lambda item: item + offset, range(5))) == [7, 8, 9, 10, 11]


def large():
    array = np.arange(1 << 19, dtype=float)

    def add(item):
        array[0] = 1  # writable, and this worker's own
        return item + array

    items = [np.full(1 << 19, float(it)) for it in range(3)]
    assert [out[5] for out in two.map(add, items, chunksize=1)] == [5, 6, 7]
    assert array[0] == 0


def early_close():
    results = two.map(square, iter(range(1000)), chunksize=1)
    assert next(results) == 0
    results.close()
    assert list(two.map(square, range(3))) == [0, 1, 4]


def until_error(results, kind):
    got = []
    with pytest.raises(kind) as caught:
        got.extend(results)  # what came before the error stays
    return got, caught.value


def error():
    for executor in two, threads:
        got, raised = until_error(executor.map(fails, range(10), chunksize=1), ZeroDivisionError)
        assert got == [0, 0, 0, 0, 1]
        assert "item 5" in str(raised.__cause__)
        assert "in fails" in str(raised.__cause__)


def kill():
    flag = Path(tempfile.mkdtemp()) / "flag"

    def dies_once(item):
        if item == 3 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    assert list(two.map(dies_once, range(6), chunksize=1)) == list(range(6))


def fatal():
    def dies(item):
        return os._exit(7) if item == 2 else item

    got, raised = until_error(two.map(dies, range(4), chunksize=1), WorkerLostError)
    assert got == [0, 1]
    assert "item 2" in str(raised)


def timeout():
    def slow(item):
        time.sleep(0.4 if item == 1 else 0)
        return item

    for executor in MultiprocessingExecutor(2, timeout=0.1), ThreadingExecutor(2, timeout=0.1):
        try:
            assert list(executor.map(slow, range(3), chunksize=1)) == [0, 1, 2]
            assert any("without timeout" in str(it.message) for it in caught)
        except TimeoutError:
            pass


def resize():
    for executor in three, two, three, two:
        assert list(executor.map(square, range(6), chunksize=1)) == SQUARES[:6]


def on_threads():
    seen = []
    assert list(threads.map(seen.append, range(20))) == [None] * 20
    assert sorted(seen) == list(range(20))
    with parallel_config(n_jobs=3):
        assert list(ThreadingExecutor().map(square, range(40))) == SQUARES


def nested():
    def inner(item):
        return sum(MultiprocessingExecutor(2).map(square, range(item)))

    assert list(two.map(inner, range(5))) == [0, 0, 1, 5, 14]
    assert list(threads.map(inner, range(5))) == [0, 0, 1, 5, 14]


def shared():
    theirs = [delayed(square)(item) for item in range(40)]
    assert Parallel(2)(theirs) == SQUARES
    ours = two.map(square, iter(range(40)), chunksize=1)
    assert next(ours) == 0
    assert Parallel(2)(theirs) == SQUARES
    assert list(ours) == SQUARES[1:]
    with parallel_config("loky", n_jobs=2):
        assert list(MultiprocessingExecutor().map(square, range(40))) == SQUARES


def at_once():
    got = []

    def run():
        got.append(list(two.map(square, range(40), chunksize=2)))

    others = [threading.Thread(target=run) for _ in range(2)]
    for other in others:
        other.start()
    run()
    for other in others:
        other.join()
    assert got == [SQUARES] * 3


STEPS = (
    ordered,
    unordered,
    closure,
    large,
    early_close,
    error,
    on_threads,
    nested,
    shared,
    at_once,
    resize,
    timeout,
    kill,
    fatal,
)


if __name__ == "__main__":
    wrong = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in STEPS:
            print(step.__name__, file=sys.stderr)
            try:
                step()
            except Exception:
                wrong[step.__name__] = traceback.format_exc(limit=-2)
    told = [f"{it.category.__name__}: {it.message}" for it in caught]
    print(json.dumps({"wrong": wrong, "warnings": told}), flush=True)
