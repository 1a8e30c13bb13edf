"""What a surrounding ``joblib.parallel_config`` decides, and what it does not."""

import itertools
import os
import threading
from multiprocessing.pool import ThreadPool

import joblib
import pytest
from joblib._parallel_backends import LokyBackend, ParallelBackendBase
from systems import no_guard

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig, ThreadingExecutor

pytestmark = pytest.mark.core

KINDS = [ThreadingExecutor, MultiprocessingExecutor]


def pid(_=None):
    return os.getpid()


class Recording(LokyBackend):
    """A backend of processes that is not joblib's own, and records what ran on it."""

    submitted = 0

    def submit(self, func, callback=None):
        type(self).submitted += 1
        return super().submit(func, callback)


class Unhurried(ParallelBackendBase):
    """A backend that only takes whole calls, so that joblib cannot stream from it."""

    submitted = 0

    def effective_n_jobs(self, n_jobs):
        return n_jobs

    def configure(self, n_jobs=1, parallel=None, **_):
        self.parallel = parallel
        self.pool = ThreadPool(n_jobs)
        return n_jobs

    def terminate(self):
        self.pool.terminate()

    def submit(self, func, callback=None):
        type(self).submitted += 1
        return self.pool.apply_async(func, callback=callback)


@pytest.fixture(params=[Recording, Unhurried])
def engine(request):
    """A registered backend, by the name "engine"."""
    request.param.submitted = 0
    joblib.register_parallel_backend("engine", request.param)
    yield request.param
    del joblib.parallel.BACKENDS["engine"]


class TestWorkerCount:
    @pytest.mark.parametrize(("kind", "expected"), [(KINDS[0], 1), (KINDS[1], joblib.cpu_count())])
    def test_default_counts_without_a_context(self, kind, expected):
        assert kind().n_jobs == expected

    @pytest.mark.parametrize("kind", KINDS)
    def test_minus_one_means_all_cores(self, kind):
        assert kind(-1).n_jobs == joblib.cpu_count()

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_worker_count_takes_the_contexts(self, kind):
        with joblib.parallel_config(n_jobs=3):
            assert kind().n_jobs == 3

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_executors_worker_count_beats_the_contexts(self, kind):
        with joblib.parallel_config(n_jobs=3):
            assert kind(2).n_jobs == 2
            assert kind(-1).n_jobs == joblib.cpu_count()

    @pytest.mark.parametrize("kind", KINDS)
    def test_n_jobs_is_resolved_when_read(self, kind):
        executor = kind()
        outside = executor.n_jobs
        for n_jobs in 2, 5:
            with joblib.parallel_config(n_jobs=n_jobs):
                assert executor.n_jobs == n_jobs
        assert executor.n_jobs == outside

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
    def test_a_context_of_any_backend_gives_the_worker_count(self, kind, backend):
        with joblib.parallel_config(backend=backend, n_jobs=3):
            assert kind().n_jobs == 3

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("n_jobs", [-1, -2, -100])
    def test_negative_counts_of_a_context_mean_what_joblib_means(self, kind, n_jobs):
        with joblib.parallel_config(n_jobs=n_jobs):
            assert kind().n_jobs == max(1, joblib.cpu_count() + 1 + n_jobs)

    @pytest.mark.parametrize("kind", KINDS)
    def test_zero_workers_of_a_context_are_refused(self, kind):
        with joblib.parallel_config(n_jobs=0), pytest.raises(ValueError, match="n_jobs"):
            list(kind().map(abs, [1]))

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_map_runs_on_as_many_workers_as_n_jobs_says(self, kind, tmp_path, wait_until):
        def meet(i):
            (tmp_path / str(i)).touch()
            wait_until(lambda: len(list(tmp_path.iterdir())) == 3)
            return i

        with joblib.parallel_config(n_jobs=3):
            assert list(kind().map(meet, range(3), 1)) == [0, 1, 2]


class TestChoiceOfEngine:
    @pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
    def test_hints_for_threads_do_not_move_processes(self, processes, pool_pids, backend):
        with joblib.parallel_config(backend=backend):
            assert os.getpid() not in set(processes.map(pid, range(9)))
            assert len(pool_pids()) == 2

    @pytest.mark.parametrize("backend", ["loky", "threading", "sequential", "multiprocessing"])
    def test_contexts_do_not_move_threads(self, threads, backend):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            places = set(threads.map(lambda _: (os.getpid(), threading.get_ident()), range(9)))
        assert {process for process, _ in places} == {os.getpid()}
        assert threading.get_ident() not in {thread for _, thread in places}

    def test_contexts_do_not_move_sequential_maps(self, sequential, engine):
        with joblib.parallel_config(backend="engine", n_jobs=2):
            assert set(sequential.map(pid, range(9))) == {os.getpid()}
        assert engine.submitted == 0

    @pytest.mark.parametrize("hint", [{"prefer": "threads"}, {"require": "sharedmem"}], ids=str)
    def test_hints_do_not_override_the_config(self, processes, hint):
        with joblib.parallel_config(**hint):
            assert os.getpid() not in set(processes.map(pid, range(9)))

    def test_a_registered_backend_runs_the_map(self, processes, engine):
        with joblib.parallel_config(backend="engine"):
            assert list(processes.map(lambda x: x + 1, range(20), 5)) == list(range(1, 21))
            assert list(processes.starmap(pow, [(2, 3), (3, 2)], 1)) == [8, 9]
        assert engine.submitted == 6

    def test_results_of_a_registered_backend_stream(self, processes, engine):
        with joblib.parallel_config(backend="engine"):
            results = processes.map(abs, itertools.count(), 10)
        assert list(itertools.islice(results, 100)) == list(range(100))
        assert 10 <= engine.submitted <= 20

    def test_errors_on_a_registered_backend_name_the_item(self, processes, engine):
        with joblib.parallel_config(backend="engine"):
            results = processes.map(lambda x: 1 // (3 - x), range(9), 2)
        assert [next(results) for _ in range(3)] == [0, 0, 1]
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert "item 3 = 3" in str(caught.value.__cause__)

    def test_two_maps_run_at_once_in_one_context(self, processes, engine):
        """Both maps get the very same backend object."""
        with joblib.parallel_config(backend="engine"):
            first = processes.map(abs, range(100), 5)
            assert next(first) == 0
            assert list(processes.map(abs, range(10), 5)) == list(range(10))
            assert list(first) == list(range(1, 100))

    def test_one_worker_on_a_registered_backend_is_still_a_worker(self, engine):
        with joblib.parallel_config(backend="engine"):
            assert list(MultiprocessingExecutor(1).map(abs, range(10), 5)) == list(range(10))
        assert engine.submitted == 2

    def test_the_context_of_the_call_and_not_of_the_loop_chooses(self, processes, engine):
        with joblib.parallel_config(backend="engine"):
            inside = processes.map(abs, range(100), 5)
        outside = processes.map(abs, range(100), 5)
        assert list(inside) == list(range(100))
        before = engine.submitted
        with joblib.parallel_config(backend="engine"):
            assert list(outside) == list(range(100))
        assert engine.submitted == before == 20

    @no_guard
    def test_the_multiprocessing_backend_of_joblib_runs_maps(self, run_script):
        done = run_script(
            """
            import itertools, os, warnings
            import joblib
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            executor = MultiprocessingExecutor(2)
            with joblib.parallel_config(backend="multiprocessing"):
                step = 3
                assert list(executor.map(lambda x: x * step, range(9))) == list(range(0, 27, 3))
                assert list(executor.starmap(pow, [(2, 3)] * 9, 2)) == [8] * 9
                assert os.getpid() not in set(executor.map(lambda _: os.getpid(), range(9)))
                endless = executor.map(abs, itertools.count())
                assert list(itertools.islice(endless, 1000)) == list(range(1000))
                del endless
                failing = executor.map(lambda x: 1 // (3 - x), range(9), 2)
                assert [next(failing) for _ in range(3)] == [0, 0, 1]
                try:
                    next(failing)
                except ZeroDivisionError as error:
                    assert "item 3 = 3" in str(error.__cause__)
                assert list(executor.map(abs, range(9))) == list(range(9))
            assert current() is None  # loky was not asked
            """
        )
        assert done.stderr == ""


class TestWhatReachesTheWorkers:
    @pytest.mark.parametrize("count", [1, 3])
    def test_inner_max_num_threads_reaches_the_workers(self, processes, count):
        with joblib.parallel_config(backend="loky", inner_max_num_threads=count):
            seen = set(processes.map(lambda _: os.environ["OMP_NUM_THREADS"], range(9)))
        assert seen == {str(count)}

    def test_an_initializer_runs_in_the_workers(self, processes):
        with joblib.parallel_config(
            backend="loky", initializer=lambda value: os.environ.update(STARTED=value), initargs="1"
        ):
            assert set(processes.map(lambda _: os.environ["STARTED"], range(9))) == {"1"}
        assert set(processes.map(lambda _: os.environ.get("STARTED"), range(9))) == {None}

    def test_maps_of_two_contexts_run_together(self, processes):
        first = processes.map(abs, itertools.count(), 2)
        assert next(first) == 0
        with joblib.parallel_config(backend="loky", inner_max_num_threads=5):
            second = processes.map(lambda x: (x, os.environ["OMP_NUM_THREADS"]), range(50), 2)
        for i in range(50):
            assert next(second) == (i, "5")
            assert next(first) == i + 1


@pytest.mark.parametrize("timeout", [None, 3])
def test_a_map_that_needs_other_workers_waits_alone(run_script, tmp_path, timeout):
    """joblib waits until the workers have run all their tasks, and lets nobody send any."""
    done = run_script(
        f"""
        import os, threading, time
        import joblib
        from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor

        def work(item):
            while item == 3 and not os.path.exists({str(tmp_path / "go")!r}):
                time.sleep(0.01)
            return item

        def other():
            with joblib.parallel_config(backend="loky", max_nbytes=1000):
                print(*MultiprocessingExecutor(2).map(abs, range(-4, 0)))

        executor = MultiprocessingExecutor(2, chunksize=1, timeout={timeout})
        results = executor.map(work, range(8))
        assert next(results) == 0
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.5)
        for kind in MultiprocessingExecutor, ThreadingExecutor:
            assert list(kind(2).map(abs, range(4))) == list(range(4))
        if {timeout} is None:
            open({str(tmp_path / "go")!r}, "w").close()
        try:
            print(*results)
        except TimeoutError:
            print("late")
        thread.join()
        """,
        timeout=30,
    )
    expected = "late" if timeout else "1 2 3 4 5 6 7"
    assert sorted(done.stdout.splitlines()) == sorted([expected, "4 3 2 1"])


def test_a_config_made_outside_follows_the_context_of_the_call():
    executor = ParallelConfig("multiprocessing").get_executor()
    with joblib.parallel_config(n_jobs=2):
        assert os.getpid() not in set(executor.map(pid, range(9)))
        assert executor.n_jobs == 2


@no_guard
def test_a_map_in_the_handler_of_a_signal_runs_while_a_whole_call_does(run_script):
    done = run_script(
        """
        import signal, time, warnings
        import joblib
        from phylozoo_parallel import MultiprocessingExecutor

        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
        executor = MultiprocessingExecutor(2)
        def work(item):
            time.sleep(0.1)
            return item
        def handler(*_):
            print("handler", list(executor.map(abs, range(-4, 0))))
        with joblib.parallel_config(backend="multiprocessing"):
            list(executor.map(abs, range(4)))
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            print(list(executor.map(work, range(12), 1)))
        """,
        timeout=30,
    )
    assert done.stdout == f"handler [4, 3, 2, 1]\n{list(range(12))}\n"


def test_two_threads_share_a_backend_that_takes_whole_calls():
    executor = MultiprocessingExecutor(2)
    right = []
    with joblib.parallel_config(backend="multiprocessing"):
        maps = [executor.map(abs, range(20), 1) for _ in range(2)]
    users = [
        threading.Thread(target=lambda one=one: right.append(list(one) == list(range(20))))
        for one in maps
    ]
    for user in users:
        user.start()
    for user in users:
        user.join(60)
    assert right == [True, True]
