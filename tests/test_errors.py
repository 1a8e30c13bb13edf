"""An item's exception comes at its place, says where it was, and harms nothing else."""

import gc
import os
import pickle
import re
import sys
import threading
import time
import traceback
import weakref
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.core


class TwoArguments(Exception):
    """Pickles, and cannot be unpickled: as many exceptions in the wild."""

    def __init__(self, site, reason):
        super().__init__(f"site {site}: {reason}")
        self.site = site


class WithSlots(Exception):
    """Pickles without what is in its slot."""

    __slots__ = ("site",)

    def __init__(self, reason, site=0):
        super().__init__(reason)
        self.site = site


class Told(Exception):
    """Says how it pickles."""

    def __init__(self, site, reason):
        super().__init__(f"site {site}: {reason}")
        self.site, self.reason = site, reason

    def __reduce__(self):
        return Told, (self.site, self.reason)


class WithLock(Exception):
    """Cannot be pickled."""

    def __init__(self, *args):
        super().__init__(*args)
        self.lock = threading.Lock()


def only_here(pid, name):
    """Unpickle in one process alone."""
    if os.getpid() != pid:
        raise LookupError(f"{name} is at home in another process")
    return name


def only_elsewhere(pid, name):
    """Unpickle in any process but one."""
    if os.getpid() == pid:
        raise LookupError(f"{name} is at home in another process")
    return name


class Reduced:
    """Pickles as the call it is given."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def fail_at(index, error):
    """Return a function that raises at one item and returns the others."""

    def func(item):
        if item == index:
            raise error
        return item

    return func


def read(results):
    """Return the results before an exception, and the exception."""
    seen = []
    try:
        for result in results:
            seen.append(result)
    except BaseException as error:
        return seen, error
    pytest.fail(f"no exception after {seen}")


def shown(error):
    """Return an exception as the interpreter prints it, with its cause."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


ERRORS = [
    ValueError("wrong", 3),
    KeyError("key"),
    OSError(2, "No such file", "tree.nwk"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ZeroDivisionError(),
    SystemExit(3),
    Told(7, "gap"),
]


@pytest.mark.parametrize("chunksize", [None, 1, 3, 4, 20])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_has_its_type_and_arguments_and_comes_after_the_earlier_results(
    executor, error, chunksize
):
    seen, caught = read(executor.map(fail_at(3, error), range(10), chunksize))
    assert seen == [0, 1, 2]
    assert type(caught) is type(error)
    assert caught.args == error.args
    assert str(caught) == str(error)


def test_an_exception_class_defined_in_a_function_is_kept(workers):
    class Local(Exception):
        pass

    _, caught = read(workers.map(fail_at(1, Local("here")), range(3)))
    assert type(caught) is Local


@pytest.mark.parametrize("method", ["map", "starmap"])
def test_a_failed_map_has_no_more_results(executor, method):
    results = getattr(executor, method)(lambda item: 1 // len(item), [(), (1,)])
    with pytest.raises((TypeError, ZeroDivisionError)):
        next(results)
    assert list(results) == []


def test_the_first_item_that_fails_is_raised_whichever_fails_earlier(workers):
    def slow_then_quick(i):
        if i == 2:
            time.sleep(0.3)
        if i >= 2:
            raise ValueError(i)
        return i

    seen, caught = read(workers.map(slow_then_quick, range(50), 1))
    assert (seen, caught.args) == ([0, 1], (2,))


class TestTrace:
    @pytest.mark.parametrize("chunksize", [None, 1, 4])
    def test_the_cause_shows_the_workers_traceback_the_index_and_the_item(self, workers, chunksize):
        def look_up(item):
            return {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "g": 6}[item]

        _, caught = read(workers.map(look_up, "abcdefgh", chunksize))
        cause = str(caught.__cause__)
        assert "in look_up" in cause
        assert 'return {"a": 0,' in cause
        assert "item 5 = 'f'" in cause

    def test_the_cause_shows_the_arguments_of_a_starmap(self, workers):
        _, caught = read(workers.starmap(divmod, [(4, 2), (7, 0)]))
        assert "item 1 = (7, 0)" in str(caught.__cause__)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="notes came with Python 3.11")
    def test_a_note_names_index_and_item(self, workers):
        _, caught = read(workers.map(fail_at("c", ValueError("bad")), "abcd"))
        (note,) = caught.__notes__
        assert note.startswith("item 2 = 'c'")

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="notes came with Python 3.11")
    def test_notes_of_the_exception_are_kept(self, workers):
        def noted(item):
            error = ValueError(item)
            error.add_note("look at the alignment")
            raise error

        _, caught = read(workers.map(noted, [8]))
        assert caught.__notes__[0] == "look at the alignment"
        assert "item 0 = 8" in caught.__notes__[1]

    def test_the_worker_process_is_named(self, processes, pool_pids):
        _, caught = read(processes.map(fail_at(0, ValueError()), [0]))
        (pid,) = re.findall(r"in worker process (\d+)", str(caught.__cause__))
        assert int(pid) in pool_pids()

    def test_a_cause_of_the_exception_is_shown(self, workers):
        def chained(item):
            try:
                raise KeyError("deep down")
            except KeyError as error:
                raise ValueError("on top") from error

        _, caught = read(workers.map(chained, [0]))
        assert "deep down" in shown(caught)

    def test_an_exception_in_a_thread_keeps_its_cause_and_frames(self, threads):
        """For a debugger, and for an `except` clause that reads the cause."""

        def chained(item):
            mark = item
            try:
                raise KeyError("deep down")
            except KeyError as error:
                if item == "from":
                    raise ValueError(mark) from error
                if item == "none":
                    raise ValueError(mark) from None
                raise ValueError(mark)  # noqa: B904

        for item in "from", "none", "in":
            _, caught = read(threads.map(chained, [item]))
            frames = [frame for frame, _ in traceback.walk_tb(caught.__traceback__)]
            assert frames[-1].f_locals["mark"] == item
            assert isinstance(caught.__cause__, KeyError) == (item == "from")
            assert isinstance(caught.__context__, KeyError)
            assert caught.__suppress_context__ == (item != "in")
            assert ("deep down" in shown(caught)) == (item != "none")
            if sys.version_info >= (3, 11):
                assert caught.__notes__[-1].startswith(f"item 0 = {item!r}")

    def test_an_exception_in_a_thread_shows_only_the_users_frames(self, threads):
        _, caught = read(threads.map(lambda x: 1 // x, [0]))
        names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.__traceback__)]
        assert names[-1] == "<lambda>"
        assert "run_in_thread" not in names
        assert "item 0 = 0" in str(caught.__cause__)

    @pytest.mark.parametrize(
        "item", ["x" * 10_000, list(range(10_000)), {i: i for i in range(10_000)}], ids=type
    )
    def test_a_large_item_is_shortened(self, workers, item):
        _, caught = read(workers.map(lambda item: 1 / 0, [item]))
        assert "item 0 = " in str(caught.__cause__)
        assert len(str(caught.__cause__)) < 2000

    def test_an_item_or_exception_without_a_working_repr_is_described(self, workers):
        class Shy(Exception):
            def __repr__(self):
                raise RuntimeError("no repr")

            __str__ = __repr__

        def guilty(item):
            raise item

        _, caught = read(workers.map(guilty, [Shy()]))
        assert type(caught) is Shy
        assert "item 0 = " in str(caught.__cause__)

    @pytest.mark.parametrize("name", ["array", "deque", "dict", "int"])
    def test_an_item_whose_class_is_named_like_a_built_in_is_described(self, workers, name):
        """The standard library shortens a repr by the name of the class."""
        item = type(name, (), {})()
        seen, caught = read(workers.map(lambda item: item.missing or item, [item]))
        assert (seen, type(caught)) == ([], AttributeError)
        assert "missing" in str(caught)
        assert "item 0 = " in str(caught.__cause__)


class TestNothingElseIsHarmed:
    @pytest.mark.parametrize(
        "kind", [ValueError, SystemExit, KeyboardInterrupt, WithLock, TwoArguments]
    )
    def test_an_error_leaves_the_worker_processes_running(self, processes, pool_pids, kind):
        def guilty(item):
            if item == 3:
                raise kind("wrong", "item")
            return os.getpid()

        list(processes.map(abs, range(4)))
        before = pool_pids()
        seen, _ = read(processes.map(guilty, range(10), 2))
        after = set(processes.map(lambda _: os.getpid(), range(50), 1))
        assert pool_pids() == before
        assert after | set(seen) <= before

    def test_an_error_leaves_other_maps_alone(self, workers):
        good = workers.map(abs, range(300), 5)
        assert next(good) == 0
        for index in range(10):
            read(workers.map(fail_at(index, ValueError()), range(10)))
        assert list(good) == list(range(1, 300))

    def test_an_error_that_nobody_reads_does_no_harm(self, workers):
        results = workers.map(fail_at(5, ValueError()), range(100), 1)
        assert next(results) == 0
        del results
        assert list(workers.map(abs, range(10))) == list(range(10))


CANNOT_BE_PICKLED = "cannot pickle"
"""What the standard library says of a lock."""


@pytest.mark.parametrize("chunksize", [None, 1, 3, 10])
class TestWhatCannotTravel:
    """The index and the reason are named, the earlier results come first, the pool stays."""

    @pytest.fixture(autouse=True)
    def _same_workers(self, processes, pool_pids):
        list(processes.map(abs, range(4)))
        before = pool_pids()
        yield
        assert list(processes.map(abs, range(4))) == list(range(4))
        assert pool_pids() == before

    def test_an_item_that_cannot_be_pickled_is_named(self, processes, chunksize):
        items = [0, 1, threading.Lock(), 3, 4]
        seen, caught = read(processes.map(lambda item: item, items, chunksize))
        assert seen == [0, 1]
        assert isinstance(caught, pickle.PicklingError)
        assert "item 2 " in str(caught)
        assert CANNOT_BE_PICKLED in str(caught)

    def test_an_item_that_cannot_be_unpickled_is_named(self, processes, chunksize):
        items = [0, 1, Reduced(only_here, os.getpid(), "the item"), 3, 4]
        seen, caught = read(processes.map(lambda item: item, items, chunksize))
        assert seen == [0, 1]
        assert isinstance(caught, pickle.UnpicklingError)
        assert "item 2 " in str(caught)
        assert "the item is at home in another process" in str(caught)

    def test_a_result_that_cannot_be_pickled_is_named(self, processes, chunksize):
        def func(item):
            return threading.Lock() if item == 2 else item

        seen, caught = read(processes.map(func, range(5), chunksize))
        assert seen == [0, 1]
        assert isinstance(caught, pickle.PicklingError)
        assert "item 2 " in str(caught)
        assert CANNOT_BE_PICKLED in str(caught)

    def test_a_result_that_cannot_be_unpickled_is_named(self, processes, chunksize):
        here = os.getpid()

        def func(item):
            return Reduced(only_elsewhere, here, "the result") if item == 2 else item

        seen, caught = read(processes.map(func, range(5), chunksize))
        assert seen == [0, 1]
        assert isinstance(caught, pickle.UnpicklingError)
        assert "item 2 " in str(caught)
        assert "the result is at home in another process" in str(caught)

    @pytest.mark.parametrize("kind", [TwoArguments, WithLock])
    def test_an_exception_that_cannot_be_pickled_keeps_its_text(self, processes, chunksize, kind):
        def func(item):
            if item == 2:
                raise kind(7, "too many gaps")
            return item

        seen, caught = read(processes.map(func, range(5), chunksize))
        assert seen == [0, 1]
        assert type(caught) is kind
        assert "too many gaps" in str(caught)
        assert "item 2 " in shown(caught)
        assert getattr(caught, "site", 7) == 7
        assert ("without its attribute `lock`" in shown(caught)) == (kind is WithLock)

    @pytest.mark.parametrize("method", ["map", "starmap"])
    def test_a_function_that_cannot_be_pickled_is_refused_at_the_call(
        self, processes, chunksize, method
    ):
        """The error is raised by `map` itself."""
        lock = threading.Lock()
        with pytest.raises(pickle.PicklingError, match=CANNOT_BE_PICKLED) as caught:
            getattr(processes, method)(lambda item: lock, [(1,)], chunksize)
        assert "func = <function" in str(caught.value)
        assert "threading" in str(caught.value)

    def test_a_function_that_cannot_be_unpickled_ends_the_map(self, processes, chunksize):
        stranger = Reduced(only_here, os.getpid(), "the function")
        _, caught = read(processes.map(lambda item: stranger, range(5), chunksize))
        assert isinstance(caught, pickle.UnpicklingError)
        assert "the function is at home in another process" in str(caught)


def test_threads_take_objects_that_cannot_be_pickled(threads):
    lock = threading.Lock()
    assert list(threads.map(lambda item: (item, lock), [lock])) == [(lock, lock)]
    _, caught = read(threads.map(fail_at(1, TwoArguments(7, "gaps")), range(3)))
    assert type(caught) is TwoArguments
    assert caught.site == 7


class NoExceptionAnyMore(Exception):
    """Unpickles to something that cannot be raised."""

    def __reduce__(self):
        return int, ("7",)


class Site(Exception):
    """Has another text when it is made again from its arguments."""

    def __init__(self, site=0):
        super().__init__(f"site {site}")


class Meta(type):
    """Its classes cannot be pickled."""


def a_class_that_cannot_travel(base):
    return Meta("Local", (base,), {"lock": threading.Lock()})


def raised(executor, make):
    """Return the exception that the caller gets for one that a worker makes."""

    def func(item):
        raise make()

    _, caught = read(executor.map(func, [1]))
    return caught


class TestAnExceptionThatDoesNotPickleKeepsItsClass:
    def test_an_exception_that_unpickles_to_something_else_keeps_its_class(self, processes):
        caught = raised(processes, lambda: NoExceptionAnyMore("the words"))
        assert (type(caught), caught.args) == (NoExceptionAnyMore, ("the words",))

    def test_an_exception_that_would_unpickle_with_another_text_keeps_its_text(self, processes):
        caught = raised(processes, lambda: Site(7))
        assert (type(caught), str(caught)) == (Site, "site 7")

    def test_an_exception_with_an_unpicklable_argument_keeps_its_class(self, processes):
        caught = raised(processes, lambda: KeyError("key", threading.Lock()))
        assert type(caught) is KeyError
        assert caught.args[0] == "key"
        assert "lock" in caught.args[1]
        assert "without one of its arguments" in shown(caught)

    def test_the_nearest_base_class_stands_for_a_class_that_cannot_travel(self, processes):
        caught = raised(processes, lambda: a_class_that_cannot_travel(TwoArguments)(7, "gaps"))
        assert (type(caught), caught.site) == (TwoArguments, 7)
        assert str(caught) == "site 7: gaps"
        assert "without its class `Local`" in shown(caught)

    def test_an_exception_keeps_what_is_in_its_slots(self, processes):
        for given in 0, 7, [1, 2]:
            caught = raised(processes, lambda given=given: WithSlots("bad", given))
            assert (type(caught), caught.site) == (WithSlots, given)
        caught = raised(processes, lambda: WithSlots("bad", threading.Lock()))
        assert "without its attribute `site`" in str(caught.__cause__)

    def test_built_in_exceptions_keep_their_fields(self, processes):
        told = 2, "No such file", "tree.nwk"
        caught = raised(processes, lambda: a_class_that_cannot_travel(OSError)(*told))
        assert (caught.errno, caught.filename) == (2, "tree.nwk")
        with pytest.raises(OSError, match="No such file"):
            raise caught

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
    def test_exceptions_in_a_group_keep_their_classes(self, processes):
        caught = raised(
            processes,
            lambda: ExceptionGroup("several", [WithLock("gaps"), TwoArguments(7, "gaps")]),  # noqa: F821
        )
        assert [type(error) for error in caught.exceptions] == [WithLock, TwoArguments]
        assert "without its attribute `lock`" in shown(caught)

    def test_an_exception_that_the_caller_cannot_unpickle_keeps_its_text(self, processes):
        here = os.getpid()
        caught = raised(processes, lambda: KeyError(Reduced(only_elsewhere, here, "the key")))
        assert type(caught) is RuntimeError
        assert "item 0 = 1" in str(caught)
        assert "KeyError" in str(caught)


def test_a_working_directory_that_is_gone_does_no_harm(processes, monkeypatch, tmp_path):
    """It is gone when a worker wants to enter it, or when the map starts."""
    list(processes.map(abs, range(4)))
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "gone"))
    assert list(processes.map(abs, [-1, -2])) == [1, 2]

    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    assert list(processes.map(abs, [-1, -2])) == [1, 2]


@dataclass(frozen=True)
class Frozen(Exception):
    code: int

    def __reduce__(self):
        return Frozen, (self.code,)


def test_an_exception_that_refuses_assignment_is_raised(workers):
    def refuse(item):
        if item == 2:
            raise Frozen(1)
        return item

    results = workers.map(refuse, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(Frozen) as caught:
        next(results)
    assert "item 2 = 2" in str(caught.value.__cause__)


def test_an_error_keeps_no_part_of_its_map_alive(threads):
    """Its traceback would hold the results that nobody took, until a garbage collection."""

    class Result:
        pass

    made = weakref.WeakSet()

    def work(item):
        if not item:
            time.sleep(0.2)
            raise ValueError
        result = Result()
        made.add(result)
        return result

    gc.disable()
    try:
        with pytest.raises(ValueError):  # noqa: PT011
            list(threads.map(work, range(200), 1))
        assert not made
    finally:
        gc.enable()


def test_the_note_shows_the_item_and_not_its_result(processes):
    with pytest.raises(pickle.PicklingError) as caught:
        list(processes.map(lambda item: threading.Lock(), [3]))
    assert "item 0 = 3" in str(caught.value.__cause__)


class Unspeakable:
    """Has no repr and no text, and cannot be pickled."""

    def __call__(self, item):
        raise AssertionError

    def __repr__(self):
        raise OSError("no repr")

    def __reduce__(self):
        raise Speechless


class Speechless(Exception):
    def __str__(self):
        raise OSError("no words")


def test_errors_about_objects_without_a_repr_are_clear(processes):
    with pytest.raises(pickle.PicklingError, match="func"):
        processes.map(Unspeakable(), [1])
    with pytest.raises(pickle.PicklingError, match="item 1"):
        list(processes.map(id, [1, Unspeakable()]))
    with pytest.raises(TypeError, match="item 1 of starmap"):
        list(processes.starmap(pow, [(1, 2), Unspeakable()]))


def test_results_whose_sizeof_fails_are_returned(threads):
    class Sizeless:
        def __sizeof__(self):
            raise ValueError("no size")

    assert len(list(threads.map(lambda _: Sizeless(), range(3)))) == 3
