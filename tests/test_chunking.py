"""The rule that sizes chunks: a pure function of what was measured, tried without workers."""

from functools import partial

import pytest

from phylozoo_parallel._map.chunking import (
    BYTES,
    GROWTH,
    LEAST_SECONDS,
    SECONDS,
    SHARES,
    TRUSTED,
    WEIGHED,
    Measured,
    chunk_size,
    keep,
    recall,
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


def test_items_that_become_heavier_make_smaller_chunks():
    seen = measured(1e-6, nbytes=10)
    seen.weight = BYTES / 2
    assert chunk_size(seen, None, 2) == 2


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


def test_waits_no_longer_for_the_input_than_for_the_worker():
    seen = measured(1e-6)
    seen.reading = SECONDS / 3
    assert chunk_size(seen, None, 2) == 3


class TestLatest:
    """What a map begins with when there was one of its function before."""

    def test_is_kept_for_the_function(self):
        def func(item):
            return item

        key, before = recall(func, True)
        assert before == Measured()
        keep(key, measured(1e-3, 10.0))
        for same in func, partial(func, 1), partial(partial(func)):
            assert recall(same, True)[1].seconds == pytest.approx(1e-3)
        assert recall(func, False)[1] == recall(lambda item: item, True)[1] == Measured()

    def test_takes_any_callable(self):
        class Liar:
            __hash__ = None

            def __getattr__(self, name):
                raise KeyError(name)

            def __call__(self, item):
                return item

        for func in Liar(), abs, str, [].append, Liar().__call__:
            assert isinstance(hash(recall(func, True)[0]), int)

    def test_is_not_that_of_a_map_that_measured_nothing(self):
        key, _ = recall(abs, True)
        keep(key, measured(1e-3))
        keep(key, Measured())
        assert recall(abs, True)[1].seconds == pytest.approx(1e-3)

    def test_leaves_something_for_every_worker(self):
        """Whatever an earlier map says, nothing is measured here."""
        latest = Measured(1e-7, 1.0, largest=10**6)
        assert chunk_size(latest, 2, 2) == 1
        assert chunk_size(latest, 32, 2) == 32 // (SHARES * 2)
        assert chunk_size(latest, 10**6, 2) == TRUSTED
        latest.weight = BYTES / 4
        assert chunk_size(latest, 10**6, 2) == 4
        latest.weight = 1.0
        assert chunk_size(latest, 10**6, 2) == WEIGHED
        latest.add(10, 1e-6, 10)
        assert chunk_size(latest, 10**6, 2) > WEIGHED


def test_chunks_are_longer_where_the_way_is():
    near, far = measured(1e-3, items=10**6), Measured()
    far.add(10**6, 10**3, 0, away=2 * 10**3 + 0.1)
    assert chunk_size(near, None, 2) == pytest.approx(SECONDS / 1e-3)
    assert chunk_size(far, None, 2) == pytest.approx(4 * 0.1 / 1e-3, rel=0.01)
    for _ in range(200):  # it was the start of a worker
        far.add(400, 0.4, 0, away=0.5)
    assert chunk_size(far, None, 2) == pytest.approx(SECONDS / 1e-3, rel=0.1)
