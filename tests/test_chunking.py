"""The rule that sizes chunks: a pure function of what was measured, tried without workers."""

import random
from functools import partial

import pytest

from benchmarks import simulation
from phylozoo_parallel._map.chunking import (
    BUDGET,
    BYTES,
    GROWTH,
    LONGEST,
    TRUSTED,
    WEIGHED,
    budget,
    chunk_size,
)
from phylozoo_parallel._map.measured import (
    CALLER,
    FIRST,
    LAST,
    MOST,
    SECONDS,
    WORKER,
    Cost,
    Measured,
    keep,
    recall,
)
from phylozoo_parallel._worker.run import Took

pytestmark = pytest.mark.core


def measured(seconds, nbytes=0.0, items=1_000_000):
    """Return the measurements of chunks of `items`, each item with `seconds` and `nbytes`."""
    seen = Measured()
    seen.add(items, even(items, seconds), int(items * nbytes))
    return seen


def even(items, seconds):
    """Return what a worker reports of items that all take the same time."""
    return Took(items * seconds, items * seconds, items, items * seconds**2)


def known(seconds, spread=0.0, items=1_000_000):
    """Return measurements of an earlier map, with this standard deviation."""
    seen = measured(seconds, items=items)
    seen.chunks, seen.earlier, seen.within, seen.weight = 0, items, spread**2, 1.0
    return seen


def remembered(*chunks):
    """Return what the next map of a function starts with, after chunks of these seconds."""
    seen = Measured()
    for times in chunks:
        seen.add(
            len(times), Took(sum(times), sum(times), len(times), sum(it**2 for it in times)), 0
        )

    def func():
        pass

    key, _ = recall(func, None)
    keep(key, seen)
    return recall(func, None)[1]


def rounds(seen, count, workers):
    """Cut a whole map into chunks, as if nothing new were measured."""
    sizes, begun = [], count
    while count:
        begun = begun if len(sizes) % workers else count
        sizes.append(min(chunk_size(seen, count, workers, len(sizes), begun), count))
        count -= sizes[-1]
    return sizes


def test_chunks_grow_from_round_to_round_and_all_of_a_round_are_alike():
    sizes = rounds(known(5e-3), 400, 4)
    assert sizes[0] * 5e-3 <= SECONDS
    assert len(sizes) <= 20  # and not one for every 30 ms
    assert sizes[:-4:4] == sorted(sizes[:-4:4])  # the last round is what is left
    for first in range(0, len(sizes), 4):
        assert max(sizes[first : first + 4]) - min(sizes[first : first + 4]) <= 1
    assert max(sizes) * 5e-3 <= MOST


def test_a_map_begins_with_single_items():
    assert chunk_size(Measured(), None, 2) == chunk_size(Measured(), 10**6, 2) == 1


@pytest.mark.parametrize("seconds", [1e-7, 1e-5, 1e-3])
def test_chunks_aim_at_a_duration(seconds):
    assert chunk_size(measured(seconds), None, 2) == pytest.approx(SECONDS / seconds, rel=0.01)


@pytest.mark.parametrize("seconds", [SECONDS, 0.05, 60.0])
def test_slow_items_travel_alone(seconds):
    """Whether they compute or wait: 256 naps of 50 ms keep 32 threads busy one by one."""
    assert chunk_size(measured(seconds, items=1), 224, 32) == 1


def test_chunks_grow_no_faster_than_what_was_measured():
    assert chunk_size(measured(1e-9, items=1), None, 2) == GROWTH
    assert chunk_size(measured(1e-9, items=GROWTH), None, 2) == GROWTH**2


def test_heavy_items_make_small_chunks():
    assert chunk_size(measured(1e-6, nbytes=BYTES / 2), None, 2) == 2
    assert chunk_size(measured(1e-6, nbytes=10 * BYTES), None, 2) == 1


def test_items_that_become_heavier_make_smaller_chunks():
    seen = measured(1e-6, nbytes=10)
    seen.weight = BYTES / 2
    assert chunk_size(seen, None, 2) == 2


def test_chunks_shrink_when_items_become_slower():
    seen = measured(1e-6)
    before = chunk_size(seen, None, 2)
    for _ in range(12):
        seen.add(10, even(10, 0.01), 0)
    assert before > 1000
    assert chunk_size(seen, None, 2) <= 3


def test_a_chunk_of_a_slow_input_is_short():
    seen = measured(1e-6)
    seen.reading = SECONDS / 3
    assert chunk_size(seen, None, 2) == 3


class TestCosts:
    """The length of chunks follows from what chunks cost."""

    def test_costs_of_the_caller_count_for_each_worker(self):
        seen = measured(1e-3)
        seen.caller.add(1000, 2e-4 + 1000 * 1e-7, 2e-4)
        assert seen.target(2) == SECONDS
        assert seen.target(64) == pytest.approx(CALLER * 64 * 2e-4)
        assert seen.target(10_000) == MOST
        assert chunk_size(seen, None, 64) == pytest.approx(CALLER * 64 * 0.2, abs=1)

    def test_costs_of_a_worker_make_chunks_longer(self):
        seen = measured(1e-3)
        seen.worker.add(1, 1e-3)
        seen.worker.add(1000, 1e-3)
        assert seen.target(2) == pytest.approx(WORKER * seen.worker.chunk)
        assert seen.target(2) > SECONDS

    def test_costs_of_items_are_told_from_costs_of_chunks(self):
        cost = Cost()
        for items in (1, 10, 100, 1000) * 10:
            cost.add(items, 2e-4 + items * 1e-6)
        assert cost.chunk == pytest.approx(2e-4, rel=0.1)
        assert cost.item == pytest.approx(1e-6, rel=0.5)

    def test_costs_of_an_interrupted_chunk_hardly_count(self):
        cost = Cost()
        cost.add(1, 5.0)  # with the start of the workers
        assert cost.chunk <= FIRST
        for _ in range(20):
            cost.add(10, 1e-4, 1e-4)
        cost.add(10, 5.0, 5.0)
        assert cost.chunk < 1.5e-4

    def test_a_caller_that_packs_slowly_sends_smaller_chunks(self):
        """The last worker waits until the caller has packed for all the others."""
        seen = known(1e-6)
        seen.caller.add(100_000, 0.02)
        seen.caller.chunk = seen.worker.chunk = 1e-4
        assert 2 * chunk_size(seen, 30_000, 2) < 15_000
        seen.caller.item = 1e-9
        assert chunk_size(seen, 30_000, 2) == 15_000


class TestSpread:
    """How much is sent at once follows from how uneven items are."""

    def test_even_items_go_out_as_one_chunk_a_worker(self):
        assert rounds(known(1e-3), 32, 2) == [16, 16]
        assert rounds(known(1e-3, spread=5e-5), 32, 2) == [16, 16]
        assert rounds(known(1e-3), 64, 64) == [1] * 64

    def test_a_remainder_is_shared_between_the_chunks(self):
        assert sorted(rounds(known(1e-3), 10, 8)) == [1] * 6 + [2, 2]
        assert sorted(rounds(known(1e-3), 100, 8)) == [12] * 4 + [13] * 4

    def test_even_items_of_many_workers_go_out_at_once(self):
        """A chunk then costs its caller 6 ms for 64 workers, and a last round as much again."""
        seen = known(5e-3, spread=2e-4)
        seen.caller.chunk = 1e-4
        assert rounds(seen, 6400, 64) == [100] * 64
        assert len(rounds(seen, 64_000, 64)) > 10 * 64  # results come, and progress moves
        assert len(rounds(known(5e-3), 200, 2)) > 2  # chunks of two workers cost next to nothing
        seen.chunks = 64  # in the middle of a map workers may be out of step
        assert chunk_size(seen, 6400, 64, 64) * 5e-3 <= MOST
        seen.chunks = 0
        seen.earlier = 6000  # fewer than these were even
        assert len(rounds(seen, 6400, 64)) > 64
        seen.earlier, seen.within = 6400, 4e-6
        assert len(rounds(seen, 6400, 64)) > 64

    def test_rare_long_items_are_remembered(self):
        usual = [1e-3] * 20
        assert remembered(*[usual] * 20).within == pytest.approx(0.0, abs=1e-12)
        mixed = remembered([*usual, 1.0], *[usual] * 20)
        assert mixed.within == pytest.approx(1 / 421, rel=0.1)
        assert mixed.earlier == 421
        assert chunk_size(mixed, 420, 4) < 420 / 4 / 2

    def test_what_a_first_chunk_of_unknown_weight_lacks_is_shared(self):
        seen = known(5e-5)
        seen.weight = 0.0
        first = chunk_size(seen, 64 * 130, 64)
        assert first == TRUSTED
        seen.weight, sizes = 1.0, [first]
        while (left := 64 * 130 - sum(sizes)) > 0:
            sizes.append(chunk_size(seen, left, 64, len(sizes), 64 * 130))
        assert sorted(sizes) == [128] + [130] * 61 + [131] * 2

    def test_the_slowest_of_many_workers_is_not_much_later(self):
        """With all of the variance for each worker, half of the items could go out at first."""
        seen = known(1e-2, spread=5e-3)
        seen.caller.chunk = 4e-4
        assert chunk_size(seen, 64 * 40, 64) == 29

    def test_many_even_items_end_at_the_same_time(self):
        sizes = rounds(known(1e-3), 10_000, 4)
        assert len(sizes) % 4 == 0
        assert max(sizes[-4:]) - min(sizes[-4:]) <= 1
        assert max(sizes) <= MOST / 1e-3

    def test_uneven_items_go_out_in_smaller_and_smaller_rounds(self):
        sizes = rounds(known(1e-3, spread=1e-3), 200, 8)
        assert sizes[0] < 200 / 8
        largest = [max(sizes[at : at + 8]) for at in range(0, len(sizes), 8)]
        assert largest == sorted(largest, reverse=True)
        assert min(largest[:-1]) >= int(LAST * SECONDS / 1e-3)
        more = rounds(known(1e-3, spread=5e-3), 200, 8)
        assert more[0] < sizes[0]

    def test_spread_is_seen_within_chunks(self):
        seen = measured(1e-3, items=10)
        times = [1e-3, 3e-3] * 5
        seen.add(10, Took(sum(times), sum(times), 10, sum(time**2 for time in times)), 0)
        assert seen.within == pytest.approx(1e-6 * 10 / 9 / 2, rel=0.01)

    def test_spread_is_seen_when_the_clock_is_read_between_several_items(self):
        chance = random.Random(0)
        times = [chance.gauss(1e-6, 2e-7) for _ in range(100_000)]
        parts = [sum(times[at : at + 100]) for at in range(0, len(times), 100)]
        seen = Measured()
        squares = sum(part**2 / 100 for part in parts)
        seen.add(len(times), Took(sum(times), sum(times), len(parts), squares), 0)
        assert seen.within**0.5 == pytest.approx(2e-7, rel=0.1)

    def test_spread_is_seen_between_chunks_when_neighbours_are_alike(self):
        seen = Measured()
        for mean in (1e-3, 5e-3) * 10:
            seen.add(20, even(20, mean), 0)
        assert seen.within < 1e-12
        assert chunk_size(seen, 400, 4) < chunk_size(measured(3e-3), 400, 4)

    def test_a_first_map_ends_in_smaller_chunks(self):
        """Its workers are out of step, as they began with single items."""
        sizes = rounds(measured(1e-3), 1000, 4)
        assert sizes[0] == pytest.approx(SECONDS / 1e-3, rel=0.2)
        assert sizes[-8] < sizes[0] / 2


def test_the_rest_of_a_chunk_that_takes_too_long_is_returned():
    seen = known(1e-3)
    assert budget(seen, 1) == BUDGET * SECONDS
    assert budget(seen, 100) == pytest.approx(BUDGET * 0.1)
    assert budget(seen, 300) == LONGEST
    assert budget(seen, 600) == pytest.approx(0.9)  # not before it is expected
    seen.idle = 1.0  # a long way
    assert budget(seen, 1) > LONGEST


class TestManyWorkers:
    """The library's own state machine on simulated workers."""

    @pytest.mark.parametrize("kind", list(simulation.KINDS))
    @pytest.mark.parametrize("workers", [2, 64])
    def test_many_workers_waste_little_time(self, kind, workers, monkeypatch):
        monkeypatch.setattr(simulation, "ITEMS", 50)
        efficiency, caller, worker = simulation.measure(kind, OURS, workers)
        static, *_ = simulation.measure(kind, "one chunk a worker", workers)
        assert efficiency > static - 0.03
        assert worker < 0.05
        if kind == "even items":
            assert efficiency > 0.94
            assert caller < 0.12


OURS = "ours, known from a map before"


class TestLatest:
    """What a map starts from if there was an earlier map of its function."""

    def test_measurements_are_kept_for_the_next_map_of_a_function(self):
        def func(item):
            return item

        key, before = recall(func, True)
        assert before == Measured()
        keep(key, measured(1e-3, 10.0))
        for same in func, partial(func, 1), partial(partial(func)):
            assert recall(same, True)[1].seconds == pytest.approx(1e-3)
        assert recall(func, False)[1] == recall(lambda item: item, True)[1] == Measured()

    def test_measurements_are_kept_for_any_callable(self):
        class Liar:
            __hash__ = None

            def __getattr__(self, name):
                raise KeyError(name)

            def __call__(self, item):
                return item

        for func in Liar(), abs, str, [].append, Liar().__call__:
            assert isinstance(hash(recall(func, True)[0]), int)

    def test_a_map_that_measured_nothing_keeps_the_earlier_measurements(self):
        key, _ = recall(abs, True)
        keep(key, measured(1e-3))
        keep(key, Measured())
        assert recall(abs, True)[1].seconds == pytest.approx(1e-3)

    def test_earlier_measurements_leave_work_for_every_worker(self):
        """Whatever an earlier map measured, nothing is measured in this one yet."""
        latest = Measured(1e-7, 1.0, largest=10**6)
        assert chunk_size(latest, 2, 2) == 1
        assert chunk_size(latest, 32, 2) == 16
        assert chunk_size(latest, 10**6, 2) == TRUSTED
        latest.weight = BYTES / 4
        assert chunk_size(latest, 10**6, 2) == 4
        latest.weight = 1.0
        assert chunk_size(latest, 10**6, 2) == WEIGHED
        latest.add(10, even(10, 1e-7), 10)
        latest.earlier = False
        assert chunk_size(latest, 10**6, 2) > WEIGHED


def test_chunks_are_longer_where_the_way_to_workers_is():
    near, far = measured(1e-3, items=10**6), Measured()
    far.add(10**6, even(10**6, 1e-3), 0, away=2 * 10**3 + 0.1)
    assert chunk_size(near, None, 2) == pytest.approx(SECONDS / 1e-3)
    assert chunk_size(far, None, 2) == pytest.approx(4 * 0.1 / 1e-3, rel=0.01)
    for _ in range(200):  # it was the start of a worker
        far.add(400, even(400, 1e-3), 0, away=0.5)
    assert chunk_size(far, None, 2) == pytest.approx(SECONDS / 1e-3, rel=0.1)


@pytest.mark.parametrize("workers", [2, 3, 16])
def test_a_first_item_without_work_leaves_something_for_every_worker(workers):
    """As in a map whose first item is empty, and each other takes minutes."""
    assert chunk_size(measured(1e-7, items=1), 2 * workers, workers) <= 2
    assert chunk_size(measured(1e-7, items=1), workers, workers) == 1
