"""Maps beside maps, inside maps and in unusual places: right results or one clear error."""

import itertools
import os
import re
import threading
import time

import pytest

from phylozoo_parallel import (
    MultiprocessingExecutor,
    ParallelConfig,
    ThreadingExecutor,
    WorkerLostError,
)

PARALLEL = ["threading", "multiprocessing"]


def at_once(*jobs):
    """Run jobs in threads of their own; return what each returned."""
    barrier, results = threading.Barrier(len(jobs)), {}

    def run(number, job):
        barrier.wait()
        results[number] = job()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(jobs))]  # KeyError: that one raised


def many_maps(executor, number, count=50):
    """Run maps of several sizes; return the sizes of those that went wrong."""

    def wrong(size):
        results = executor.map(lambda x: (number, size, -x), range(size))
        return list(results) != [(number, size, -x) for x in range(size)]

    return [
        size for size in itertools.islice(itertools.cycle([0, 1, 2, 7, 40]), count) if wrong(size)
    ]


class TestThreads:
    def test_many_threads_run_fifty_maps_each_on_one_executor(self, workers):
        assert at_once(*[lambda n=n: many_maps(workers, n) for n in range(8)]) == 8 * [[]]

    @pytest.mark.parametrize("backend", PARALLEL)
    def test_many_threads_run_fifty_maps_each_on_their_own_executors(self, backend):
        executors = [ParallelConfig(backend, n_jobs=1 + n % 4).get_executor() for n in range(8)]
        jobs = [lambda n=n, one=one: many_maps(one, n) for n, one in enumerate(executors)]
        assert at_once(*jobs) == 8 * [[]]

    def test_threads_and_processes_run_maps_at_once(self, threads, processes):
        jobs = [lambda n=n, one=[threads, processes][n % 2]: many_maps(one, n) for n in range(8)]
        assert at_once(*jobs) == 8 * [[]]

    def test_results_may_be_read_by_several_threads_in_turn(self, workers):
        """The map is started in one thread and read in others, one after the other."""
        results = workers.map(lambda x: -x, range(300), 7)
        read = []
        for _ in range(10):
            at_once(lambda: read.extend(itertools.islice(results, 30)))
        assert read == [-x for x in range(300)]

    def test_results_may_be_read_by_several_threads_at_once(self, workers):
        for _ in range(5):
            results, read = workers.map(abs, range(200), 10), []

            def take(results=results, read=read):
                for result in results:
                    read.append(result)
                    time.sleep(1e-4)  # other threads read on

            at_once(*[take] * 3)
            assert sorted(read) == list(range(200))


class TestInterleaved:
    def test_two_maps_of_one_executor_are_read_in_turn(self, workers):
        pairs = zip(
            workers.map(lambda x: -x, range(500)), workers.map(str, itertools.count()), strict=False
        )
        assert list(pairs) == [(-x, str(x)) for x in range(500)]

    def test_the_results_of_one_map_are_the_input_of_another(self, workers):
        doubled = workers.map(lambda x: 2 * x, workers.map(lambda x: x + 1, range(500)))
        assert list(doubled) == [2 * (x + 1) for x in range(500)]

    def test_maps_of_both_backends_are_read_in_turn(self, threads, processes):
        chain = threads.map(lambda x: -x, processes.map(lambda x: x + 1, range(300)))
        pairs = zip(chain, processes.starmap(pow, ((x, 2) for x in range(300)), 3), strict=True)
        assert list(pairs) == [(-(x + 1), x * x) for x in range(300)]

    def test_a_map_that_fails_leaves_another_alone(self, workers):
        good, bad = (
            workers.map(abs, range(100), 1),
            workers.map(lambda x: 1 // (5 - x), range(9), 1),
        )
        pairs, read = zip(good, bad, strict=True), []
        with pytest.raises(ZeroDivisionError):
            read.extend(pair for pair in pairs)
        assert read == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1)]
        assert next(good) == 6  # zip had taken the one before
        assert list(good) == list(range(7, 100))


DEEP = """
import itertools, os, sys, warnings
from phylozoo_parallel import ParallelConfig
warnings.simplefilter("error")

def level(backends, n_jobs, x):
    if not backends:
        return [(x, os.getpid())]
    executor = ParallelConfig(backends[0], n_jobs=n_jobs).get_executor()
    inner = executor.map(lambda y: level(backends[1:], n_jobs, 3 * x + y), range(3))
    return [one for found in inner for one in found]

def main(n_jobs):
    for backends in itertools.product(["threading", "multiprocessing"], repeat=3):
        found = level(backends, n_jobs, 0)
        assert [x for x, _ in found] == list(range(27)), (backends, found)
        pids = {pid for _, pid in found}
        # A map inside a worker stays in its process.
        assert (os.getpid() not in pids) == (backends[0] == "multiprocessing"), (backends, pids)

if __name__ == "__main__":
    main(int(sys.argv[1]))
    print("done")
"""


class TestDeep:
    @pytest.mark.parametrize("n_jobs", [2, -1])
    @pytest.mark.parametrize("cores", [None, 16])
    def test_maps_nest_three_levels_deep(self, run_script, monkeypatch, n_jobs, cores):
        """Also on a machine that claims more cores, where joblib chooses other pool sizes."""
        if cores:
            monkeypatch.setenv("LOKY_MAX_CPU_COUNT", str(cores))
        done = run_script(DEEP, n_jobs)
        assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_map_that_items_of_all_threads_wait_for_gets_threads_of_its_own(run_script):
    """Its items start it in threads of their own, as asyncio.to_thread does."""
    run_script(
        """
        import threading
        from phylozoo_parallel import ThreadingExecutor

        workers = ThreadingExecutor(2)

        def item(number):
            found = []
            helper = threading.Thread(target=lambda: found.extend(workers.map(abs, [number] * 3)))
            helper.start()
            helper.join()
            return found

        for _ in range(2):
            assert list(workers.map(item, range(6), 1)) == [[number] * 3 for number in range(6)]
        for _ in range(100):
            list(workers.map(abs, range(4)))
            if threading.active_count() <= 1 + 2:
                break
            threading.Event().wait(0.05)
        else:
            raise AssertionError(threading.enumerate())
        """
    )


def test_threads_of_a_map_that_waited_do_not_serve_the_other_one():
    """That one would run more items at once than it may."""
    lock, running, most = threading.Lock(), [0], [0]

    def counted(item):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(1.2)
        with lock:
            running[0] -= 1
        return item

    def waiting():
        return list(ThreadingExecutor(2, chunksize=1).map(naps, range(4)))

    def first():
        return list(ThreadingExecutor(2, chunksize=1).map(counted, range(8)))

    def naps(item):
        time.sleep(1.5)
        return item

    assert at_once(first, lambda: time.sleep(0.2) or waiting()) == [[*range(8)], [*range(4)]]
    assert most == [2]


def test_a_map_in_a_helper_thread_of_a_worker_process_stays_there(processes):
    """As asyncio.to_thread starts one, and libraries with threads of their own do."""

    def item(number):
        found = []

        def helper():
            found.extend(type(processes)(2).map(lambda _: os.getpid(), range(4), 1))

        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()
        return os.getpid(), found

    for pid, found in processes.map(item, range(4), 1):
        assert found == [pid] * 4


MANY_CORES = """
import itertools, threading
from phylozoo_parallel._loky.start import current
from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor

alive = MultiprocessingExecutor(2).map(abs, itertools.count())
assert next(alive) == 0
before = set(current()._processes)

def use(n):
    for kind in MultiprocessingExecutor, ThreadingExecutor:
        for size in 0, 1, 30, 300:
            results = kind(n).map(lambda x: (n, x), range(size))
            right.append(list(results) == [(n, x) for x in range(size)])

right = []
threads = [threading.Thread(target=use, args=(1 + n % 4,)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert right == [True] * 64
assert set(current()._processes) == before  # nobody restarted the pool
assert list(itertools.islice(alive, 100)) == list(range(1, 101))
alive.close()
numbers = MultiprocessingExecutor(3).map(abs, range(99))
names = MultiprocessingExecutor(5).map(str, range(99))
assert list(zip(numbers, names)) == [(x, str(x)) for x in range(99)]
"""


def test_many_worker_counts_work_on_many_cores(run_script, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "16")
    assert run_script(MANY_CORES).stderr == ""


class TestUnusualPlaces:
    @pytest.mark.parametrize("backend", PARALLEL)
    def test_a_map_runs_in_a_finalizer(self, run_script, backend):
        """The object is collected when its last reference goes."""
        done = run_script(
            """
            import itertools, sys
            from phylozoo_parallel import ParallelConfig

            executor = ParallelConfig(sys.argv[1], n_jobs=2).get_executor()

            class Late:
                def __del__(self):
                    print(list(executor.map(abs, [-1, -2, -3])))

            one = Late()
            del one
            results = executor.map(lambda x: -x, range(50), 1)
            for x in range(10):
                assert next(results) == -x
                Late()
            results.close()
            """,
            backend,
        )
        assert (set(done.stdout.splitlines()), done.stderr) == ({"[1, 2, 3]"}, "")

    @pytest.mark.parametrize("state", ["cold", "warm", "in use"])
    @pytest.mark.parametrize("backend", PARALLEL)
    def test_a_map_in_an_atexit_hook_runs_or_says_why_not(self, run_script, backend, state):
        """Without workers it raises an error, and the program ends all the same."""
        done = run_script(
            """
            import atexit, itertools, sys, threading
            from phylozoo_parallel import ParallelConfig

            executor = ParallelConfig(sys.argv[1], n_jobs=2).get_executor()

            def late():
                try:
                    results = alive if sys.argv[2] == "in use" else executor.map(abs, range(9))
                    print(sum(itertools.islice(results, 1, 10**5)))
                except RuntimeError as error:
                    print("told:", error)

            atexit.register(late)
            if sys.argv[2] != "cold":
                list(executor.map(abs, range(9)))
            if sys.argv[2] == "in use":
                alive = executor.map(abs, itertools.count())
                next(alive)
            """,
            backend,
            state,
        )
        right = f"{sum(range(2, 10**5 + 1)) if state == 'in use' else 36}\n"
        assert done.stdout == right or re.match("told: .*shutdown\n", done.stdout)

    def test_a_dropped_map_may_be_collected_in_lokys_thread(self, run_script):
        """A caller that resizes the pool holds our lock, and waits for that thread."""
        run_script(
            """
            import gc
            import joblib
            from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor
            from phylozoo_parallel._loky.start import current

            class Cycle:
                pass

            def drop_one(executor):
                cycle = Cycle()
                cycle.itself = cycle
                cycle.results = executor.map(abs, range(100), 1)
                next(cycle.results)

            list(MultiprocessingExecutor(3).map(abs, range(6)))
            manager = type(current()._executor_manager_thread)
            process = manager.process_result_item

            def collecting(self, item):
                gc.collect()  # as may happen at any allocation
                process(self, item)

            manager.process_result_item = collecting
            gc.disable()
            for workers in 2, 3:
                drop_one(ThreadingExecutor(2, timeout=5))
                with joblib.parallel_config("multiprocessing"):
                    drop_one(MultiprocessingExecutor(2))  # its pool is closed after the map
                assert list(MultiprocessingExecutor(workers).map(abs, range(6)))
            """
        )

    @pytest.mark.parametrize("backend", PARALLEL)
    def test_maps_run_in_forked_children(self, run_script, backend):
        """Several children at once, while the parent's own map goes on."""
        run_script(
            """
            import itertools, multiprocessing, sys, warnings
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            from phylozoo_parallel import ParallelConfig

            def child(number, queue):
                executor = ParallelConfig(sys.argv[1], n_jobs=2).get_executor()
                queue.put((number, list(executor.map(lambda x: number * x, range(30)))))

            if __name__ == "__main__":
                executor = ParallelConfig(sys.argv[1], n_jobs=2).get_executor()
                alive = executor.map(abs, itertools.count())
                assert next(alive) == 0
                context = multiprocessing.get_context("fork")
                queue = context.SimpleQueue()
                children = [context.Process(target=child, args=(n, queue)) for n in range(3)]
                for one in children:
                    one.start()
                found = dict(queue.get() for _ in children)
                assert found == {n: [n * x for x in range(30)] for n in range(3)}
                assert list(itertools.islice(alive, 100)) == list(range(1, 101))
                for one in children:
                    one.join(30)
                assert [one.exitcode for one in children] == [0, 0, 0]
            """,
            backend,
        )

    @pytest.mark.parametrize("backend", PARALLEL)
    def test_a_forked_child_cannot_read_its_parents_map(self, run_script, backend):
        """The workers are the parent's: the child gets an error, and does not wait for ever."""
        run_script(
            """
            import itertools, os, sys, warnings
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            from phylozoo_parallel import ParallelConfig

            executor = ParallelConfig(sys.argv[1], n_jobs=2).get_executor()
            parents = executor.map(abs, itertools.count())
            assert next(parents) == 0
            child = os.fork()
            if not child:
                try:
                    list(itertools.islice(parents, 10**6))
                except RuntimeError as error:
                    assert "forked child" in str(error)
                    assert list(executor.map(abs, [-1, -2])) == [1, 2]
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
            assert list(itertools.islice(parents, 5000)) == list(range(1, 5001))
            """,
            backend,
        )

    @pytest.mark.parametrize("how", ["results.close()", "del results"])
    def test_a_forked_child_may_let_go_of_its_parents_map(self, run_script, how):
        """The pool of a user's context is closed by its last map, but not in the child."""
        ran = run_script(
            f"""
            import os, warnings
            import time
            import joblib
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            from phylozoo_parallel import MultiprocessingExecutor

            def naps(item):
                time.sleep(0.05)
                return item

            if __name__ == "__main__":
                with joblib.parallel_config("multiprocessing"):
                    results = MultiprocessingExecutor(2).map(naps, range(10))
                    next(results)
                    child = os.fork()
                    if not child:
                        {how}
                        os._exit(0)
                    assert os.waitpid(child, 0)[1] == 0
                    assert list(results) == list(range(1, 10))
            """
        )
        assert ran.stderr == ""


def dies(directory, name, times):
    """End this worker, the first `times` that this is called."""
    for time_ in range(times):
        try:
            os.close(os.open(directory / f"{name}-{time_}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        os._exit(7)


class TestDeaths:
    """Maps share a pool, and loky ends the whole pool when one of its workers dies."""

    @pytest.mark.parametrize("n_jobs", [1, 2, 4])
    def test_deaths_count_only_against_items_of_their_own_map(self, n_jobs, tmp_path, wait_until):
        """The other map's first item is lost three times, and has one retry."""
        third = tmp_path / "5-2"

        def mortal(x):
            if x == 5 and not third.exists():
                count = len(list(tmp_path.glob("5-*")))
                wait_until(lambda: len(list(tmp_path.glob("begun-*"))) > count)
                dies(tmp_path, x, 3)
            return -x

        def struck(x):
            if x == 0:
                (tmp_path / f"begun-{os.getpid()}").touch()
                wait_until(third.exists)
            return -x

        beside = MultiprocessingExecutor(2, retries=1).map(struck, range(20), 1)
        results = MultiprocessingExecutor(n_jobs, retries=3).map(mortal, range(10), 1)
        assert at_once(lambda: list(results), lambda: list(beside)) == [
            [-x for x in range(10)],
            [-x for x in range(20)],
        ]
        assert len(list(tmp_path.glob("begun-*"))) >= 3

    def test_deaths_end_only_the_map_of_the_guilty_item(self, tmp_path, caplog):
        def deadly(x):
            if x == 3:
                os._exit(7)
            return -x

        beside = MultiprocessingExecutor(2).map(lambda x: time.sleep(0.02) or -x, range(100), 1)
        results = MultiprocessingExecutor(2, retries=1).map(deadly, range(10), 1)

        def read():
            with pytest.raises(WorkerLostError, match=r"item 3 = 3.*exit code 7"):
                list(results)

        assert at_once(read, lambda: list(beside)) == [None, [-x for x in range(100)]]

    def test_deaths_of_processes_leave_worker_threads_alone(self, threads, processes, tmp_path):
        beside = threads.map(lambda x: time.sleep(0.01) or -x, range(100), 1)
        mortal = processes.map(lambda x: dies(tmp_path, "once", 1) or -x, range(10), 1)
        assert at_once(lambda: list(mortal), lambda: list(beside)) == [
            [-x for x in range(10)],
            [-x for x in range(100)],
        ]

    def test_a_death_while_the_pool_is_resized_loses_no_result(self, run_script):
        """joblib's own way to resize waits for ever for a worker that died meanwhile."""
        run_script(
            """
            import os, signal, threading, time
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            def kill(pid):
                os.kill(pid, signal.SIGKILL)

            for delay in 0.001, 0.002, 0.003:
                for n_jobs in 2, 3:
                    executor = MultiprocessingExecutor(n_jobs, retries=100)
                    assert list(executor.map(abs, range(20), 1)) == list(range(20))
                    victim = min(current()._processes)
                    threading.Timer(delay, kill, (victim,)).start()
            """
        )


def test_a_worker_meets_maps_while_its_other_thread_drops_ended_ones(run_script):
    """The thread that watches the caller drops them, at any moment."""
    run_script(
        """
        import pickle, sys, threading
        from phylozoo_parallel._worker import known

        sys.setswitchinterval(1e-6)
        over = False
        def drop():
            while not over:
                for key in list(known._known):
                    known._let_go(key)

        function = pickle.dumps((abs, False))
        thread = threading.Thread(target=drop)
        thread.start()
        try:
            for key in range(20_000):
                known.KEPT = 2
                known.known((key, None, None, b""), function)
        finally:
            over = True
            thread.join()
        """
    )
