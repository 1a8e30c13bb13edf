from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from typing import Any, TypeVar

import pytest
from pairwise import distances, failures, lengths, total_gaps
from phylozoo.utils.parallel import ParallelBackend, ParallelConfig

T = TypeVar("T")
R = TypeVar("R")

ALIGNMENT = {"A": "ACGT-", "B": "ACGA-", "C": "TCGA-"}


class OfMyOwn:
    """An executor with the two methods of the protocol, and nothing else."""

    def map(
        self, func: Callable[[T], R], iterable: Iterable[T], chunksize: int | None = None
    ) -> Iterator[R]:
        return map(func, iterable)

    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> Iterator[R]:
        return starmap(func, iterable)


@pytest.fixture(params=list(ParallelBackend))
def parallel(request: pytest.FixtureRequest) -> ParallelConfig:
    backend: ParallelBackend = request.param
    return ParallelConfig(backend, n_jobs=2)


def test_distances(parallel: ParallelConfig) -> None:
    assert distances(ALIGNMENT) == {("A", "B"): 0.2, ("A", "C"): 0.4, ("B", "C"): 0.2}
    assert distances(ALIGNMENT, parallel=parallel) == distances(ALIGNMENT)


def test_failures(parallel: ParallelConfig) -> None:
    (failure,) = failures([("A", "C"), ("A", "CG")], parallel=parallel).items()
    assert failure[0] == 1
    assert isinstance(failure[1], ValueError)


def test_gaps(parallel: ParallelConfig) -> None:
    assert total_gaps(ALIGNMENT.values(), parallel=parallel) == 3


def test_an_executor(parallel: ParallelConfig) -> None:
    for executor in parallel.get_executor(), OfMyOwn():
        assert list(lengths(ALIGNMENT.values(), executor)) == [5, 5, 5]
