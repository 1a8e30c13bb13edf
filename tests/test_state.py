"""The map's state machine: events in, what to do next out; no processes, threads or clock."""

import pytest

from phylozoo_parallel import WorkerLostError
from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines.base import WorkersLost
from phylozoo_parallel._map.measured import Measured
from phylozoo_parallel._map.state import FRUITLESS, PILE, Failed, Read, State
from phylozoo_parallel._options import Options
from phylozoo_parallel._shipping.board import Progress

pytestmark = pytest.mark.core


def state(total=100, workers=2, **options):
    given = {"chunksize": 5, "retries": 1, "timeout": None, "progress": False, **options}
    return State(Options(**given), total, workers, 2 * workers, Measured())


def sent(it):
    """Have the next chunk read and sent, as the loop would."""
    step = it.todo()
    if isinstance(step, Read):
        items = list(range(it.read, it.read + step.size))
        step = it.took(items, 0.0, over=False, error=None)
    it.sending(step)
    return step


def came(it, chunk, done=None):
    """Have a chunk come back with results."""
    it.in_flight.remove(chunk)
    it.came(chunk, len(chunk.items) if done is None else done)


def died(codes=None):
    """Return the news that workers died."""
    return WorkersLost({9: "exit code 3"} if codes is None else codes, {})


def lost(it, chunk, progress=None, codes=None, loss=None):
    """Have a chunk lost with its worker."""
    it.in_flight.remove(chunk)
    chunk.progress = progress
    it.lost(chunk, loss or died(codes))


class TestSending:
    def test_the_state_asks_for_chunks_until_the_window_is_full(self):
        it = state()
        chunks = [sent(it) for _ in range(4)]
        assert [(chunk.first, len(chunk.items)) for chunk in chunks] == [
            (0, 5),
            (5, 5),
            (10, 5),
            (15, 5),
        ]
        assert it.todo() is None
        came(it, chunks[2])
        assert it.todo() == Read(5, float("inf"))

    def test_the_state_asks_for_nothing_after_the_input_has_ended(self):
        it = state()
        it.sending(it.took([0, 1], 0.0, over=True, error=None))
        assert it.todo() is None

    def test_sending_pauses_while_too_many_results_wait_behind_a_slow_chunk(self):
        it = state()
        chunks = [sent(it) for _ in range(4)]
        for chunk in chunks[1:]:
            chunk.nbytes = PILE // 3 + 1
            came(it, chunk)
        assert it.todo() is None
        came(it, chunks[0])
        assert it.ready()
        it.take()
        it.handed_out(5)
        it.take()
        it.handed_out(5)
        assert it.todo() is not None

    def test_the_returned_rest_of_a_chunk_is_sent_first(self):
        it = state(chunksize=None)
        first = it.took([0], 0.0, over=False, error=None)
        it.sending(first)
        it.rest(Chunk(40, [40]))
        assert it.todo().first == 40


class TestHandingOut:
    def test_results_are_handed_out_in_order(self):
        it = state()
        chunks = [sent(it) for _ in range(3)]
        came(it, chunks[1])
        assert not it.ready()
        came(it, chunks[0])
        assert it.ready()
        assert it.take() is chunks[0]
        it.handed_out(5)
        assert it.ready()
        assert it.take() is chunks[1]

    def test_unordered_results_are_handed_out_as_they_are_ready(self):
        it = state()
        it.options = it.options._replace(ordered=False)
        chunks = [sent(it) for _ in range(3)]
        came(it, chunks[1])
        assert it.ready()
        assert it.take() is chunks[1]

    def test_the_error_that_ends_the_map_comes_after_the_results_before_it(self):
        for ordered in True, False:
            it = state()
            it.options = it.options._replace(ordered=ordered)
            chunks = [sent(it) for _ in range(3)]
            it.in_flight.remove(chunks[1])
            it.fail(5, error := ValueError("bad"))
            assert not it.ready()
            assert it.todo() is None  # nothing new is begun
            came(it, chunks[0])
            assert it.ready()
            assert it.take() is chunks[0]
            it.handed_out(5)
            came(it, chunks[2]) if ordered else None
            assert it.ready()
            assert it.take() == Failed(error, ends=True)

    @pytest.mark.parametrize("again", ["lost", "rest", "singles"])
    def test_nothing_after_the_error_that_ends_the_map_is_run_again(self, again):
        it = state()
        chunks = [sent(it) for _ in range(4)]
        it.in_flight.remove(chunks[1])
        it.fail(5, ValueError("bad"))
        for chunk in chunks[3], chunks[0]:
            if again == "lost":
                lost(it, chunk)
                continue
            it.in_flight.remove(chunk)
            it.rest(chunk) if again == "rest" else it.singles(chunk.first, chunk.items)
        it.in_flight.clear()
        assert sent(it).first == 0
        it.in_flight.clear()
        others = [1, 2, 3, 4] if again == "singles" else []
        assert [it.todo().first for _ in others] == others
        assert not it.more()

    def test_an_earlier_error_that_ends_the_map_replaces_a_later_one(self):
        it = state()
        it.fail(7, ValueError("later"))
        it.fail(5, ValueError("earlier"))
        it.rest(Chunk(6, [6]))
        assert not it.more()

    def test_an_error_of_the_input_is_handed_out_at_its_place(self):
        it = state()
        chunk = it.took([0, 1], 0.0, over=True, error=OSError("disk"))
        it.sending(chunk)
        came(it, chunk)
        assert it.ready()
        it.take()
        it.handed_out(2)
        assert it.ready()
        assert type(it.take().error) is OSError

    def test_an_error_in_place_of_a_result_does_not_end_the_map(self):
        it = state(return_exceptions=True)
        chunk = sent(it)
        it.in_flight.remove(chunk)
        it.fail(0, error := ValueError("bad"))
        it.rest(Chunk(1, chunk.items[1:]))
        assert it.ready()
        assert it.take() == Failed(error, ends=False)
        assert it.todo().first == 1


class TestLoss:
    def test_chunks_that_no_worker_had_begun_are_sent_again_first(self):
        it = state()
        chunks, loss = [sent(it) for _ in range(4)], died()
        for chunk in chunks[::-1]:
            lost(it, chunk, loss=loss)
        assert [it.todo().first for _ in range(4)] == [0, 5, 10, 15]

    def test_nothing_is_sent_before_all_chunks_of_a_lost_pool_are_back(self):
        it = state()
        chunks, loss = [sent(it) for _ in range(2)], died()
        lost(it, chunks[1], loss=loss)
        assert it.todo() is None
        lost(it, chunks[0], Progress(9, 0, 0, 1.0, at_function=True), loss=loss)
        assert sent(it).first == 0

    def test_a_chunk_that_was_sent_after_the_loss_is_in_another_pool(self):
        it = state()
        chunks, loss = [sent(it) for _ in range(2)], died()
        chunks[1].sent = loss.when + 1  # to the new pool, before this map heard of the loss
        lost(it, chunks[0], loss=loss)
        assert it.todo().first == 0

    def test_nothing_is_sent_again_when_another_chunk_of_the_lost_pool_ends_the_map(self):
        it = state(retries=0)
        chunks, loss = [sent(it) for _ in range(2)], died()
        lost(it, chunks[1], loss=loss)
        lost(it, chunks[0], Progress(9, 0, 1, 1.0), loss=loss)
        assert it.todo() is None
        assert it.ready()
        assert it.take().ends

    def test_items_of_a_dead_worker_are_sent_again_one_by_one(self):
        it = state()
        chunk = sent(it)
        lost(it, chunk, Progress(9, 2, 1, 1.0))
        assert [sent(it).items for _ in range(3)] == [[0, 1], [2], [3, 4]]

    def test_one_death_more_than_retries_ends_the_map_and_names_the_item(self):
        it = state(retries=0)
        chunk = sent(it)
        lost(it, chunk, Progress(9, 0, 1, 1.0))
        assert it.ready()
        failed = it.take()
        assert failed.ends
        assert type(failed.error) is WorkerLostError
        assert str(failed.error).startswith("item 0 = 0: its worker process died (exit code 3)")

    def test_a_function_that_kills_workers_ends_the_map_and_blames_no_item(self):
        it = state(retries=1, return_exceptions=True)
        for _ in range(2):
            lost(it, sent(it), Progress(9, 0, 0, 1.0, at_function=True))
        failed = it.take()
        assert failed.ends
        assert str(failed.error).startswith("the function, unpickled to run item 0: its worker")

    def test_items_that_have_not_begun_are_sent_again_without_retries(self):
        it = state(retries=0, return_exceptions=True)
        chunks = [sent(it) for _ in range(2)]
        lost(it, chunks[0], Progress(8, 0, 0, 1.0, at_function=True))
        assert not it.ready()
        lost(it, chunks[1], Progress(9, 0, 1, 1.0))
        assert sent(it).items == chunks[0].items

    def test_chunks_go_one_at_a_time_when_it_is_unknown_who_died(self):
        it = state()
        chunks = [sent(it) for _ in range(2)]
        for chunk in chunks:
            it.in_flight.remove(chunk)
            chunk.progress = Progress(0, 0, 0, 0.0)
            it.lost(chunk, WorkersLost(None, {}))
        sent(it)
        assert it.todo() is None

    def test_workers_that_always_die_before_they_begin_end_the_map(self):
        it = state()
        for _ in range(FRUITLESS + 2):
            assert not it.ready()
            lost(it, sent(it))
        assert it.ready()
        assert "no worker lived long enough to begin with item 0" in str(it.take().error)

    def test_results_between_deaths_show_that_workers_begin(self):
        it = state(total=1000)
        for _ in range(FRUITLESS + 2):
            lost(it, sent(it))
            came(it, sent(it))
        assert it.more()


class TestNeeded:
    def test_all_items_hold_up_a_map_that_has_no_end_yet(self):
        assert state().needed() == float("inf")

    def test_items_after_the_error_that_ends_the_map_hold_up_nothing(self):
        it = state()
        it.fail(5, ValueError())
        assert it.needed() == 5

    def test_they_do_while_an_earlier_chunk_has_to_be_sent_again(self):
        it = state()
        chunk = sent(it)
        it.fail(5, ValueError())
        lost(it, chunk)
        assert it.needed() == float("inf")


class TestStarving:
    def test_a_map_starves_when_its_chunks_have_waited_and_none_is_running(self):
        it = state()
        chunks = [sent(it) for _ in range(2)]
        for chunk, when in zip(chunks, (4.0, 6.0), strict=True):
            chunk.sent = when
        assert it.starving(lambda chunk: None, 5.0)
        assert not it.starving(lambda chunk: None, 3.0)
        assert not it.starving(lambda chunk: Progress(9, 0, 1, 1.0) if chunk.first else None, 5.0)
        it.in_flight.clear()
        assert not it.starving(lambda chunk: None, 5.0)


def test_a_late_item_in_a_thread_is_given_up_and_the_rest_is_sent_again():
    it = state(timeout=1.0, return_exceptions=True)
    chunk = sent(it)
    it.in_flight.remove(chunk)
    it.late(chunk, Progress(0, 2, 1, 1.0))
    it.came(chunk, 2)
    again = it.todo()
    assert (again.first, again.items) == (3, [3, 4])
    assert it.take() is chunk
    it.handed_out(2)
    assert it.ready()
    assert str(it.take().error) == "item 2 = 2 took longer than timeout=1.0 seconds"


def test_the_state_counts_done_items():
    it = state(return_exceptions=True)
    chunks = [sent(it) for _ in range(2)]
    came(it, chunks[0])
    it.in_flight.remove(chunks[1])
    it.fail(5, ValueError())
    assert it.done == 6
