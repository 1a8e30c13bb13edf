"""``return_exceptions=True``: the exception of a failed item stands in the place of its result."""

import dataclasses
import os
import pickle
import signal
import sys
import threading
import time
import traceback

import pytest

from phylozoo_parallel import (
    MultiprocessingExecutor,
    ParallelConfig,
    PhyloZooTypeError,
    ThreadingExecutor,
    WorkerLostError,
)

pytestmark = pytest.mark.core


def bad_at_3(item):
    if item % 10 == 3:
        raise ValueError(item)
    return item


def shape(results):
    """Return a list of results with type and arguments in the place of each exception."""
    return [(type(it), it.args) if isinstance(it, BaseException) else it for it in results]


EXPECTED = [(ValueError, (it,)) if it % 10 == 3 else it for it in range(100)]


class TestWhatTheFunctionRaises:
    @pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
    def test_an_exception_stands_in_the_place_of_its_result(self, executor, chunksize):
        results = executor.map(bad_at_3, range(100), chunksize, return_exceptions=True)
        assert shape(results) == EXPECTED

    def test_an_exception_stands_in_its_place_in_a_starmap(self, executor):
        pairs = ((it, 1) for it in range(100))
        results = executor.starmap(
            lambda it, one: bad_at_3(it * one), pairs, return_exceptions=True
        )
        assert shape(results) == EXPECTED

    def test_an_exception_comes_among_unordered_results(self, executor):
        expected = sorted(map(str, EXPECTED))
        results = executor.map_unordered(bad_at_3, range(100), return_exceptions=True)
        assert sorted(map(str, shape(results))) == expected
        results = executor.starmap_unordered(bad_at_3, zip(range(100)), return_exceptions=True)
        assert sorted(map(str, shape(results))) == expected

    def test_a_returned_exception_has_index_and_cause_like_a_raised_one(self, workers):
        results = list(workers.map(bad_at_3, range(5), return_exceptions=True))
        try:
            list(workers.map(bad_at_3, range(5)))
        except ValueError as error:
            raised = "".join(traceback.format_exception(error))
        placed = "".join(traceback.format_exception(results[3]))
        assert "item 3 = 3, in worker" in placed
        assert "raise ValueError(item)" in placed
        assert placed.count("item 3") == raised.count("item 3")

    def test_every_item_may_fail(self, executor):
        def bad(item):
            raise KeyError(item)

        results = executor.map(bad, range(300), return_exceptions=True)
        assert shape(results) == [(KeyError, (it,)) for it in range(300)]

    def test_a_returned_stop_iteration_ends_no_loop(self, executor):
        results = list(executor.map(lambda it: next(iter([])), range(3), return_exceptions=True))
        assert [type(it) for it in results] == [RuntimeError] * 3
        assert all(isinstance(it.__cause__, StopIteration) for it in results)

    def test_a_system_exit_is_returned(self, executor):
        results = executor.map(lambda it: exit(it), range(3), return_exceptions=True)
        assert shape(results) == [(SystemExit, (it,)) for it in range(3)]

    def test_an_exception_that_refuses_attributes_is_returned(self, executor):
        results = list(executor.map(frozen_at_1, range(3), return_exceptions=True))
        assert [type(it) for it in results] == [int, Frozen, int]
        if sys.version_info >= (3, 11):
            assert results[1].__notes__[0].startswith("item 1 = 1")

    def test_a_keyboard_interrupt_ends_the_map(self, executor):
        def interrupted(item):
            if item == 4:
                raise KeyboardInterrupt
            return item

        got = []
        with pytest.raises(KeyboardInterrupt):
            got.extend(executor.map(interrupted, range(20), return_exceptions=True))
        assert list(executor.map(interrupted, range(3))) == [0, 1, 2]

    def test_an_exception_is_raised_by_default(self, executor):
        for extra in {}, {"return_exceptions": False}:
            with pytest.raises(ValueError, match="3"):
                list(executor.map(bad_at_3, range(5), **extra))

    def test_a_configuration_does_not_take_return_exceptions(self):
        with pytest.raises(TypeError):
            ParallelConfig(return_exceptions=True)

    def test_a_value_that_is_not_a_boolean_is_refused_at_the_call(self, executor):
        with pytest.raises(PhyloZooTypeError, match="return_exceptions must be True or False"):
            executor.map(bad_at_3, range(5), return_exceptions="yes")


def test_an_error_of_the_input_still_ends_the_map(executor):
    def items():
        yield from range(4)
        raise OSError("disk")

    got = []
    results = executor.map(bad_at_3, items(), return_exceptions=True)
    with pytest.raises(OSError, match="disk"):
        got.extend(results)
    assert shape(got) == [0, 1, 2, (ValueError, (3,))]


def unreadable():
    raise ValueError("cannot be read")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    name: str


def frozen_at_1(item):
    if item == 1:
        raise Frozen("tree")
    return item


class Unreadable:
    def __reduce__(self):
        return unreadable, ()


class TestWhatCannotTravel:
    """In worker processes."""

    @pytest.mark.parametrize("chunksize", [None, 1, 5])
    def test_an_item_that_cannot_be_pickled_costs_one_result(self, processes, chunksize):
        items = [0, threading.Lock(), 2, 3, threading.Lock(), 5]
        results = list(processes.map(lambda it: it, items, chunksize, return_exceptions=True))
        assert [it for it in results if isinstance(it, int)] == [0, 2, 3, 5]
        for index in 1, 4:
            assert type(results[index]) is pickle.PicklingError
            assert f"item {index} could not be pickled" in str(results[index])

    @pytest.mark.parametrize("chunksize", [None, 1, 5])
    def test_an_item_that_cannot_be_unpickled_costs_one_result(self, processes, chunksize):
        items = [0, Unreadable(), 2, 3, Unreadable(), 5]
        results = list(processes.map(lambda it: it, items, chunksize, return_exceptions=True))
        assert [it for it in results if isinstance(it, int)] == [0, 2, 3, 5]
        for index in 1, 4:
            assert f"item {index} could not be unpickled" in str(results[index])

    @pytest.mark.parametrize("chunksize", [None, 1, 5])
    @pytest.mark.parametrize(
        ("make", "what"), [(threading.Lock, "pickled"), (Unreadable, "unpickled")]
    )
    def test_a_result_that_cannot_travel_costs_one_result(self, processes, chunksize, make, what):
        def func(item):
            return make() if item in (1, 4) else item

        results = list(processes.map(func, range(6), chunksize, return_exceptions=True))
        assert [it for it in results if isinstance(it, int)] == [0, 2, 3, 5]
        for index in 1, 4:
            assert f"the result of item {index} could not be {what}" in str(results[index])

    @pytest.mark.parametrize("going_on", [False, True])
    def test_without_retries_no_item_runs_again_to_find_such_a_result(
        self, processes, tmp_path, going_on
    ):
        def func(item):
            with open(tmp_path / "ran", "a") as file:
                file.write(f"{item} ")
            return Unreadable() if item == 2 else item

        executor = type(processes)(2, retries=0, chunksize=4)
        results = executor.map(func, range(4), return_exceptions=going_on)
        told = "the result of one of the items 0 to 3 could not be unpickled"
        if going_on:
            failed = list(results)
            assert [type(it) for it in failed] == 4 * [pickle.UnpicklingError]
            assert all(told in str(it) for it in failed)
        else:
            with pytest.raises(pickle.UnpicklingError, match=told):
                list(results)
        assert (tmp_path / "ran").read_text() == "0 1 2 3 "

    def test_a_function_that_cannot_be_unpickled_ends_the_map(self, processes):
        held = Unreadable()
        with pytest.raises(pickle.UnpicklingError, match="the function could not be unpickled"):
            list(processes.map(lambda it: (it, held), range(100), return_exceptions=True))


class Deadly:
    def __reduce__(self):
        return os._exit, (5,)


def test_a_function_that_kills_workers_when_unpickled_ends_the_map(processes):
    held, came = Deadly(), []
    with pytest.raises(WorkerLostError, match=r"the function, unpickled to run item 0: .*code 5"):
        came.extend(processes.map(lambda it: (it, held), range(1000), return_exceptions=True))
    assert came == []
    results = list(processes.map(lambda it: it, [0, Deadly(), 2], 3, return_exceptions=True))
    assert (results[0], results[2]) == (0, 2)
    assert str(results[1]).startswith("item 1 = ")


def dies_at_7(item):
    if item == 7:
        os._exit(5)
    time.sleep(0.001)
    return item


class TestWorkersThatDie:
    @pytest.mark.parametrize("chunksize", [None, 1, 9])
    def test_a_worker_that_dies_costs_one_result(self, processes, chunksize):
        results = list(processes.map(dies_at_7, range(60), chunksize, return_exceptions=True))
        assert results[:7] + results[8:] == [*range(7), *range(8, 60)]
        assert type(results[7]) is WorkerLostError
        assert str(results[7]).startswith("item 7 = 7: its worker process died (exit code 5)")

    def test_a_worker_that_dies_costs_one_unordered_result(self, processes):
        results = processes.map_unordered(dies_at_7, range(60), return_exceptions=True)
        whole = [it for it in results if isinstance(it, int)]
        assert sorted(whole) == [it for it in range(60) if it != 7]

    def test_a_worker_that_dies_costs_no_more_without_retries(self):
        executor = MultiprocessingExecutor(1, retries=0)
        results = list(executor.map(dies_at_7, range(20), 1, return_exceptions=True))
        assert results[:7] + results[8:] == [*range(7), *range(8, 20)]
        assert type(results[7]) is WorkerLostError

    @pytest.mark.parametrize("late", [False, True])
    def test_without_retries_each_lost_item_is_named(self, late):
        def func(item):
            if item == 3:
                if late:
                    time.sleep(600)
                os._exit(5)
            return item

        executor = MultiprocessingExecutor(1, retries=0, timeout=1)
        results = list(executor.map(func, range(8), 6, return_exceptions=True))
        assert results[4:] == [4, 5, 6, 7]
        for index in range(3):
            assert type(results[index]) is WorkerLostError
            assert str(results[index]).startswith(f"item {index} = {index}: its result is lost")
        assert type(results[3]) is (TimeoutError if late else WorkerLostError)
        assert str(results[3]).startswith("item 3 = 3")

    def test_each_item_that_may_be_guilty_is_named(self):
        def func(item):
            if item == 3:
                os._exit(5)
            return item

        executor = MultiprocessingExecutor(1, retries=0)
        results = list(executor.map(func, range(8), 8, return_exceptions=True))
        lost = [it for it, result in enumerate(results) if isinstance(result, WorkerLostError)]
        assert 3 in lost
        assert all(str(results[it]).startswith(f"item {it} = {it}") for it in lost)
        assert all(results[it] == it for it in range(8) if it not in lost)

    def test_several_workers_may_die_one_after_the_other(self, processes):
        def func(item):
            if item % 20 == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return item

        results = list(processes.map(func, range(60), return_exceptions=True))
        lost = [index for index, it in enumerate(results) if isinstance(it, WorkerLostError)]
        assert lost == [7, 27, 47]


def late_at_5(item):
    time.sleep(600 if item in (5, 16) else 0)
    return bad_at_3(item)


@pytest.mark.parametrize("kind", [ThreadingExecutor, MultiprocessingExecutor])
@pytest.mark.parametrize("chunksize", [None, 1, 9])
def test_late_items_cost_one_result_each(kind, chunksize):
    executor = kind(2, timeout=1)
    if kind is ThreadingExecutor:  # its threads cannot be ended: let them come to an end
        gate = threading.Event()

        def func(item):
            if item in (5, 16):
                gate.wait(60)
            return bad_at_3(item)
    else:
        gate, func = threading.Event(), late_at_5
    try:
        results = list(executor.map(func, range(40), chunksize, return_exceptions=True))
    finally:
        gate.set()
    late = [index for index, it in enumerate(results) if isinstance(it, TimeoutError)]
    assert late == [5, 16]
    assert str(results[5]) == "item 5 = 5 took longer than timeout=1.0 seconds"
    others = [it for index, it in enumerate(results) if index not in late]
    assert shape(others) == [it for index, it in enumerate(EXPECTED[:40]) if index not in late]


def test_a_thread_that_was_given_up_runs_no_later_items():
    ran, gate = [], threading.Event()

    def func(item):
        if item == 2:
            gate.wait(60)
        ran.append(item)
        return item

    executor = ThreadingExecutor(1, timeout=0.2)
    results = list(executor.map(func, range(8), 8, return_exceptions=True))
    assert [type(it) for it in results].count(TimeoutError) == 1
    gate.set()
    list(executor.map(abs, range(3)))
    time.sleep(0.05)
    assert sorted(it for it in ran if it != 2) == [0, 1, 3, 4, 5, 6, 7]


def test_the_bar_counts_failed_items(executor, capsys):
    pytest.importorskip("tqdm")
    options = {"n_jobs": 2} if executor.n_jobs == 2 else {}
    with type(executor)(progress="map", **options) as shown:
        list(shown.map(bad_at_3, range(100), return_exceptions=True))
    assert "100/100" in capsys.readouterr().err
