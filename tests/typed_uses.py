"""What users write and which types it has, for test_types.py; a `type: ignore` is needed there."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from functools import partial

from phylozoo.utils.parallel import (
    MultiprocessingExecutor,
    ParallelBackend,
    ParallelConfig,
    ParallelExecutor,
    PhyloZooTypeError,
    PhyloZooValueError,
    SequentialExecutor,
    ThreadingExecutor,
    WorkerLostError,
    progress,
)
from typing_extensions import assert_type


def half(x: int) -> float:
    return x / 2


def repeat(word: str, times: int) -> str:
    return word * times


class Model:
    def __init__(self, rate: float, *, name: str = "") -> None:
        self.rate = rate

    def scaled(self, length: float) -> float:
        return self.rate * length


executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
words, times = ["a", "b"], (1, 2)

# Each way to map.
assert_type(executor.map(half, range(3)), Iterator[float])
assert_type(executor.map(half, [1], 5), Iterator[float])
assert_type(executor.map_unordered(half, (1,), chunksize=5), Iterator[float])
assert_type(executor.starmap(repeat, [("a", 1)]), Iterator[str])
assert_type(executor.starmap(repeat, zip(words, times)), Iterator[str])
assert_type(executor.starmap(repeat, [["a", 1]], 5), Iterator[str])
assert_type(executor.starmap_unordered(repeat, zip(words, times)), Iterator[str])
assert_type(executor.starmap(half, ((i,) for i in range(3))), Iterator[float])
assert_type(executor.starmap(half, zip(itertools.count())), Iterator[float])

# Each kind of function.
assert_type(list(executor.map(len, ["a"])), "list[int]")
assert_type(list(executor.map(abs, [-1])), "list[int]")
assert_type(list(executor.map(str.upper, words)), "list[str]")
assert_type(list(executor.map(lambda x: x / 2, [1])), "list[float]")
assert_type(list(executor.map(partial(repeat, times=2), words)), "list[str]")
assert_type(list(executor.map(Model, [0.5])), "list[Model]")
assert_type(list(executor.map(Model(0.5).scaled, [1, 2.0])), "list[float]")
assert_type(list(executor.map(print, [1])), "list[None]")
total: float = sum(executor.map_unordered(half, range(3)))
for index, value in enumerate(executor.map(half, itertools.count())):
    assert_type(index + value, float)
powers: list[int] = list(executor.starmap(pow, [(2, 3)]))
products: list[int] = list(executor.starmap(operator.mul, [(2, 3)]))
first = next(executor.map(half, [1]))
assert_type(first, float)

# Failures in their places.
assert_type(executor.map(half, [1], return_exceptions=False), Iterator[float])
outcomes = list(executor.map(half, [1], return_exceptions=True))
assert_type(outcomes, "list[float | BaseException]")
good: list[float] = [o for o in outcomes if not isinstance(o, BaseException)]
assert_type(
    next(executor.starmap_unordered(repeat, [("a", 1)], return_exceptions=True)),
    "str | BaseException",
)


def passed_on(keep_going: bool) -> list[float | BaseException]:
    return list(executor.map(half, [1], return_exceptions=keep_going))


# What an executor is besides.
assert_type(executor.n_jobs, int)
assert_type(executor.size, int)
executor.close()
with executor as same, ThreadingExecutor(2) as threads:
    assert_type(list(same.map(half, [1])), "list[float]")
    assert_type(threads, ThreadingExecutor)
with MultiprocessingExecutor(2, retries=0, timeout=1, chunksize=5, progress="bar") as processes:
    assert_type(processes, MultiprocessingExecutor)
conforming: list[ParallelExecutor] = [
    executor,
    SequentialExecutor(progress=True),
    ThreadingExecutor(),
    MultiprocessingExecutor(2),
]


def with_anybodys(executor: ParallelExecutor) -> list[str]:
    return list(executor.starmap(repeat, [("a", 1)]))


with_anybodys(executor)

# Configurations.
configs = [
    ParallelConfig(),
    ParallelConfig(ParallelBackend.THREADING, 2, 5),
    ParallelConfig(backend="multiprocessing", n_jobs=-1, retries=3, timeout=0.5, progress=True),
]
assert_type(configs[0].backend, ParallelBackend)
assert_type(configs[0].n_jobs, "int | None")
if configs[0].backend == ParallelBackend.MULTIPROCESSING:
    configs[0].chunksize = 5
for member in ParallelBackend:
    assert_type(ParallelConfig(member).get_executor().n_jobs, int)
with progress(), progress("bootstrap"):
    list(executor.map(half, [1]))

try:
    list(executor.map(half, [1]))
except (WorkerLostError, PhyloZooTypeError) as error:
    assert_type(str(error), str)
except PhyloZooValueError as error:
    as_built_in: ValueError = error

# What is wrong is told.
executor.map(half, ["not an integer"])  # type: ignore
executor.map(repeat, ["a"])  # type: ignore
executor.starmap(repeat, [1])  # type: ignore
executor.map(half, [1], chunksize="5")  # type: ignore
executor.submit(half, 1)  # type: ignore
ParallelConfig(jobs=2)  # type: ignore
ParallelConfig(n_jobs=2.5)  # type: ignore
with_anybodys(map)  # type: ignore
