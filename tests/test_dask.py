"""On a Dask cluster of processes of its own: the same results, and nothing but messages."""

import decimal
import functools
import importlib.metadata
import itertools
import logging
import os
import platform
import signal
import sys
import threading
import time
import warnings
import weakref
from pathlib import Path

import joblib
import pytest
from environments import ROOT, page_script, run

import phylozoo_parallel
from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig
from phylozoo_parallel._loky import dask

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")
psutil = pytest.importorskip("psutil")

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def connected(cluster):
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def client(connected, cluster, wait_until):
    """Start each test with two workers that have no task and no result."""
    connected.wait_for_workers(2, timeout=60)
    wait_until(lambda: not cluster.scheduler.tasks)
    wait_until(lambda: not any(connected.run(held).values()))
    return connected


def held(dask_worker):
    """Return the chunks that a worker has, and what it does with them."""
    tasks = dask_worker.state.tasks
    return [(key, task.state) for key, task in tasks.items() if key.startswith("batch")]


@pytest.fixture
def executor(client):
    """An executor as users have it, within Dask's context."""
    with joblib.parallel_config(backend="dask"):
        yield ParallelConfig("multiprocessing").get_executor()


def of_the_cluster(client):
    return set(client.run(os.getpid).values())


class Tasks(distributed.SchedulerPlugin):
    """Counts the tasks that a cluster finishes."""

    name = "tasks"

    def __init__(self):
        self.finished = 0

    def transition(self, key, start, finish, *args, **kwargs):
        self.finished += (start, finish) == ("processing", "memory")


class TestResults:
    def test_results_come_from_the_clusters_workers(self, executor, client):
        assert set(executor.map(lambda _: os.getpid(), range(40), 1)) <= of_the_cluster(client)

    @pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
    @pytest.mark.parametrize("count", [0, 1, 2, 100])
    def test_results_equal_the_sequential_ones(self, executor, sequential, count, chunksize):
        pairs = [(i, i % 3) for i in range(count)]
        assert list(executor.map(str, pairs, chunksize)) == list(sequential.map(str, pairs))
        assert list(executor.starmap(pow, pairs, chunksize)) == list(sequential.starmap(pow, pairs))

    def test_results_keep_the_order_of_the_items(self, executor):
        naps = [0.1, 0.0, 0.05, 0.0, 0.03, 0.0]
        assert list(executor.map(lambda nap: (time.sleep(nap), nap)[1], naps, 1)) == naps

    def test_unordered_results_come_as_they_are_ready(self, executor):
        results = list(executor.map_unordered(lambda nap: (time.sleep(nap), nap)[1], [0.5, 0.0], 1))
        assert results == [0.0, 0.5]

    def test_closures_and_classes_of_the_caller_travel(self, executor):
        class Shifted:
            def __init__(self, value):
                self.value = value

            def __eq__(self, other):
                return self.value == other.value

        shift = 3
        results = list(executor.map(lambda x: Shifted(x + shift), range(10)))
        assert results == [Shifted(x + 3) for x in range(10)]

    def test_two_maps_are_read_in_turn(self, executor):
        one = executor.map(lambda x: x + 1, itertools.count(), 2)
        other = executor.map(lambda x: x * 2, itertools.count(), 3)
        assert [(next(one), next(other)) for _ in range(30)] == [(x + 1, x * 2) for x in range(30)]

    def test_maps_run_in_several_threads(self, client):
        right = []

        def run(step):
            with joblib.parallel_config(backend="dask"):
                results = list(MultiprocessingExecutor().map(lambda x: x * step, range(50), 5))
            right.append(results == [x * step for x in range(50)])

        threads = [threading.Thread(target=run, args=(step,)) for step in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert right == [True] * 4

    def test_a_map_inside_an_item_runs_in_place(self, executor):
        def outer(x):
            inner = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
            here = threading.get_ident()
            places = set(inner.map(lambda _: (os.getpid(), threading.get_ident()), range(5)))
            return x, places == {(os.getpid(), here)}

        assert list(executor.map(outer, range(4))) == [(x, True) for x in range(4)]

    def test_maps_outside_the_context_run_on_this_machine(self, client, processes):
        assert not set(processes.map(lambda _: os.getpid(), range(9))) & of_the_cluster(client)


class TestHowMany:
    def test_no_worker_count_means_all_workers_of_the_cluster(
        self, executor, monkeypatch, tmp_path, wait_until
    ):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # what this machine has does not matter

        def meet(i):
            (tmp_path / str(i)).touch()
            wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
            return i

        assert executor.n_jobs == 2
        assert list(executor.map(meet, range(2), 1)) == [0, 1]

    def test_quick_items_share_a_task(self, executor, client, cluster):
        tasks = Tasks()
        cluster.scheduler.add_plugin(tasks)
        try:
            assert list(executor.map(abs, range(20_000))) == list(range(20_000))
        finally:
            cluster.scheduler.remove_plugin(tasks.name)
        assert 0 < tasks.finished < 200


class TestInput:
    def test_an_input_may_be_endless(self, executor):
        results = executor.map(lambda x: x * x, itertools.count())
        assert list(itertools.islice(results, 2000)) == [x * x for x in range(2000)]

    def test_the_input_is_read_in_the_callers_thread_and_a_little_ahead(self, executor):
        threads = set()
        read = []

        def items():
            for i in itertools.count():
                threads.add(threading.get_ident())
                read.append(i)
                yield i

        results = executor.map(abs, items(), 3)
        for i in range(50):
            assert next(results) == i
        assert 50 <= len(read) < 1000
        assert threads == {threading.get_ident()}


class AllBut:
    """Finds everything but a package."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def hide(version, package="phylozoo_parallel"):
    """Make a worker's installation look like another version, or like none."""
    import sys

    if version is None:
        its = [name for name in sys.modules if name.partition(".")[0] == package]
        sys.hidden = {name: sys.modules.pop(name) for name in its}
        sys.meta_path.insert(0, AllBut(package))
    else:
        from phylozoo_parallel._worker import version as installed

        sys.hidden = installed.own
        installed.own = lambda: version


def bring_back():
    import sys

    if isinstance(sys.hidden, dict):
        del sys.meta_path[0]
        sys.modules.update(sys.hidden)
    else:
        sys.modules["phylozoo_parallel._worker.version"].own = sys.hidden
    del sys.hidden


class TestOtherInstallations:
    @pytest.mark.parametrize("version", [None, "0.0.7"])
    @pytest.mark.parametrize("size", [0, 2 * MEGABYTE])
    def test_workers_with_another_version_are_named(self, executor, client, version, size):
        ballast = bytes(size)
        client.run(hide, version)
        try:
            with pytest.raises(ImportError) as caught:
                list(executor.map(lambda x: x + len(ballast), range(9)))
        finally:
            client.run(bring_back)
        told = str(caught.value)
        mine = importlib.metadata.version("phylozoo-parallel")
        assert f"has phylozoo-parallel {version or 'none'}, and" in told
        assert f"started the map {mine};" in told
        assert platform.node() in told
        assert list(executor.map(abs, range(9))) == list(range(9))

    def test_without_joblib_are_named_before_anything_is_sent(self, executor, client, monkeypatch):
        """A worker that cannot read a task closes, and the last one leaves the map to wait."""
        monkeypatch.setattr(dask, "_able", weakref.WeakKeyDictionary())
        first = min(client.ncores())
        client.run(hide, None, "joblib", workers=[first])
        try:
            with pytest.raises(ImportError) as caught:
                list(executor.map(abs, range(9)))
        finally:
            client.run(bring_back, workers=[first])
        assert list(executor.map(abs, range(9))) == list(range(9))
        assert f"the Dask worker at {first} cannot" in str(caught.value)
        assert "No module named 'joblib'" in str(caught.value)


class TestSettings:
    def test_settings_of_numbers_and_warnings_travel(self, executor):
        with decimal.localcontext() as context, warnings.catch_warnings():
            context.prec = 4
            warnings.filterwarnings("ignore", "odd")

            def warn(x):
                return (warnings.warn("odd", stacklevel=1), str(decimal.Decimal(1) / x))[1]

            assert set(executor.map(warn, [3] * 20, 1)) == {"0.3333"}
        with pytest.raises(UserWarning, match="odd"):
            list(executor.map(lambda x: warnings.warn("odd", stacklevel=1), range(3)))
        assert set(executor.map(lambda x: decimal.getcontext().prec, range(9), 1)) == {28}

    def test_log_levels_and_records_travel(self, executor, caplog):
        """Dask's own records stay with its workers."""
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.INFO, "tests.dask")

        def work(item):
            logging.getLogger("tests.dask").info("item %d", item)
            logging.getLogger("tests.dask").debug("too much")

        list(executor.map(work, range(20), 3))
        found = [it for it in caplog.records if it.process != os.getpid()]
        assert sorted(int(it.getMessage().split()[1]) for it in found) == list(range(20))
        assert {it.levelname for it in found} == {"INFO"}

    def test_several_chunks_in_one_worker_keep_their_logs_and_settings_apart(self, wait_until):
        """Each record comes once, and the worker is as before when the last is done."""

        def work(item):
            for step in range(3):
                logging.getLogger("tests.dask").info("%d %d", item, step)
                time.sleep(0.001)
            return sys.getrecursionlimit()

        def left():
            return warnings.showwarning.__module__, logging.root.level

        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=4, processes=True, dashboard_address=":0"
            ) as cluster,
            distributed.Client(cluster) as client,
            joblib.parallel_config(backend="dask"),
        ):
            before = client.run(left)
            heard = Heard()
            logging.root.addHandler(heard)
            level = logging.root.level
            logging.root.setLevel(logging.INFO)
            try:
                list(MultiprocessingExecutor(4).map(work, range(40), 1))
            finally:
                logging.root.setLevel(level)
                logging.root.removeHandler(heard)
            assert sorted(it for it in heard.texts if it[0].isdigit()) == sorted(
                f"{item} {step}" for item in range(40) for step in range(3)
            )
            wait_until(lambda: client.run(left) == before)


class Heard(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


class TestErrors:
    @pytest.mark.parametrize("chunksize", [1, 4, None])
    def test_errors_come_after_the_results_before_them(
        self, executor, cluster, wait_until, chunksize
    ):
        results = executor.map(lambda x: 12 // (5 - x), range(20), chunksize)
        assert list(itertools.islice(results, 5)) == [2, 3, 4, 6, 12]
        with pytest.raises(ZeroDivisionError) as raised:
            next(results)
        wait_until(lambda: not cluster.scheduler.tasks)  # nor does the traceback keep any
        assert "item 5 = 5, in worker process" in str(raised.value.__cause__)
        assert list(executor.map(abs, range(9))) == list(range(9))

    def test_items_and_results_that_cannot_be_pickled_are_named(self, executor):
        with pytest.raises(Exception, match="item 2 could not be pickled"):
            list(executor.map(str, [0, 1, threading.Lock()], 1))
        with pytest.raises(Exception, match="item 1 could not be pickled"):
            list(executor.map(lambda x: threading.Lock() if x == 1 else x, range(3), 1))

    def test_a_worker_that_is_killed_loses_nothing(self, executor, client, tmp_path, wait_until):
        """Dask runs its tasks again, elsewhere."""

        def work(i):
            time.sleep(0.01)
            return i, os.getpid()

        victim = min(of_the_cluster(client))
        results = executor.map(work, range(400), 4)
        taken = []
        while victim not in {pid for _, pid in taken}:
            taken.append(next(results))
        assert len(taken) < 400
        os.kill(victim, signal.SIGKILL)
        taken += results
        assert [i for i, _ in taken] == list(range(400))

    def test_an_item_that_kills_every_worker_ends_the_map(self, executor, client, cluster):
        cluster.scheduler.allowed_failures = 0
        try:
            with pytest.raises(distributed.KilledWorker):
                list(executor.map(lambda x: os._exit(1) if x == 1 else x, range(3), 1))
        finally:
            cluster.scheduler.allowed_failures = 3
        client.wait_for_workers(2, timeout=60)
        assert list(executor.map(abs, range(9))) == list(range(9))


class TestStopping:
    @pytest.mark.parametrize("how", ["close", "drop", "error"])
    def test_closing_cancels_tasks_that_have_not_begun(
        self, executor, client, cluster, tmp_path, wait_until, how
    ):
        def work(i):
            (tmp_path / str(i)).touch()
            if how == "error" and i == 1:
                raise ValueError
            if i > 1:
                wait_until((tmp_path / "go").exists, 60)
            return i

        results = executor.map(work, itertools.count(), 1)
        assert next(results) == 0
        if how == "error":
            with pytest.raises(ValueError):  # noqa: PT011
                next(results)
        else:
            assert next(results) == 1
            wait_until(lambda: len(os.listdir(tmp_path)) == 4)
        if how == "close":
            results.close()
        else:
            del results
        try:
            wait_until(lambda: not cluster.scheduler.tasks)
            time.sleep(0.5)  # workers hear of it a little later
            # What runs goes on.
            wait_until(lambda: max(map(len, client.run(held).values())) <= 1)
            begun = set(os.listdir(tmp_path))
            assert len(begun) <= 4
        finally:
            (tmp_path / "go").touch()
        assert list(executor.map(abs, range(9))) == list(range(9))
        assert set(os.listdir(tmp_path)) == begun | {"go"}


opened = []
"""In a worker: the paths that it opened, from when it was asked to note them."""


def note_opened():
    def hook(event, arguments):
        if event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)


class TestNothingIsShared:
    """A cluster's workers are on other machines, with another /proc and other directories."""

    def test_large_data_travels_in_messages(self, executor, client):
        client.run(note_opened)
        captured = np.arange(MEGABYTE, dtype=float)
        items = [np.full(MEGABYTE, i, float) for i in range(4)]

        def add(captured, item):
            item += captured  # what arrives is writable
            return item

        for i, result in enumerate(executor.map(functools.partial(add, captured), items)):
            np.testing.assert_array_equal(result, captured + i)
            result[0] = 7
        assert not any(items[0])
        paths = list(itertools.chain.from_iterable(client.run(lambda: opened).values()))
        assert not [path for path in paths if "/fd/" in path or "memfd" in path]

    def test_workers_stay_in_their_own_directory(self, executor, client, tmp_path, monkeypatch):
        before = client.run(lambda: (os.getcwd(), sys.path))
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        assert str(tmp_path) not in set(executor.map(lambda _: os.getcwd(), range(9)))
        assert client.run(lambda: (os.getcwd(), sys.path)) == before

    def test_large_captured_data_travels_once(self, executor):
        """And not with every chunk: the cluster passes it on."""
        captured = os.urandom(8 * MEGABYTE)
        before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
        func = functools.partial(lambda captured, i: captured[i], captured)
        assert list(executor.map(func, range(60), 1)) == list(captured[:60])
        sent = psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before
        assert sent < 20 * len(captured)


class TestThePage:
    """The programs of docs/clusters.md."""

    @pytest.fixture
    def program(self, tmp_path):
        page_script(tmp_path, page=ROOT / "docs" / "clusters.md")
        ours = Path(phylozoo_parallel.__file__).parents[1]

        def start(name, **variables):
            return run([sys.executable, tmp_path / name], tmp_path, [ours, tmp_path], 0, variables)

        return start

    def test_the_pages_example_on_a_laptop_runs(self, program):
        done = program("laptop.py")
        assert done.stdout == "2 workers\n21066\n"

    def test_the_pages_example_on_slurm_runs(self, program, tmp_path):
        """With an sbatch that starts the job at once, on this machine."""
        pytest.importorskip("dask_jobqueue")
        for name, script in {
            "sbatch": 'job=$(cat "$1")\nsetsid sh -c "$job" >/dev/null 2>&1 &\n'
            'echo "Submitted batch job $!"',
            "scancel": 'for job; do kill -- "-$job"; done',
        }.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        done = program("slurm.py", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        assert done.stdout == "4 workers\n21066\n"


def test_maps_that_are_left_early_leave_nothing_in_the_cluster(
    executor, client, cluster, wait_until
):
    """joblib's collectors of results get in one another's way where one is left behind."""
    for _ in range(40):
        with pytest.raises(ZeroDivisionError):
            list(executor.map(lambda item: 1 // (5 - item), range(40)))
        next(executor.map(abs, range(1000), 1))
        assert list(executor.map(abs, range(20))) == list(range(20))
        wait_until(lambda: not cluster.scheduler.tasks)


def test_a_profile_tells_of_the_clusters_workers(executor, client):
    with phylozoo_parallel.profile() as run:
        list(executor.map(time.sleep, [0.02] * 20, 1))
        assert [len(it) for it in executor.map(bytes, [100_000] * 4, 1)] == [100_000] * 4
    first, second = run.maps
    assert first.engine == "DaskDistributedBackend"
    for one in run.maps:
        assert sum(one.shares.values()) == pytest.approx(1)
        assert one.reached <= one.most <= one.workers == len(one.lanes) == 2
    of_cluster = of_the_cluster(client)
    assert {int(lane.worker.split()[1]) for lane in first.lanes} == of_cluster
    assert first.computing >= 20 * 0.02
    assert second.bytes_back >= 400_000
    for row in first.record.rows:  # one machine, one clock
        assert row.packing <= row.sent <= row.times.began <= row.times.ended <= row.arrived
    trips = run.to_dict()["maps"][0]["rows"]
    assert all(trip["bytes_out"] > 0 for trip in trips)
