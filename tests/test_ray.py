"""On Ray's workers: the same results, and nothing but messages."""

import functools
import itertools
import os
import sys
import time
from pathlib import Path

import joblib
import pytest
from environments import ROOT, page_script, run

import phylozoo_parallel
from phylozoo_parallel import ParallelConfig

ray = pytest.importorskip("ray")
np = pytest.importorskip("numpy")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory):
    from joblib.pool import PicklingPool
    from ray.util.joblib import register_ray

    bases = PicklingPool.__bases__  # Ray replaces them, for joblib's own multiprocessing, too
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or it leaves a token in the home directory
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # So that workers find this module: they have a path of their own.
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield
        ray.shutdown()
        PicklingPool.__bases__ = bases


@pytest.fixture
def executor():
    with joblib.parallel_config(backend="ray"):
        yield ParallelConfig("multiprocessing").get_executor()


def test_results_come_in_the_order_of_the_items(executor):
    step = 3
    assert list(executor.map(lambda x: x * step, range(500))) == list(range(0, 1500, 3))
    assert list(executor.starmap(pow, [(2, 3)] * 9, 2)) == [8] * 9


def test_no_worker_count_means_all_workers_of_ray(executor, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert executor.n_jobs == 2
    assert os.getpid() not in set(executor.map(lambda _: os.getpid(), range(9), 1))


def test_an_endless_input_can_be_left_early(executor):
    results = executor.map(lambda x: x * x, itertools.count())
    assert list(itertools.islice(results, 100)) == [x * x for x in range(100)]
    results.close()
    assert list(executor.map(abs, range(9))) == list(range(9))


def test_an_error_comes_after_the_results_before_it(executor):
    results = executor.map(lambda x: 12 // (5 - x), range(20), 2)
    assert list(itertools.islice(results, 5)) == [2, 3, 4, 6, 12]
    with pytest.raises(ZeroDivisionError) as raised:
        next(results)
    assert "item 5 = 5, in worker process" in str(raised.value.__cause__)


def test_arrays_arrive_writable(executor):
    captured = np.arange(1 << 20, dtype=float)

    def add(captured, item):
        item += captured
        return item

    items = [np.full(1 << 20, i, float) for i in range(4)]
    for i, result in enumerate(executor.map(functools.partial(add, captured), items)):
        np.testing.assert_array_equal(result, captured + i)


def test_workers_share_no_memory_with_the_caller(executor, tmp_path, monkeypatch):
    """They stay in their own directory, and large data goes in messages."""
    own = set(executor.map(lambda _: os.getcwd(), range(4), 1))
    monkeypatch.chdir(tmp_path)
    assert set(executor.map(lambda _: os.getcwd(), range(4), 1)) == own

    def opened_while_unpickled(item, captured):
        with open("/proc/self/maps") as maps:
            return "memfd:phylozoo-parallel" in maps.read()

    large = bytes(1 << 22)
    func = functools.partial(opened_while_unpickled, captured=[np.ones(1 << 20), large])
    assert set(executor.map(func, [large] * 4, 1)) == {False}


def test_the_example_of_the_page_runs(tmp_path):
    page_script(tmp_path, page=ROOT / "docs" / "clusters.md")
    done = run(
        [sys.executable, tmp_path / "on_ray.py"],
        tmp_path,
        [Path(phylozoo_parallel.__file__).parents[1]],
        variables={"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert done.stdout == "5050\n"


def test_a_profile_tells_of_rays_workers(executor):
    with phylozoo_parallel.profile() as run:
        list(executor.map(time.sleep, [0.02] * 20, 1))
    (one,) = run.maps
    assert one.engine == "RayBackend"
    assert sum(one.shares.values()) == pytest.approx(1)
    assert one.computing >= 20 * 0.02
    assert one.reached <= one.most <= one.workers == len(one.lanes) == 2
    assert str(os.getpid()) not in " ".join(lane.worker for lane in one.lanes).split()
