"""Arguments are checked where they are given: the documented error, and a sentence that helps."""

import pickle

import cloudpickle
import pytest

from phylozoo_parallel import (
    MultiprocessingExecutor,
    ParallelBackend,
    ParallelConfig,
    PhyloZooTypeError,
    PhyloZooValueError,
    SequentialExecutor,
    ThreadingExecutor,
)

pytestmark = pytest.mark.core

KINDS = [ThreadingExecutor, MultiprocessingExecutor]
NO_COUNTS = [
    (0, PhyloZooValueError),
    (-2, PhyloZooValueError),
    (-100, PhyloZooValueError),
    (True, PhyloZooTypeError),
    (False, PhyloZooTypeError),
    (2.5, PhyloZooTypeError),
    (2.0, PhyloZooTypeError),
    ("4", PhyloZooTypeError),
    ([2], PhyloZooTypeError),
]
NO_SIZES = [
    (0, PhyloZooValueError),
    (-1, PhyloZooValueError),
    (True, PhyloZooTypeError),
    (1.5, PhyloZooTypeError),
    ("2", PhyloZooTypeError),
]
METHODS = ["map", "starmap"]


class Unread:
    """An input that must not be read."""

    def __iter__(self):
        raise AssertionError("read before the arguments were checked")


def test_errors_are_also_the_built_in_classes():
    assert issubclass(PhyloZooValueError, ValueError)
    assert issubclass(PhyloZooTypeError, TypeError)


@pytest.mark.parametrize("error", [PhyloZooValueError("a", 1), PhyloZooTypeError("b")])
def test_errors_can_be_pickled(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.args == error.args


class TestBackend:
    @pytest.mark.parametrize("name", ["sequential", "threading", "multiprocessing"])
    def test_a_backend_is_given_by_name_or_member(self, name):
        member = ParallelBackend(name)
        assert ParallelConfig(name).backend is member
        assert ParallelConfig(member).backend is member

    @pytest.mark.parametrize("name", ["mpi", "", "Sequential", "loky", 5, None, [], object()])
    def test_an_unknown_backend_is_refused(self, name):
        with pytest.raises(PhyloZooValueError, match=r"seq.*threading.*multiproc") as e:
            ParallelConfig(backend=name)
        assert repr(name) in str(e.value)

    def test_the_default_backend_is_sequential(self):
        assert ParallelConfig().backend is ParallelBackend.SEQUENTIAL

    @pytest.mark.parametrize(
        ("backend", "kind"), [("threading", KINDS[0]), ("multiprocessing", KINDS[1])]
    )
    def test_a_backend_makes_its_executor(self, backend, kind):
        executor = ParallelConfig(backend, n_jobs=3).get_executor()
        assert type(executor) is kind
        assert executor.n_jobs == 3

    def test_the_sequential_backend_makes_its_executor(self):
        assert type(ParallelConfig().get_executor()) is SequentialExecutor


class TestWorkerCount:
    @pytest.mark.parametrize(("n_jobs", "error"), NO_COUNTS)
    @pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
    def test_a_config_refuses_a_wrong_worker_count(self, backend, n_jobs, error):
        with pytest.raises(error, match="n_jobs must be a positive integer, -1") as caught:
            ParallelConfig(backend=backend, n_jobs=n_jobs)
        assert repr(n_jobs) in str(caught.value)

    @pytest.mark.parametrize(("n_jobs", "error"), NO_COUNTS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_an_executor_refuses_a_wrong_worker_count(self, kind, n_jobs, error):
        with pytest.raises(error, match="n_jobs must be"):
            kind(n_jobs=n_jobs)

    @pytest.mark.parametrize("n_jobs", [0, -2, "4"])
    def test_sequential_ignores_the_worker_count(self, n_jobs):
        config = ParallelConfig(backend="sequential", n_jobs=n_jobs)
        assert list(config.get_executor().map(abs, [-1])) == [1]

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", ["int8", "int64", "uint16"])
    def test_a_worker_count_may_be_a_numpy_integer(self, kind, name):
        number = getattr(pytest.importorskip("numpy"), name)(2)
        assert kind(number).n_jobs == 2
        assert list(kind(number).map(abs, [-1], chunksize=number)) == [1]
        with pytest.raises(PhyloZooTypeError):
            kind(pytest.importorskip("numpy").float64(2))

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_worker_count_may_exceed_the_cores(self, kind):
        assert list(kind(5).map(abs, range(20))) == list(range(20))


class TestChunksize:
    @pytest.mark.parametrize(("chunksize", "error"), NO_SIZES)
    @pytest.mark.parametrize("method", METHODS)
    def test_a_call_refuses_a_wrong_chunksize(self, executor, method, chunksize, error):
        with pytest.raises(error, match="chunksize must be a positive integer or None") as caught:
            getattr(executor, method)(abs, [1], chunksize=chunksize)
        assert repr(chunksize) in str(caught.value)

    @pytest.mark.parametrize("second", [[3, 4], (3,), range(2), "ab", iter([3])], ids=type)
    def test_a_second_iterable_is_refused_with_advice(self, executor, second):
        with pytest.raises(PhyloZooTypeError, match=r"use starmap\(func, zip\(a, b\)\)$"):
            executor.map(pow, [1, 2], second)

    @pytest.mark.parametrize(("chunksize", "error"), NO_SIZES)
    @pytest.mark.parametrize("backend", list(ParallelBackend), ids=lambda member: member.value)
    def test_a_config_refuses_a_wrong_chunksize(self, backend, chunksize, error):
        with pytest.raises(error, match="chunksize must be"):
            ParallelConfig(backend=backend, chunksize=chunksize)

    @pytest.mark.parametrize(("chunksize", "error"), NO_SIZES)
    @pytest.mark.parametrize("kind", KINDS)
    def test_an_executor_refuses_a_wrong_chunksize(self, kind, chunksize, error):
        with pytest.raises(error, match="chunksize must be"):
            kind(chunksize=chunksize)


@pytest.mark.parametrize("method", METHODS)
class TestCall:
    @pytest.mark.parametrize("func", [None, 3, "abs", [abs]], ids=repr)
    def test_a_func_that_is_not_callable_is_refused(self, executor, method, func):
        with pytest.raises(PhyloZooTypeError, match="func must be callable") as caught:
            getattr(executor, method)(func, [1])
        assert repr(func) in str(caught.value)

    @pytest.mark.parametrize("iterable", [None, 5, abs, object], ids=repr)
    def test_an_iterable_that_cannot_be_iterated_is_refused(self, executor, method, iterable):
        with pytest.raises(PhyloZooTypeError, match="iterable must be iterable") as caught:
            getattr(executor, method)(abs, iterable)
        assert repr(iterable) in str(caught.value)

    def test_nothing_is_read_before_func_is_checked(self, executor, method):
        with pytest.raises(PhyloZooTypeError):
            getattr(executor, method)(None, Unread())

    def test_an_error_of_iter_is_raised_unchanged(self, executor, method):
        with pytest.raises(AssertionError, match="read before"):
            getattr(executor, method)(abs, Unread())


@pytest.mark.parametrize("chunksize", [None, 1, 2, 10])
def test_a_starmap_item_that_is_not_iterable_is_named(executor, chunksize):
    results = executor.starmap(pow, [(2, 3), (3, 2), 5, (1, 1)], chunksize)
    assert [next(results), next(results)] == [8, 9]
    with pytest.raises(PhyloZooTypeError, match=r"item 2 of starmap must be an iterable.*got 5"):
        next(results)
    assert list(results) == []


class TestAssignment:
    def test_an_assigned_attribute_is_used(self):
        config = ParallelConfig()
        config.backend = "threading"
        config.n_jobs = 3
        executor = config.get_executor()
        assert (type(executor), executor.n_jobs) == (ThreadingExecutor, 3)

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("backend", "mpi", PhyloZooValueError),
            ("n_jobs", 0, PhyloZooValueError),
            ("n_jobs", "4", PhyloZooTypeError),
            ("chunksize", 0, PhyloZooValueError),
            ("chunksize", 1.5, PhyloZooTypeError),
        ],
    )
    @pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
    def test_an_assigned_attribute_is_checked_when_used(self, backend, name, value, error):
        config = ParallelConfig(backend)
        setattr(config, name, value)
        with pytest.raises(error):
            config.get_executor()

    def test_assignment_does_not_change_existing_executors(self):
        config = ParallelConfig("threading", n_jobs=2)
        executor = config.get_executor()
        config.n_jobs = 3
        assert executor.n_jobs == 2


class TestIdentity:
    @pytest.mark.parametrize("make", [ParallelConfig, SequentialExecutor, *KINDS])
    def test_objects_are_equal_only_to_themselves(self, make):
        one, other = make(), make()
        assert one == one
        assert one != other
        assert len({one, other}) == 2

    @pytest.mark.parametrize("make", [SequentialExecutor, *KINDS])
    @pytest.mark.parametrize("name", ["_pool", "_executor"])
    def test_executors_have_no_attribute_that_libraries_would_shut_down(self, make, name):
        executor = make()
        list(executor.map(abs, [1]))
        assert not hasattr(executor, name)


@pytest.mark.parametrize("pickling", [pickle, cloudpickle])
class TestPickling:
    @pytest.mark.parametrize("backend", list(ParallelBackend), ids=lambda member: member.value)
    def test_configs_can_be_pickled(self, pickling, backend):
        config = ParallelConfig(backend, n_jobs=3, chunksize=7)
        copy = pickle.loads(pickling.dumps(config))
        assert (copy.backend, copy.n_jobs, copy.chunksize) == (backend, 3, 7)
        assert repr(copy) == repr(config)

    @pytest.mark.parametrize("make", [SequentialExecutor, *KINDS])
    def test_executors_can_be_pickled_after_use(self, pickling, make):
        executor = make()
        list(executor.map(abs, range(5)))
        copy = pickle.loads(pickling.dumps(executor))
        assert type(copy) is make
        assert list(copy.map(abs, range(5))) == list(range(5))

    @pytest.mark.parametrize("kind", KINDS)
    def test_settings_of_executors_survive_pickling(self, pickling, kind):
        copy = pickle.loads(pickling.dumps(kind(3, chunksize=7)))
        assert copy.n_jobs == 3
        assert vars(copy) == vars(kind(3, chunksize=7))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (ParallelConfig(), "ParallelConfig(backend=sequential, n_jobs=None, chunksize=None)"),
        (
            ParallelConfig("multiprocessing", 4),
            "ParallelConfig(backend=multiprocessing, n_jobs=4, chunksize=None)",
        ),
        (
            ParallelConfig(ParallelBackend.THREADING, chunksize=10),
            "ParallelConfig(backend=threading, n_jobs=None, chunksize=10)",
        ),
    ],
)
def test_repr_shows_what_the_user_chose(config, text):
    assert repr(config) == text


def test_a_chunksize_may_be_larger_than_any_input(executor):
    assert list(executor.map(abs, [-1, -2], 10**30)) == [1, 2]
