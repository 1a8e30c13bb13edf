"""The rule that sizes chunks: a pure function of what was measured, tried without workers."""

import pytest

from phylozoo_parallel._chunking import (
    BYTES,
    GROWTH,
    LEAST_SECONDS,
    SECONDS,
    SHARES,
    Measured,
    chunk_size,
)

pytestmark = pytest.mark.core


def measured(seconds, nbytes=0.0, items=1_000_000):
    """Have seen chunks of `items`, each item taking `seconds` and `nbytes`."""
    seen = Measured()
    seen.add(items, items * seconds, int(items * nbytes))
    return seen


def test_begins_with_single_items():
    assert chunk_size(Measured(), None, 2) == chunk_size(Measured(), 10**6, 2) == 1


@pytest.mark.parametrize("seconds", [1e-7, 1e-5, 1e-3])
def test_aims_at_the_duration_of_a_chunk(seconds):
    assert chunk_size(measured(seconds), None, 2) == pytest.approx(SECONDS / seconds, rel=0.01)


@pytest.mark.parametrize("seconds", [SECONDS, 0.05, 60.0])
def test_slow_items_travel_alone(seconds):
    """Whether they compute or wait: 256 naps of 50 ms keep 32 threads busy one by one."""
    assert chunk_size(measured(seconds, items=1), 224, 32) == 1


def test_grows_no_faster_than_what_was_seen():
    assert chunk_size(measured(1e-9, items=1), None, 2) == GROWTH
    assert chunk_size(measured(1e-9, items=GROWTH), None, 2) == GROWTH**2


def test_heavy_items_make_small_chunks():
    assert chunk_size(measured(1e-6, nbytes=BYTES / 2), None, 2) == 2
    assert chunk_size(measured(1e-6, nbytes=10 * BYTES), None, 2) == 1


def test_shrinks_towards_the_end():
    """With what remains, down to what is worth a message."""
    seen = measured(1e-3)
    sizes = [chunk_size(seen, remaining, 4) for remaining in (10_000, 100, 50, 20, 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] == 100 // (SHARES * 4)
    assert sizes[-1] == LEAST_SECONDS / 1e-3


def test_follows_items_that_become_slower():
    seen = measured(1e-6)
    before = chunk_size(seen, None, 2)
    for _ in range(8):
        seen.add(10, 10 * 0.01, 0)
    assert before > 1000
    assert chunk_size(seen, None, 2) <= 3
