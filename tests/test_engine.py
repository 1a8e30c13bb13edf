"""What the engine leans on in joblib, habit by habit, and the rules by which it shares its pools.

A habit that joblib does not promise may change with any release of joblib: the first half of
this module tells which one did. The names are in :mod:`phylozoo_parallel._loky.contract`.
"""

import contextlib
import itertools
import mmap
import os
import pickle
import random
import re
import threading
import time
import weakref
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from queue import SimpleQueue
from types import SimpleNamespace
from typing import ClassVar

import cloudpickle
import joblib.parallel
import pytest
from joblib import Parallel, parallel_config
from joblib.parallel import (
    BatchedCalls,
    ParallelBackendBase,
    default_parallel_config,
    get_active_backend,
)
from systems import forks, needs_linux

from phylozoo_parallel import (
    MultiprocessingExecutor,
    ParallelConfig,
    ThreadingExecutor,
)
from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.thread_pool import Threads
from phylozoo_parallel._loky import contract, direct, start
from phylozoo_parallel._loky.contract import (
    BACKENDS,
    LokyBackend,
    MultiprocessingBackend,
    SequentialBackend,
    ThreadingBackend,
    process_executor,
)
from phylozoo_parallel._loky.opened import Opened
from phylozoo_parallel._loky.start import current

SETTINGS = ["max_nbytes", "mmap_mode", "temp_folder", "verbose"]


@pytest.fixture(params=[LokyBackend, ThreadingBackend])
def opened(request):
    """An open ``Parallel`` on a backend object of ours, opened as the engine opens it."""
    backend = request.param(nesting_level=0)
    parallel = Parallel(backend=backend, prefer=None, require=None)
    parallel.n_jobs = 2
    with parallel:
        yield parallel


def outcome(backend, func, *args):
    """Submit one call as the engine does and wait for what comes back."""
    done, box = threading.Event(), []
    batch = BatchedCalls([(func, args, {})], backend.get_nested_backend())
    backend.submit(batch, callback=lambda out: (box.append(out), done.set()))
    assert done.wait(60)
    return box[0]


class TestContext:
    def test_default_config_has_the_settings(self):
        assert {*SETTINGS, "backend", "n_jobs"} <= default_parallel_config.keys()

    def test_config_is_set_inside_a_context_and_only_there(self):
        outside = getattr(joblib.parallel._backend, "config", default_parallel_config)
        with parallel_config(mmap_mode="c", max_nbytes=5, temp_folder="/tmp", verbose=3):
            config = joblib.parallel._backend.config
            assert [config[key] for key in SETTINGS] == [5, "c", "/tmp", 3]
        assert getattr(joblib.parallel._backend, "config", default_parallel_config) == outside

    def test_config_is_each_threads_own(self):
        seen = []
        with parallel_config(n_jobs=2):
            thread = threading.Thread(
                target=lambda: seen.append(hasattr(joblib.parallel._backend, "config"))
            )
            thread.start()
            thread.join()
        assert seen == [False]

    def test_get_active_backend_returns_backend_and_count(self):
        backend, n_jobs = get_active_backend()
        assert (type(backend), backend.nesting_level, n_jobs) == (LokyBackend, 0, None)
        with parallel_config(backend="threading", n_jobs=3):
            backend, n_jobs = get_active_backend()
            assert (type(backend), n_jobs) == (ThreadingBackend, 3)

    @pytest.mark.parametrize("backend", ["loky", "threading"])
    def test_nesting_level_rises_in_workers(self, backend):
        level = joblib.delayed(lambda: get_active_backend()[0].nesting_level)
        assert Parallel(n_jobs=2, backend=backend)([level()] * 2) == [1, 1]

    def test_settings_that_reach_loky(self):
        with parallel_config(backend="loky", inner_max_num_threads=3, initializer=print):
            backend, _ = get_active_backend()
        assert type(backend) is LokyBackend
        assert backend.inner_max_num_threads == 3
        assert backend.backend_kwargs == {"initializer": print}


class TestBackends:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("loky", LokyBackend),
            ("threading", ThreadingBackend),
            ("multiprocessing", MultiprocessingBackend),
            ("sequential", SequentialBackend),
        ],
    )
    def test_backends_are_registered_by_name(self, name, kind):
        assert BACKENDS[name] is kind
        assert kind(nesting_level=0).nesting_level == 0

    @pytest.mark.parametrize(
        ("kind", "in_memory", "streams"),
        [
            (LokyBackend, False, True),
            (MultiprocessingBackend, False, False),
            (ThreadingBackend, True, True),
            (SequentialBackend, True, False),
        ],
    )
    def test_backends_have_the_flags_that_engines_read(self, kind, in_memory, streams):
        backend = kind(nesting_level=0)
        assert getattr(backend, "uses_threads", False) is in_memory
        assert getattr(backend, "supports_sharedmem", False) is in_memory
        assert bool(backend.supports_return_generator) is streams

    @pytest.mark.parametrize("name", ["start_call", "stop_call", "get_nested_backend"])
    def test_every_backend_has_the_methods_that_engines_call(self, name):
        assert callable(getattr(ParallelBackendBase, name))

    def test_effective_n_jobs_counts_workers(self):
        assert LokyBackend(nesting_level=0).effective_n_jobs(3) == 3
        assert LokyBackend(nesting_level=0).effective_n_jobs(-1) == joblib.cpu_count()
        assert ThreadingBackend(nesting_level=0).effective_n_jobs(3) == 3


class TestBatch:
    calls = [(pow, (2, 3), {}), (int, ("ff",), {"base": 16})]

    def test_a_batch_runs_its_calls(self):
        assert BatchedCalls(self.calls, (ThreadingBackend(nesting_level=1), None))() == [8, 255]

    def test_a_batch_can_be_pickled(self):
        batch = BatchedCalls(self.calls, LokyBackend(nesting_level=0).get_nested_backend())
        assert pickle.loads(cloudpickle.dumps(batch))() == [8, 255]

    def test_a_batch_sets_the_nested_backend(self):
        nested = LokyBackend(nesting_level=0).get_nested_backend()
        batch = BatchedCalls([(get_active_backend, (), {})], nested)
        ((backend, _),) = batch()
        assert backend is nested[0]


class TestOpenParallel:
    def test_an_open_parallel_runs_on_the_backend_it_is_given(self, opened):
        assert isinstance(opened._backend, (LokyBackend, ThreadingBackend))
        assert opened._backend.effective_n_jobs(opened.n_jobs) == 2

    def test_one_worker_would_fall_back_to_the_caller(self):
        """Which is why the engine never opens fewer than two."""
        with Parallel(n_jobs=1, backend=LokyBackend(nesting_level=0)) as parallel:
            assert isinstance(parallel._backend, SequentialBackend)

    def test_a_submitted_task_calls_back_with_its_result(self, opened):
        backend = opened._backend
        assert backend.retrieve_result_callback(outcome(backend, pow, 2, 5)) == [32]

    def test_a_failed_task_calls_back_with_its_exception(self, opened):
        backend = opened._backend
        out = outcome(backend, int, "no number")
        with pytest.raises(ValueError, match="no number"):
            backend.retrieve_result_callback(out)

    def test_an_open_parallel_opens_again_with_another_count(self):
        parallel = Parallel(backend=LokyBackend(nesting_level=0), prefer=None, require=None)
        for n_jobs in 2, 3, 2:
            parallel.n_jobs = n_jobs
            with parallel:
                assert current()._max_workers == n_jobs
                backend = parallel._backend
                assert backend.retrieve_result_callback(outcome(backend, abs, -n_jobs)) == [n_jobs]

    def test_loky_hands_out_a_future(self):
        with Parallel(n_jobs=2, backend=LokyBackend(nesting_level=0)) as parallel:
            batch = BatchedCalls([(abs, (-1,), {})], parallel._backend.get_nested_backend())
            future = parallel._backend.submit(batch, callback=None)
            assert future.result(60) == [1]
            assert callable(future.add_done_callback)

    def test_an_open_parallel_names_the_folder_for_temporary_files(self, tmp_path):
        with parallel_config(temp_folder=str(tmp_path)):
            assert Opened(LokyBackend(nesting_level=0), 2).folder == str(tmp_path)
        assert Opened(LokyBackend(nesting_level=0), 2).folder is None


class TestLokysExecutor:
    @pytest.fixture
    def executor(self):
        with Parallel(n_jobs=2, backend=LokyBackend(nesting_level=0)) as parallel:
            yield parallel._backend._workers

    def test_lokys_executor_is_the_only_one(self, executor):
        assert executor is current()

    @pytest.mark.skipif(
        hasattr(contract.reusable_executor, "_executor_storage"), reason="loky 3.7 has none"
    )
    def test_lokys_executor_has_one_lock_for_submitting_and_resizing(self, executor):
        lock = contract.reusable_executor._executor_lock
        assert executor._submit_resize_lock is lock
        with lock, lock:
            """It may be taken twice."""

    def test_lokys_executor_has_its_size(self, executor):
        assert executor._max_workers == 2
        executor.submit(abs, 1).result(60)
        assert len(executor._processes) == 2

    def test_lokys_executor_has_its_pending_work(self, executor, wait_until):
        future = executor.submit(time.sleep, 0.2)
        assert executor._pending_work_items
        future.result(60)
        wait_until(lambda: not executor._pending_work_items)

    def test_lokys_executor_has_a_flag_for_shutdown(self, executor):
        assert executor._flags.shutdown is False
        executor.shutdown()
        assert executor._flags.shutdown is True

    def test_exit_codes_are_known_while_other_workers_run(self, executor):
        """Tasks are told of a death before loky kills the rest of the pool."""
        seen = {}

        def look(future):
            processes = list(executor._processes.values())
            seen["codes"] = [process.exitcode for process in processes]
            seen["error"] = future.exception()

        executor.submit(os._exit, 3).add_done_callback(look)
        with contextlib.suppress(BrokenProcessPool):
            executor.submit(time.sleep, 60).result(60)
        assert isinstance(seen["error"], BrokenProcessPool)
        assert sorted(seen["codes"], key=str) == [3, None]
        assert isinstance(executor._flags.broken, BrokenProcessPool)
        with pytest.raises(BrokenProcessPool):
            executor.submit(abs, 1)

    def test_lokys_executor_ends_at_once_with_waiting_tasks(self, executor):
        futures = [executor.submit(time.sleep, 60) for _ in range(20)]
        while executor._work_ids.qsize():
            executor._work_ids.get_nowait()
        start.terminate(executor)
        errors = {type(future.exception(60)) for future in futures}
        assert errors == {process_executor.ShutdownExecutorError}
        with pytest.raises(process_executor.ShutdownExecutorError):
            executor.submit(abs, 1)

    def test_lokys_executor_has_what_resizing_needs(self, executor):
        executor.submit(abs, 1).result(60)
        with executor._processes_management_lock:
            assert executor._call_queue.put
            assert executor._result_queue._writer.fileno() > 0

    def test_lokys_threads_have_the_expected_names(self, executor):
        executor.submit(abs, 1).result(60)
        names = {thread.name for thread in threading.enumerate()}
        assert names >= start.THREADS

    def test_lokys_exit_hook_runs_after_one_that_is_registered_later(self, run_script):
        """It waits for what runs; ours ends that."""
        done = run_script(
            """
            import threading, time
            from phylozoo_parallel._loky.contract import reusable_executor
            future = reusable_executor.get_reusable_executor(2).submit(time.sleep, 0.5)
            threading._register_atexit(lambda: print(future.done()))
            """
        )
        assert done.stdout == "False\n"

    def test_lokys_leak_guard_reads_a_global(self):
        """Which the workers raise by what they hold on purpose."""
        assert process_executor._MAX_MEMORY_LEAK_SIZE >= 1
        assert "_MAX_MEMORY_LEAK_SIZE" in process_executor._process_worker.__code__.co_names

    def test_the_executor_is_of_the_loky_that_joblib_uses(self, run_script):
        """Importing the standalone loky would put its processes below joblib's executor."""
        run_script(
            """
            import multiprocessing
            from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor

            assert MultiprocessingExecutor().n_jobs >= 1 and ThreadingExecutor(-1).n_jobs >= 1
            assert list(MultiprocessingExecutor(2).map(abs, [-1, -2])) == [1, 2]
            from phylozoo_parallel._loky.contract import LOKY
            modules = {type(child).__module__ for child in multiprocessing.active_children()}
            assert modules == {f"{LOKY}.backend.process"}, modules
            """
        )


class WithItems:
    """Looks a little like joblib's batches."""

    items: ClassVar = {"first": 1}

    def __call__(self):
        return None


tells_room = needs_linux("tells how much room a pipe has")


@tells_room
@pytest.mark.parametrize("switch", ["0", "1"])
def test_the_direct_path_can_be_switched_off(run_script, switch):
    code = f"""
    import os
    os.environ["PHYLOZOO_PARALLEL_DIRECT"] = "{switch}"
    from phylozoo_parallel import MultiprocessingExecutor
    from phylozoo_parallel._loky.start import current

    processes, fed = MultiprocessingExecutor(2), []
    for _ in range(5):
        assert list(processes.map(abs, range(20), 1)) == list(range(20))
    queue = current()._call_queue
    put = queue.put
    queue.put = lambda *args, **kwargs: (fed.append(1), put(*args, **kwargs))
    assert list(processes.map(abs, range(20), 1)) == list(range(20))
    print(len(fed))
    """
    fed = int(run_script(code).stdout)
    assert fed == 20 if switch == "0" else fed < 20


@pytest.mark.skipif(os.environ.get("PHYLOZOO_PARALLEL_DIRECT") == "0", reason="switched off")
class TestDirectPath:
    """Tasks that fit into the pipe skip two of loky's threads."""

    @tells_room
    def test_a_task_without_room_in_the_pipe_goes_through_loky(self, processes, monkeypatch):
        assert list(processes.map(abs, range(4))) == list(range(4))
        queue = current()._call_queue
        put, room, fed, mine = queue.put, direct._room, [], []
        monkeypatch.setattr(queue, "put", lambda *args, **kwargs: (fed.append(1), put(*args)))
        # Room that is seen without the lock may be gone with it.
        locked = queue._wlock._semlock._is_zero
        monkeypatch.setattr(direct, "_room", lambda queue: (mine.append(locked()), room(queue))[1])
        for size in 1, 100_000:
            fed.clear()
            # Slow enough that no more fly than have a place.
            results = processes.map(lambda x: time.sleep(0.02) or len(x), [bytes(size)] * 20, 1)
            assert list(results) == [size] * 20
            assert len(fed) < 10  # loky's own thread may be quicker
        assert set(mine) == {True}
        fed.clear()
        import fcntl

        fcntl.fcntl(queue._writer, fcntl.F_SETPIPE_SZ, mmap.PAGESIZE)
        assert list(processes.map(len, [bytes(10_000)] * 4, 1)) == [10_000] * 4
        fcntl.fcntl(queue._writer, fcntl.F_SETPIPE_SZ, direct.PIPE)
        assert len(fed) == 4

    @tells_room
    def test_a_message_sent_into_free_room_never_blocks(self):
        """A message may waste nearly a page with its length, and one with its end."""
        queue, chance, sent = (
            import_module(f"{contract.LOKY}.backend").get_context("loky").Queue(200),
            random.Random(0),
            [],
        )
        assert direct._widen(SimpleNamespace(_call_queue=queue, _result_queue=queue))
        os.set_blocking(queue._writer.fileno(), False)
        for _ in range(3000):
            size = chance.choice([1, 3000, 4092, 4093, 4097, 16_385, 20_000, 70_000])
            if direct._room(queue) >= size and queue._sem.acquire(False):
                queue._writer.send_bytes(bytes(size))  # an error if it had to wait
                sent.append(size)
            else:
                assert len(sent) > 10
                for _ in range(chance.randrange(1, len(sent))):
                    assert len(queue._reader.recv_bytes()) == sent.pop(0)
                    queue._sem.release()
        queue.close()

    def test_tasks_that_need_cloudpickle_go_through_loky(self, run_script):
        done = run_script(
            """
            from concurrent.futures import ThreadPoolExecutor
            from joblib import Parallel, delayed
            from phylozoo_parallel import MultiprocessingExecutor

            class Sum:  # only cloudpickle can tell the workers what this is
                def __init__(self, x, step):
                    self.value = x + step

            def add(x, step):
                return Sum(x, step).value

            def theirs():
                for step in range(30):
                    results = Parallel(2)(delayed(add)(x, step) for x in range(40))
                    assert results == [x + step for x in range(40)]
                    results = Parallel(2)(delayed(lambda x: x + step)(x) for x in range(40))
                    assert results == [x + step for x in range(40)]

            def ours():
                for step in range(200):
                    assert list(MultiprocessingExecutor(2).map(abs, range(9), 1)) == list(range(9))

            assert list(MultiprocessingExecutor(2).map(abs, [1])) == [1]
            with ThreadPoolExecutor() as threads:
                print(list(threads.map(lambda run: run(), [theirs, ours, ours])))
            """
        )
        assert (done.stdout, done.stderr) == ("[None, None, None]\n", "")

    def test_tasks_of_others_that_wait_are_not_overtaken(self, processes):
        assert list(processes.map(abs, [-1, 2])) == [1, 2]
        executor = current()
        bell = executor._executor_manager_thread_wakeup
        bell.muted.here = True  # loky's thread does not hear of the next one
        theirs = [executor.submit(each) for each in (dict, WithItems())]
        del bell.muted.here
        assert list(processes.map(abs, [-1, 2])) == [1, 2]
        assert [future.result() for future in theirs] == [{}, None]

    def test_the_last_place_of_the_queue_is_left_to_loky(self, run_script):
        """With no place left it would, for ever: it is loky's thread that reads results."""
        done = run_script(
            """
            import time
            from concurrent.futures import ThreadPoolExecutor
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            def several(size):
                results = MultiprocessingExecutor(2).map(bytes, [size] * 12, 1)
                return set(map(len, results))

            assert list(MultiprocessingExecutor(2).map(abs, [1, 2])) == [1, 2]
            queue = current()._call_queue
            full = queue.full
            queue.full = lambda: (full(), time.sleep(0.1))[0]
            with ThreadPoolExecutor() as threads:
                print(list(threads.map(several, [600_000] * 3)))
            """
        )
        assert (done.stdout, done.stderr) == ("[{600000}, {600000}, {600000}]\n", "")

    @tells_room
    def test_a_signal_that_leaves_half_a_message_ends_the_workers(self, run_script):
        done = run_script(
            """
            import signal, struct, threading
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            def ring(*_):
                raise TimeoutError("of the user's alarm")

            def send_half(message):
                if threading.current_thread() is not threading.main_thread():
                    return send(message)  # it is loky's
                writer._send(struct.pack("!i", len(message)) + message[: len(message) // 2])
                signal.raise_signal(signal.SIGALRM)

            signal.signal(signal.SIGALRM, ring)
            executor = MultiprocessingExecutor(2)
            assert list(executor.map(abs, [-1, 2])) == [1, 2]
            writer = current()._call_queue._writer
            send, writer.send_bytes = writer.send_bytes, send_half
            try:
                while True:
                    list(executor.map(len, [bytes(100_000)]))
            except TimeoutError as error:
                print(error)
            writer.send_bytes = send
            print(list(executor.map(abs, [-1, 2])))
            """,
            timeout=20,
        )
        assert done.stdout == "of the user's alarm\n[1, 2]\n"

    @tells_room
    def test_a_signal_before_the_message_leaves_the_workers_alone(
        self, processes, pool_pids, monkeypatch
    ):
        def ring(*_):
            raise TimeoutError("of the user's alarm")

        assert list(processes.map(abs, [-1, 2])) == [1, 2]
        before = pool_pids()
        monkeypatch.setattr(direct, "_room", ring)
        with pytest.raises(TimeoutError, match="alarm"):
            list(itertools.chain.from_iterable(processes.map(abs, [1]) for _ in range(10_000)))
        monkeypatch.undo()
        assert list(processes.map(abs, [-1, 2])) == [1, 2]
        assert pool_pids() == before

    def test_an_executor_that_is_shut_down_gets_no_task(self, processes):
        assert list(processes.map(abs, [-1, 2])) == [1, 2]
        executor = current()
        executor.shutdown()
        assert executor._call_queue is None
        assert not direct._sent(executor, lambda task: True)
        assert list(processes.map(abs, [-1, 2])) == [1, 2]

    @tells_room
    def test_a_signal_while_the_pipe_is_locked_releases_the_lock(self, run_script):
        done = run_script(
            """
            import signal, threading
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            def ring(*_):
                raise TimeoutError("of the user's alarm")

            class Taken:
                def __init__(self, lock):
                    self.release, self._semlock, self._lock = lock.release, lock._semlock, lock

                def acquire(self, block):
                    got = self._lock.acquire(block)
                    if got and not block:  # as loky's thread does not ask
                        signal.raise_signal(signal.SIGALRM)
                    return got

            signal.signal(signal.SIGALRM, ring)
            executor = MultiprocessingExecutor(2)
            assert list(executor.map(abs, [-1, 2])) == [1, 2]
            queue = current()._call_queue
            lock, queue._wlock = queue._wlock, Taken(queue._wlock)
            try:
                while True:
                    list(executor.map(abs, [-1, 2]))
            except TimeoutError as error:
                print(error)
            queue._wlock = lock
            print(list(executor.map(abs, [-1, 2])))
            """,
            timeout=20,
        )
        assert done.stdout == "of the user's alarm\n[1, 2]\n"

    def test_tasks_go_through_loky_while_workers_start(self, run_script):
        done = run_script(
            """
            import os, time
            from joblib import parallel_config
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor
            from phylozoo_parallel._engines.processes import ProcessEngine

            ProcessEngine.look_after = lambda engine, starving: None  # it would notice, later
            with parallel_config("loky", idle_worker_timeout=0.5):
                assert list(MultiprocessingExecutor(2).map(abs, [1, 2])) == [1, 2]
                while current()._processes:
                    time.sleep(0.01)
                time.sleep(0.5)
                deaths = MultiprocessingExecutor(2, retries=0).map(os._exit, [3], 1)
                try:
                    list(deaths)
                except RuntimeError as error:
                    print(error)
            """
        )
        assert "exit code 3" in done.stdout


class TestThreads:
    def test_worker_threads_get_every_chunk_from_joblibs_backend(self, monkeypatch, wait_until):
        class Counting(ThreadingBackend):
            submitted = 0

            def submit(self, func, callback=None):
                type(self).submitted += 1
                return super().submit(func, callback)

        before = threading.active_count()
        monkeypatch.setitem(BACKENDS, "threading", Counting)
        pools.close_idle(17)
        with ThreadingExecutor(17) as executor:  # a size whose pool is not open yet
            assert list(executor.map(abs, range(10), 3)) == list(range(10))
        assert Counting.submitted == 4
        wait_until(lambda: threading.active_count() <= before)

    def test_closed_worker_threads_run_waiting_tasks_and_end(self, wait_until):
        before, ran = threading.active_count(), []
        threads = Threads(2)
        for number in range(100):
            threads.apply_async(lambda number=number: number, (), callback=ran.append)
        threads.close()
        wait_until(lambda: threading.active_count() == before)
        assert sorted(ran) == list(range(100))

    def test_worker_threads_can_be_added(self):
        threads, meeting, met = Threads(1), threading.Barrier(3, timeout=10), SimpleQueue()
        threads.grow(2)
        for _ in range(3):
            threads.apply_async(meeting.wait, (), callback=met.put)
        assert sorted(met.get(timeout=10) for _ in range(3)) == [0, 1, 2]
        threads.close()

    def test_two_maps_of_one_worker_do_not_wait_for_each_other(self):
        meeting = threading.Barrier(2, timeout=10)
        maps = [ThreadingExecutor(1).map(lambda _: meeting.wait(), [0]) for _ in range(2)]
        assert sorted(result for results in maps for result in results) == [0, 1]

    def test_worker_threads_that_hang_are_replaced_for_other_maps(self, run_script):
        done = run_script(
            """
            import threading, time
            from phylozoo_parallel import ThreadingExecutor

            free = threading.Event()
            other = ThreadingExecutor(2).map(lambda _: time.sleep(0.02), range(60), 1)
            hanging = [
                ThreadingExecutor(2, timeout=0.5).map(lambda _: free.wait(), [0, 1])
                for _ in range(2)
            ]
            for results in hanging:
                try:
                    list(results)
                except TimeoutError:
                    print("late")
            print(len(list(other)))
            """,
            timeout=20,
        )
        assert done.stdout == "late\nlate\n60\n"

    def test_waiting_worker_threads_hold_no_task(self, wait_until):
        class Large:
            pass

        def run(captured):
            assert list(ThreadingExecutor(2).map(lambda _: captured, [1, 2])) == [captured] * 2

        captured = Large()
        here = weakref.ref(captured)
        run(captured)
        del captured
        wait_until(lambda: here() is None)

    @needs_linux("keeps a limit of memory")
    def test_no_worker_threads_are_left_when_the_system_has_too_few(self, run_script):
        done = run_script(
            """
            import resource, threading, time
            from phylozoo_parallel import ThreadingExecutor

            assert list(ThreadingExecutor(2).map(abs, [-1, 2])) == [1, 2]
            before = threading.active_count()
            other = ThreadingExecutor(2).map(lambda item: item or time.sleep(0.5), range(60), 1)
            threading.stack_size(1 << 30)

            def limit(more):
                with open("/proc/self/statm") as file:
                    used = int(file.read().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))

            limit(4 << 30)
            try:
                ThreadingExecutor(100).map(abs, [-1, 2])
            except RuntimeError as error:
                print(error)
            while threading.active_count() > before:
                time.sleep(0.01)
            limit(1 << 29)
            try:  # one that hangs cannot be replaced, but the others go on
                list(ThreadingExecutor(2, timeout=0.1).map(time.sleep, [60]))
            except TimeoutError:
                print("late")
            print(len(list(other)))
            """,
            timeout=20,
        )
        assert done.stdout == "can't start new thread\nlate\n60\n"

    def test_worker_threads_are_not_waited_for_at_shutdown(self, run_script):
        done = run_script(
            """
            import itertools
            from phylozoo_parallel import ThreadingExecutor

            class Late:
                results = ThreadingExecutor(2).map(abs, itertools.count())

                def __del__(self):
                    try:
                        print(sum(self.results))
                    except RuntimeError as error:
                        print("told:", error)

            late = Late()
            """,
            timeout=20,
        )
        assert re.match("told: .*shutdown\n", done.stdout)


class TestManyAtOnce:
    """Maps share a pool: none waits for another, and none has it restarted."""

    @pytest.mark.parametrize("kind", [ThreadingExecutor, MultiprocessingExecutor])
    def test_maps_with_different_worker_counts_take_turns(self, kind, pool_pids):
        maps = [kind(2).map(lambda x: (0, x), itertools.count(), 3)]
        assert next(maps[0]) == (0, 0)
        before = pool_pids()
        maps += [kind(n).map(lambda x, n=n: (n, x), itertools.count(1), 3) for n in (3, 1, 5, 4)]
        for x in range(1, 100):
            assert [next(results) for results in maps] == [(n, x) for n in (0, 3, 1, 5, 4)]
        assert pool_pids() == before

    @pytest.mark.parametrize("n_jobs", [2, 4, 3])
    def test_the_pool_is_resized_once_nobody_uses_it(self, n_jobs, pool_pids, wait_until):
        results = MultiprocessingExecutor(n_jobs).map(abs, itertools.count())
        next(results)
        assert len(pool_pids()) == n_jobs
        wait_until(lambda: not current()._pending_work_items)
        list(MultiprocessingExecutor(5).map(abs, range(10)))
        assert len(pool_pids()) == n_jobs

    @pytest.mark.parametrize("n_jobs", [1, 2, 3])
    def test_a_map_does_not_wait_for_a_stuck_one(self, processes, n_jobs, tmp_path, wait_until):
        free = tmp_path / "free"
        stuck = processes.map(lambda _: wait_until(free.exists), [0], 1)
        assert list(MultiprocessingExecutor(n_jobs).map(abs, range(20))) == list(range(20))
        free.touch()
        assert list(stuck) == [None]

    def test_a_newcomer_keeps_to_its_own_worker_count(self, tmp_path):
        def crowd(i):
            mine = tmp_path / str(i)
            mine.touch()
            time.sleep(0.01)
            count = len(list(tmp_path.iterdir()))
            mine.unlink()
            return count

        wide = MultiprocessingExecutor(3).map(abs, itertools.count())
        next(wide)
        assert max(MultiprocessingExecutor(1).map(crowd, range(20), 1)) == 1
        next(wide)

    @pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
    def test_many_threads_start_maps_at_once(self, run_script, backend):
        done = run_script(
            """
            import sys, threading, warnings
            from phylozoo_parallel import ParallelConfig
            warnings.simplefilter("error")

            def use(n, barrier, right):
                executor = ParallelConfig(sys.argv[1], n_jobs=1 + n % 4).get_executor()
                barrier.wait()
                for size in 1, 10, 300:
                    results = list(executor.map(lambda x: (n, x), range(size)))
                    right.append(results == [(n, x) for x in range(size)])

            for _ in range(3):
                barrier, right = threading.Barrier(8), []
                threads = [threading.Thread(target=use, args=(n, barrier, right)) for n in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert right == [True] * 24, right
            """,
            backend,
        )
        assert done.stderr == ""

    def test_the_first_maps_of_many_threads_get_tickets_of_their_own(self, run_script):
        """A ticket that two maps share, or that names another page, calls a map off."""
        run_script(
            """
            import sys, threading
            from phylozoo_parallel._shipping import board as page
            sys.setswitchinterval(1e-6)  # makes a race all but certain to show

            def take(key):
                barrier.wait()
                board = page.own()
                tickets.append((key, *board.take_map(key)))

            for _ in range(300):
                if page._own:
                    page._own._segment.close()
                page._forget()
                barrier, tickets = threading.Barrier(8), []
                threads = [threading.Thread(target=take, args=(key,)) for key in range(1, 9)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert len({ticket[1:] for ticket in tickets}) == 8
                assert all(page.of(name).wanted(slot, key) for key, name, slot in tickets)
            """
        )

    def test_a_map_runs_beside_a_generator_of_joblib_with_another_worker_count(self, run_script):
        done = run_script(
            """
            import itertools, joblib
            from phylozoo_parallel import MultiprocessingExecutor

            for n_jobs in 4, 1, 3:
                calls = (joblib.delayed(abs)(i) for i in range(300))
                generator = joblib.Parallel(2, return_as="generator")(calls)
                ours = MultiprocessingExecutor(n_jobs).map(abs, itertools.count())
                for i in range(100):
                    assert next(generator) == next(ours) == i
                assert list(generator) == list(range(100, 300))
                assert list(itertools.islice(ours, 100)) == list(range(100, 200))
                del ours
            """
        )
        assert done.stderr == ""

    def test_thread_pools_of_many_sizes_do_not_accumulate(self):
        for n_jobs in range(1, 12):
            assert list(ThreadingExecutor(n_jobs).map(abs, range(5))) == list(range(5))
        assert threading.active_count() < 60

    def test_a_map_runs_after_the_users_parallel_was_interrupted(self, processes):
        """Which has joblib kill the pool that it shares with us."""

        def fail(i):
            raise ValueError(i)

        for _ in range(3):
            assert list(processes.map(abs, range(5))) == list(range(5))
            with pytest.raises(ValueError, match="0"):
                Parallel(n_jobs=2)(joblib.delayed(fail)(0) for _ in range(5))
        assert list(processes.map(abs, range(5))) == list(range(5))


REPLACED = """
import logging, os, sys, time
import joblib, psutil
from phylozoo_parallel import MultiprocessingExecutor, WorkerLostError

def other_map():
    with joblib.parallel_config(backend="loky", max_nbytes=1000):
        assert list(MultiprocessingExecutor(2).map(abs, range(4))) == list(range(4))

def own_parallel():
    calls = [joblib.delayed(abs)(i) for i in range(4)]
    assert joblib.Parallel(2, max_nbytes=1000)(calls) == list(range(4))

def workers():
    running = psutil.Process().children(recursive=True)
    return {it for it in running if "popen_loky" in " ".join(it.cmdline())}

replace = {"map": other_map, "Parallel": own_parallel}[sys.argv[1]]
"""


@pytest.mark.parametrize("who", ["map", "Parallel"])
class TestReplaced:
    """Between two ``next``s, joblib replaces its executor; loky passes the map's tasks on to it."""

    def test_an_item_that_takes_too_long_is_ended(self, run_script, who):
        run_script(
            f"""{REPLACED}
def work(item):
    time.sleep(600 if item == 10 else 0)
    return item

results = MultiprocessingExecutor(2, chunksize=1, timeout=1).map(work, range(12))
assert next(results) == 0
replace()
try:
    for expected, result in enumerate(results, 1):
        assert result == expected
except TimeoutError as error:
    assert expected == 9 and str(error).startswith("item 10 = 10 took longer"), error
else:
    raise AssertionError
            """,
            who,
            timeout=30,
        )

    def test_an_item_that_kills_its_worker_is_named(self, run_script, who, tmp_path):
        run_script(
            f"""{REPLACED}
def work(item):
    with open({str(tmp_path / "ran")!r}, "a") as file:
        print(item, file=file)
    if item == 10:
        os._exit(3)
    return item

results = MultiprocessingExecutor(2, chunksize=1).map(work, range(12))
assert next(results) == 0
replace()
try:
    for expected, result in enumerate(results, 1):
        assert result == expected
except WorkerLostError as error:
    assert expected == 9 and "item 10 = 10" in str(error) and "exit code 3" in str(error), error
else:
    raise AssertionError
            """,
            who,
            timeout=30,
        )
        assert (tmp_path / "ran").read_text().split().count("10") == 2

    def test_an_interrupt_ends_all_workers(self, run_script, who):
        run_script(
            f"""{REPLACED}
def input():
    yield from range(20)
    raise KeyboardInterrupt

def work(item):
    time.sleep(600 if item == 10 else 0)
    return item

results = MultiprocessingExecutor(2, chunksize=1).map(work, input())
assert next(results) == 0
replace()
try:
    for _ in results:
        pass
except KeyboardInterrupt:
    pass
end = time.monotonic() + 10
while workers():
    assert time.monotonic() < end
    time.sleep(0.01)
            """,
            who,
            timeout=30,
        )


def test_no_worker_starts_again_for_maps_of_two_settings_that_are_read_in_turn(run_script):
    run_script(
        f"""{REPLACED}
def pid(item):
    return os.getpid()

executor = MultiprocessingExecutor(2, chunksize=1)
first = executor.map(pid, range(60))
with joblib.parallel_config(backend="loky", max_nbytes=1000):
    second = executor.map(pid, range(60))
assert len({{pid for both in zip(first, second) for pid in both}}) <= 4
        """,
        "map",
    )


@forks
class TestFork:
    """A forked child gets workers of its own and leaves its parent's alone."""

    @pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
    def test_results_are_right_in_forked_child_and_parent(self, run_script, backend):
        run_script(
            """
            import itertools, os, sys, warnings
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            from phylozoo_parallel import ParallelConfig

            def right(n):
                executor = ParallelConfig(sys.argv[1], n_jobs=n).get_executor()
                return list(executor.map(lambda x: x * n, range(50))) == list(range(0, 50 * n, n))

            assert right(2)
            alive = ParallelConfig(sys.argv[1], n_jobs=2).get_executor().map(abs, itertools.count())
            assert next(alive) == 0
            child = os.fork()
            if not child:
                os._exit(0 if right(2) and right(3) else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert right(2)
            assert list(itertools.islice(alive, 100)) == list(range(1, 101))
            """,
            backend,
        )

    def test_a_forked_child_may_drop_an_inherited_map(self, run_script):
        """It is the parent's: dropping it calls off neither the child's maps nor itself."""
        run_script(
            """
            import itertools, os, warnings
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            from phylozoo_parallel import MultiprocessingExecutor

            executor = MultiprocessingExecutor(2)
            inherited = executor.map(abs, itertools.count())
            assert next(inherited) == 0
            child = os.fork()
            if not child:
                own = executor.map(abs, itertools.count())
                assert next(own) == 0
                del inherited
                assert list(itertools.islice(own, 5000)) == list(range(1, 5001))
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert list(itertools.islice(inherited, 5000)) == list(range(1, 5001))
            """
        )

    def test_a_fork_while_another_thread_pickles_does_not_hang(self, run_script):
        """It holds a lock while it ships a sentinel, which must stay one object."""
        run_script(
            """
            import os, threading, warnings
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            from phylozoo_parallel import MultiprocessingExecutor
            from phylozoo_parallel._shipping import identity

            MISSING = object()
            pickles, forked = threading.Event(), threading.Event()
            def pickle_slowly():
                with identity.lock:
                    pickles.set()
                    forked.wait()
            thread = threading.Thread(target=pickle_slowly)
            thread.start()
            pickles.wait()
            child = os.fork()
            if not child:
                same = MultiprocessingExecutor(2).map(lambda it: it is MISSING, [MISSING] * 4)
                os._exit(0 if list(same) == [True] * 4 else 1)
            forked.set()
            thread.join()
            assert os.waitpid(child, 0)[1] == 0
            """,
            timeout=30,
        )

    def test_a_fork_while_another_thread_starts_maps_does_not_hang(self, run_script):
        """A lock that it holds at that moment would stay held in the child."""
        run_script(
            """
            import os, threading, warnings
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor

            def right(n):
                return list(MultiprocessingExecutor(n).map(abs, range(20))) == list(range(20))

            assert right(2)
            stop = threading.Event()
            def busy():
                while not stop.is_set():
                    assert right(2)
            thread = threading.Thread(target=busy)
            thread.start()
            for _ in range(2):
                child = os.fork()
                if not child:
                    os._exit(0 if right(2) else 1)
                assert os.waitpid(child, 0)[1] == 0
            stop.set()
            thread.join()
            assert right(2)
            """
        )


def test_a_map_inside_a_worker_process_opens_no_pool(processes):
    """It runs in place, so that no worker ever starts workers."""

    def nested(_):
        list(ParallelConfig("multiprocessing", n_jobs=2).get_executor().map(abs, range(5)))
        from phylozoo_parallel._loky.start import current

        return current() is None

    assert all(processes.map(nested, range(4), 1))
