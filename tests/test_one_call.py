"""One call as a task: items meet the joblib that they would meet in a task of joblib's own."""

import pickle

import joblib
import pytest
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import BatchedCalls, get_active_backend

from phylozoo_parallel._loky.one_call import in_process, in_thread
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


@pytest.mark.parametrize("make", [in_process, in_thread])
def test_a_change_of_the_surrounding_settings_is_noticed(make):
    within = get_active_backend()[0].get_nested_backend()
    nested = pickle.dumps(within)
    call = pickle.loads(pickle.dumps(make(settings, (), nested)))
    theirs = BatchedCalls([(settings, (), {})], within)
    assert call() == theirs()
    with parallel_config(n_jobs=3, verbose=5):
        assert call() == theirs()
        assert call()[0]["verbose"] == 5
        assert Parallel().n_jobs == 3
    assert call() == theirs()
    assert call()[0]["verbose"] != 5
    with pytest.raises(ZeroDivisionError):
        make(divmod, (1, 0), nested)()
    assert get_active_backend()[0].nesting_level == 0


AT_THE_SAME_TIME = """
import threading
from joblib import Parallel, delayed
from phylozoo_parallel import ThreadingExecutor

inside, over = threading.Event(), threading.Event()

def waits(item):
    inside.set()
    assert over.wait(20)
    return -item

def has_its_own_parallel(item):
    if item:
        assert inside.wait(20)
    found = Parallel(n_jobs=2)(delayed(abs if item else waits)(x) for x in (-1, -2))
    if item:
        over.set()
    return found

print(list(ThreadingExecutor(2).map(has_its_own_parallel, range(2), 1)))
"""


def test_items_that_run_at_the_same_time_can_each_have_a_parallel(run_script):
    assert run_script(AT_THE_SAME_TIME).stdout == "[[1, 2], [1, 2]]\n"


LEAVES_ONE_OPEN = """
import time
from joblib import Parallel, delayed, parallel_config
from phylozoo_parallel import {executor}

open_ones = []

def same(x):
    time.sleep(0.02)
    return x

def leaves_one_open(item):
    {more}
    open_ones.append(Parallel(n_jobs=2, return_as="generator")(delayed(same)(x) for x in range(6)))
    return list(open_ones.pop(0)) if len(open_ones) > 1 else list(range(6))

found = list({executor}(1).map(leaves_one_open, range(8), {chunksize}))
print(found == [list(range(6))] * 8)
list(map(list, open_ones))
"""


@pytest.mark.parametrize("executor", ["ThreadingExecutor", "MultiprocessingExecutor"])
@pytest.mark.parametrize("chunksize", [1, 8])
@pytest.mark.parametrize("more", ["", "parallel_config(n_jobs=2)"])
def test_an_item_may_leave_a_parallel_open_while_the_next_ones_have_theirs(
    run_script, executor, chunksize, more
):
    code = LEAVES_ONE_OPEN.format(executor=executor, chunksize=chunksize, more=more)
    assert run_script(code).stdout == "True\n"


def test_joblibs_own_processes_and_threads_get_the_faster_task(processes):
    assert list(processes.map(abs, [-1]))  # the pool is open
    from phylozoo_parallel._engines import pools
    from phylozoo_parallel._loky import contract

    pool = pools.kept["processes"]
    assert not isinstance(pool.task((abs, (-1,))), contract.BatchedCalls)
    assert Opened.function(pool.task((abs, (-1,)))) is abs
    threads = Opened(contract.ThreadingBackend(nesting_level=0), 2)
    try:
        assert not isinstance(threads.task((abs, (-1,))), contract.BatchedCalls)
    finally:
        threads.close()
