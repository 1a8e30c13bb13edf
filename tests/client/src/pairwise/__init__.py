"""Distances between sequences, in parallel if the caller likes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import combinations

from phylozoo.utils.parallel import ParallelConfig, ParallelExecutor

Pair = tuple[str, str]


def distance(first: str, second: str) -> float:
    """Return the share of the sites that differ."""
    if len(first) != len(second):
        raise ValueError(f"lengths differ: {len(first)} and {len(second)}")
    return sum(a != b for a, b in zip(first, second, strict=True)) / len(first)


def gaps(sequence: str, sign: str = "-") -> int:
    return sequence.count(sign)


def distances(
    alignment: Mapping[str, str], *, parallel: ParallelConfig | None = None
) -> dict[Pair, float]:
    """Return the distance of each pair of sequences."""
    if parallel is None:
        parallel = ParallelConfig()
    pairs = list(combinations(alignment, 2))
    sequences = ((alignment[a], alignment[b]) for a, b in pairs)
    return dict(zip(pairs, parallel.get_executor().starmap(distance, sequences), strict=True))


def failures(
    pairs: Iterable[Pair], *, parallel: ParallelConfig | None = None
) -> dict[int, BaseException]:
    """Return what goes wrong, and with which of the pairs."""
    with (parallel or ParallelConfig()).get_executor() as executor:
        outcomes = list(executor.starmap(distance, pairs, return_exceptions=True))
    return {i: found for i, found in enumerate(outcomes) if isinstance(found, BaseException)}


def total_gaps(sequences: Iterable[str], *, parallel: ParallelConfig | None = None) -> int:
    """Count gaps, in whichever order."""
    executor = (parallel or ParallelConfig()).get_executor()
    return sum(executor.map_unordered(partial(gaps, sign="-"), sequences, 10 * executor.n_jobs))


def lengths(sequences: Iterable[str], executor: ParallelExecutor) -> Iterator[int]:
    """Return the length of each sequence, with anybody's executor."""
    return executor.map(len, sequences)
