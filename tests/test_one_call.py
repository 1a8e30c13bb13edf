"""One call as a task: items meet the joblib that they would meet in a task of joblib's own."""

import pickle

import joblib
import pytest
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import BatchedCalls, get_active_backend

from phylozoo_parallel._loky.one_call import one_call
from phylozoo_parallel._loky.opened import Opened
from phylozoo_parallel._loky.start import current

pytestmark = pytest.mark.core


def surroundings(_):
    """Return in what an item's own ``Parallel`` would run, and check that it does."""
    backend, n_jobs = get_active_backend()
    inner = Parallel(n_jobs=2)(delayed(abs)(x) for x in (-1, -2))
    return type(backend).__name__, backend.nesting_level, n_jobs, Parallel().n_jobs, inner


def deeper(item):
    """The same two levels further in."""
    return Parallel(n_jobs=2)(delayed(surroundings)(item) for _ in range(2))


def settings():
    config = dict(joblib.parallel._backend.config)
    return config | {"backend": (type(config["backend"]), config["backend"].nesting_level)}


def leaves_a_context(_):
    parallel_config(n_jobs=7, verbose=3)  # without `with`: it stays


@pytest.mark.parametrize("func", [surroundings, deeper])
def test_items_see_the_same_nested_context_as_in_joblib(processes, func):
    theirs = Parallel(n_jobs=2, backend="loky")(delayed(func)(item) for item in range(8))
    assert list(processes.map(func, range(8), 1)) == theirs


def test_a_context_left_by_an_item_does_not_reach_the_next(processes):
    before = list(processes.map(surroundings, range(4), 1))
    assert list(processes.map(leaves_a_context, range(8), 1)) == [None] * 8
    assert list(processes.map(surroundings, range(4), 1)) == before


def test_our_nested_context_does_not_reach_the_users_own_tasks(processes):
    outside = current().submit(surroundings, 0).result(60)
    assert set(processes.map(abs, range(8), 1)) == set(range(8))
    assert current().submit(surroundings, 0).result(60) == outside


def test_a_change_of_the_surrounding_settings_is_noticed():
    within = get_active_backend()[0].get_nested_backend()
    nested = pickle.dumps(within)
    call = pickle.loads(pickle.dumps(one_call(settings, (), nested)))
    theirs = BatchedCalls([(settings, (), {})], within)
    assert call() == theirs()
    with parallel_config(n_jobs=3, verbose=5):
        assert call() == theirs()
        assert call()[0]["verbose"] == 5
        assert Parallel().n_jobs == 3
    assert call() == theirs()
    assert call()[0]["verbose"] != 5
    with pytest.raises(ZeroDivisionError):
        one_call(divmod, (1, 0), nested)()
    assert get_active_backend()[0].nesting_level == 0


def test_only_loky_processes_get_the_faster_task(processes):
    assert list(processes.map(abs, [-1]))  # the pool is open
    from phylozoo_parallel._engines import pools
    from phylozoo_parallel._loky import contract

    pool = pools.kept["processes"]
    assert not isinstance(pool.task((abs, (-1,))), contract.BatchedCalls)
    assert Opened.function(pool.task((abs, (-1,)))) is abs
    threads = Opened(contract.ThreadingBackend(nesting_level=0), 2)
    try:
        assert isinstance(threads.task((abs, (-1,))), contract.BatchedCalls)
    finally:
        threads.close()
