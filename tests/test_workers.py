"""Where items run, what they see there, and that the workers stay."""

import itertools
import math
import os
import shutil
import threading
import time
from importlib import import_module, invalidate_caches
from pathlib import Path

import joblib
import pytest
from systems import needs_posix, no_guard

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig, ThreadingExecutor

pytestmark = pytest.mark.core


def where(_=None):
    return os.getpid(), threading.get_ident()


def meet(directory, name, count):
    """Return once `count` items are running at the same time; fail if they never do."""
    (directory / str(name)).touch()
    end = time.monotonic() + 30
    while len(list(directory.iterdir())) < count:
        if time.monotonic() > end:
            raise TimeoutError("ran alone")
        time.sleep(0.005)
    return name


class TestOneWorkerIsStillAWorker:
    @pytest.mark.parametrize("chunksize", [None, 1, 3])
    def test_one_worker_process_runs_the_items(self, chunksize, pool_pids):
        pids = {pid for pid, _ in MultiprocessingExecutor(1).map(where, range(20), chunksize)}
        assert os.getpid() not in pids
        assert pids <= pool_pids()

    @pytest.mark.parametrize("chunksize", [None, 1, 3])
    def test_one_worker_thread_runs_the_items(self, chunksize):
        seen = set(ThreadingExecutor(1).map(where, range(20), chunksize))
        assert {pid for pid, _ in seen} == {os.getpid()}
        assert threading.get_ident() not in {thread for _, thread in seen}

    def test_sequential_maps_run_in_the_caller(self, sequential):
        assert set(sequential.map(where, range(5))) == {where()}


class TestHowManyAtOnce:
    @pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
    @pytest.mark.parametrize("n_jobs", [2, 3])
    def test_as_many_items_run_at_once_as_there_are_workers(self, backend, n_jobs, tmp_path):
        executor = ParallelConfig(backend, n_jobs=n_jobs).get_executor()
        results = executor.map(lambda i: meet(tmp_path, i, n_jobs), range(n_jobs))
        assert list(results) == list(range(n_jobs))

    @pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
    @pytest.mark.parametrize("n_jobs", [1, 2])
    def test_no_more_items_run_at_once_than_there_are_workers(self, backend, n_jobs, tmp_path):
        def crowd(i):
            mine = tmp_path / str(i)
            mine.touch()
            time.sleep(0.01)
            count = len(list(tmp_path.iterdir()))
            mine.unlink()
            return count

        executor = ParallelConfig(backend, n_jobs=n_jobs).get_executor()
        assert max(executor.map(crowd, range(30), 1)) <= n_jobs


class TestPlace:
    """The caller's directory and sys.path hold in workers that were started before."""

    @pytest.fixture(autouse=True)
    def _warm(self, workers):
        list(workers.map(abs, range(4)))

    def test_the_working_directory_reaches_the_workers(self, workers, tmp_path, monkeypatch):
        home = os.getcwd()
        monkeypatch.chdir(tmp_path)
        (tmp_path / "note").write_text("here")
        assert set(workers.map(lambda _: os.getcwd(), range(50), 1)) == {str(tmp_path)}
        assert set(workers.map(lambda _: Path("note").read_text(), range(4))) == {"here"}
        monkeypatch.chdir(home)
        assert set(workers.map(lambda _: os.getcwd(), range(50), 1)) == {home}

    def test_sys_path_reaches_the_workers(self, workers, tmp_path, monkeypatch):
        name = f"fresh_{os.getpid()}_{type(workers).__name__}"
        (tmp_path / f"{name}.py").write_text("def answer(x):\n    return x, 42\n")
        monkeypatch.syspath_prepend(tmp_path)
        invalidate_caches()
        assert list(workers.map(lambda _: import_module(name).answer(0), range(4))) == 4 * [(0, 42)]
        assert list(workers.map(import_module(name).answer, range(3))) == [
            (0, 42),
            (1, 42),
            (2, 42),
        ]

    def test_directory_and_path_are_those_of_each_map(self, processes, tmp_path, monkeypatch):
        places = [tmp_path / "a", tmp_path / "b"]
        maps = []
        for place in places:
            place.mkdir()
            monkeypatch.chdir(place)
            maps.append(processes.map(lambda _: os.getcwd(), range(20), 1))
        assert [set(results) for results in maps] == [{str(place)} for place in places]

    def test_a_directory_that_is_gone_does_no_harm(self, workers, tmp_path, monkeypatch):
        gone = tmp_path / "gone"
        gone.mkdir()
        with monkeypatch.context() as patch:
            patch.chdir(gone)
            shutil.rmtree(gone)
            assert list(workers.map(abs, [-1, -2])) == [1, 2]


NESTING = """
import itertools, os, sys, threading
from phylozoo_parallel import ParallelConfig

inner_backends = ["sequential", "threading", "multiprocessing"]
counts = [None, 1, 2, -1]

def here():
    return os.getpid(), threading.get_ident()

def inner(backend, n_jobs):
    executor = ParallelConfig(backend, n_jobs=n_jobs).get_executor()
    mine = here()
    results = list(executor.map(lambda x: (x * x, here()), range(5)))
    right = [value for value, _ in results] == [0, 1, 4, 9, 16]
    right &= list(executor.starmap(pow, [(2, 3)])) == [8]
    in_place = {place for _, place in results} == {mine}
    same_process = {pid for _, (pid, _) in results} == {mine[0]}
    return right, in_place, same_process

outer = ParallelConfig(sys.argv[1], n_jobs=2).get_executor()
cases = list(itertools.product(inner_backends, counts))
for case, outcome in zip(cases, outer.starmap(inner, cases, 1)):
    own_threads = case[0] == "threading" and case[1] and sys.argv[1] == "multiprocessing"
    expected = (True, not own_threads, True)
    assert outcome == expected, (case, outcome)

def three_deep(backend):
    middle = ParallelConfig(backend, n_jobs=2).get_executor()
    return list(middle.starmap(inner, cases))

for outcomes in outer.map(three_deep, inner_backends):
    assert all(right for right, _, _ in outcomes)
print("done")
"""


class TestNesting:
    @pytest.mark.parametrize("outer", ["sequential", "threading", "multiprocessing"])
    def test_a_map_inside_a_worker_runs_in_place(self, run_script, outer):
        """In every combination, without a warning; but a process gets threads that it asks for."""
        if outer == "sequential":
            script = NESTING.replace("assert outcome == expected", "assert outcome[0]")
        else:
            script = NESTING
        done = run_script(script, outer)
        assert (done.stdout, done.stderr) == ("done\n", "")

    @pytest.mark.parametrize(
        "backend",
        ["loky", "threading", pytest.param("multiprocessing", marks=no_guard), "sequential"],
    )
    def test_a_map_inside_the_users_own_parallel_runs_in_place(self, run_script, backend):
        code = """
            import os, sys
            from joblib import Parallel, delayed
            from phylozoo_parallel import ParallelConfig

            def nested(backend, n_jobs):
                executor = ParallelConfig(backend, n_jobs=n_jobs).get_executor()
                pids = set(executor.map(lambda _: os.getpid(), range(9)))
                assert list(executor.map(abs, range(9))) == list(range(9))
                return pids == {os.getpid()}

            cases = [(b, n) for b in ("threading", "multiprocessing") for n in (None, 2)]
            in_place = Parallel(n_jobs=2, backend=sys.argv[1])(delayed(nested)(*c) for c in cases)
            if sys.argv[1] != "sequential":
                assert all(in_place), in_place
            print("done")
            """
        done = run_script(code, backend)
        assert (done.stdout, done.stderr) == ("done\n", "")

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_a_map_inside_a_pool_of_multiprocessing_runs_in_place(self, run_script, method):
        code = """
            import multiprocessing, sys
            from phylozoo_parallel import ParallelConfig

            def nested(backend):
                executor = ParallelConfig(backend, n_jobs=2).get_executor()
                return list(executor.map(abs, range(-9, 0)))

            if __name__ == "__main__":
                pool = multiprocessing.get_context(sys.argv[1]).Pool(2)
                for results in pool.map(nested, ["threading", "multiprocessing"] * 2):
                    assert results == list(range(9, 0, -1))
                pool.close()
                pool.join()
                print("done")
            """
        done = run_script(code, method)
        assert (done.stdout, done.stderr) == ("done\n", "")

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_a_map_inside_a_process_of_multiprocessing_has_workers(self, run_script, method):
        """The process is not a daemon: it may have workers, which end with it."""
        code = """
            import multiprocessing, sys, time
            from phylozoo_parallel import ParallelConfig

            def nested(queue, backend):
                executor = ParallelConfig(backend, n_jobs=2).get_executor()
                list(executor.map(time.sleep, [0.2] * 20, 1))  # all its workers are up
                queue.put(list(executor.map(abs, range(-9, 0))))

            if __name__ == "__main__":
                context = multiprocessing.get_context(sys.argv[1])
                for backend in "threading", "multiprocessing":
                    queue = context.SimpleQueue()
                    process = context.Process(target=nested, args=(queue, backend))
                    process.start()
                    assert queue.get() == list(range(9, 0, -1))
                    process.join(20)
                    if process.exitcode is None:
                        process.kill()
                    assert process.exitcode == 0, (backend, process.exitcode)
            """
        run_script(code, method)

    def test_a_map_inside_a_thread_of_the_user_has_workers(self, processes):
        """The thread is not a worker, so its map gets the worker processes."""
        results = []
        thread = threading.Thread(target=lambda: results.extend(processes.map(where, range(9))))
        thread.start()
        thread.join(60)
        assert len(results) == 9
        assert os.getpid() not in {pid for pid, _ in results}


class TestFreshCode:
    def test_functions_of_the_same_name_are_told_apart(self, processes):
        for version in range(3):

            def answer(x, version=version):
                return version, x

            assert list(processes.map(answer, range(4))) == [(version, x) for x in range(4)]

    def test_maps_that_take_turns_use_their_own_functions(self, processes):
        maps = [processes.map(lambda x, n=n: (n, x), itertools.count(), 2) for n in range(8)]
        for x in range(20):
            assert [next(results) for results in maps] == [(n, x) for n in range(8)]

    def test_a_function_redefined_in_main_counts_at_the_next_map(self, run_script):
        done = run_script(
            """
            from phylozoo_parallel import ParallelConfig
            executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()

            factor = 2
            class Tree:
                def size(self): return 1
            def answer(x): return x * factor + helper(x) + Tree().size()
            def helper(x): return 100

            print(list(executor.map(answer, range(3))))
            factor = 3
            print(list(executor.map(answer, range(3))))
            def helper(x): return 200
            print(list(executor.map(answer, range(3))))
            Tree.size = lambda self: 7
            print(list(executor.map(answer, range(3))))
            class Tree:
                def size(self): return 5
            print(list(executor.map(answer, range(3))))
            def answer(x): return -x
            print(list(executor.map(answer, range(3))))
            """
        )
        assert done.stdout.splitlines() == [
            "[101, 103, 105]",
            "[101, 104, 107]",
            "[201, 204, 207]",
            "[207, 210, 213]",
            "[205, 208, 211]",
            "[0, -1, -2]",
        ]

    def test_an_object_changed_between_two_maps_is_sent_anew(self, processes):
        class Model:
            rate = 1

            def step(self, x):
                return self.rate * x

        model = Model()
        assert list(processes.map(model.step, range(3))) == [0, 1, 2]
        model.rate = 5
        assert list(processes.map(model.step, range(3))) == [0, 5, 10]


def ours(n_jobs=2):
    return set(MultiprocessingExecutor(n_jobs).map(lambda _: os.getpid(), range(20), 1))


def theirs(n_jobs=2):
    return set(joblib.Parallel(n_jobs)(joblib.delayed(os.getpid)() for _ in range(20)))


class TestOnePool:
    """Process maps and the user's own ``joblib.Parallel`` share their workers."""

    @pytest.mark.parametrize("order", [*itertools.product([ours, theirs], repeat=3)])
    def test_the_users_parallel_shares_our_workers_in_any_order(self, order, pool_pids):
        assert len(order[0]() | order[0]()) <= 2
        before = pool_pids()
        assert len(before) == 2
        for run in order:
            assert run() <= before
            assert pool_pids() == before

    @pytest.mark.parametrize("order", [(ours, theirs), (theirs, ours)], ids=["ours", "theirs"])
    def test_maps_and_the_users_parallel_may_start_the_workers(self, run_script, order):
        """With warnings as errors, in a program of its own."""
        names = [run.__name__ for run in order]
        done = run_script(
            """
            import os, sys, warnings
            import joblib
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor
            warnings.simplefilter("error")

            def ours():
                return set(MultiprocessingExecutor(2).map(lambda _: os.getpid(), range(20), 1))
            def theirs():
                return set(joblib.Parallel(2)(joblib.delayed(os.getpid)() for _ in range(20)))

            seen = set()
            for name in sys.argv[1:] * 3:
                seen |= globals()[name]()
                pids = set(current()._processes)
                assert seen <= pids and len(pids) == 2, (name, seen, pids)
            """,
            *names,
        )
        assert done.stderr == ""

    def test_maps_and_the_users_parallel_resize_the_pool(self, pool_pids):
        for n_jobs in 2, 3, 2:
            assert os.getpid() not in ours(n_jobs) | theirs(n_jobs)
            assert len(pool_pids()) == n_jobs

    def test_the_users_parallel_runs_while_a_map_is_alive(self, processes, pool_pids):
        results = processes.map(abs, itertools.count(), 2)
        next(results)
        before = pool_pids()
        for i in range(1, 20):
            assert theirs() <= before
            assert next(results) == i
        assert pool_pids() == before

    def test_a_map_runs_while_a_generator_of_joblib_is_alive(self, processes):
        generator = joblib.Parallel(2, return_as="generator")(
            joblib.delayed(math.sqrt)(i * i) for i in range(200)
        )
        for i in range(100):
            assert next(generator) == i
            assert list(processes.map(abs, [i])) == [i]
        assert list(generator) == list(range(100, 200))

    def test_the_users_parallel_takes_large_arrays_beside_maps(self, processes):
        """joblib passes them as memory maps, in a folder of its own."""
        numpy = pytest.importorskip("numpy")
        arrays = [numpy.full(300_000, i, dtype=float) for i in range(3)]
        results = processes.map(numpy.mean, itertools.cycle(arrays), 1)
        for i in range(3):
            calls = (joblib.delayed(numpy.mean)(array) for array in arrays)
            assert joblib.Parallel(2)(calls) == [0, 1, 2]
            assert list(processes.map(numpy.mean, arrays)) == [0, 1, 2]
            assert next(results) == i


@needs_posix("signals to block")
def test_workers_that_start_again_ignore_interrupts(run_script):
    """Workers end after some idle time, and the next map starts new ones."""
    run_script(
        """
        import joblib, signal, time
        from phylozoo_parallel._loky.start import current
        from phylozoo_parallel import MultiprocessingExecutor

        def blocked(item):
            time.sleep(0.1)
            return tuple(signal.pthread_sigmask(signal.SIG_BLOCK, []))

        with joblib.parallel_config("loky", idle_worker_timeout=1):
            for _ in range(2):
                found = set(MultiprocessingExecutor(2).map(blocked, range(4), chunksize=1))
                assert found == {(signal.SIGINT,)}, found
                while current()._processes:
                    time.sleep(0.05)
        """
    )
