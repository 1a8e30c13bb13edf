"""What real scripts bring: threads of loky that die, programs left running, slow input."""

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest
from systems import KILL, needs_linux, needs_posix

from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor


def running(mark):
    """Return the processes with an argument like this."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if mark in (process.info["cmdline"] or []) and process.info["status"] != "zombie":
            found.append(process)
    return found


@pytest.fixture
def mark():
    """A number of seconds that nothing else on this machine sleeps for."""
    mark = f"{999 + time.time_ns() % 10**9 / 1e9:.9f}"
    yield mark
    for process in running(mark):
        process.kill()


class TestLokysThreadThatDies:
    """loky works in a thread of the caller's process; when it dies, loky tells nobody."""

    def test_a_warning_that_is_an_error_in_lokys_thread_does_not_hang_the_map(self, run_script):
        """A worker leaves, loky warns in its thread, and the warning is an error there."""
        run_script(
            """
            import logging, warnings
            from phylozoo_parallel import MultiprocessingExecutor

            warnings.simplefilter("error")
            logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)

            def grows(item):
                from phylozoo_parallel._loky.contract import process_executor
                # As if this worker had come to hold too much: loky has it replaced.
                if item in (5, 30):
                    process_executor._MEMORY_LEAK_CHECK_DELAY = 0
                    process_executor._MAX_MEMORY_LEAK_SIZE = -1 << 60
                return item

            executor = MultiprocessingExecutor(2)
            for _ in range(2):  # more often than an item may run again
                assert list(executor.map(grows, range(60), chunksize=1)) == list(range(60))
            """
        )

    def test_a_worker_that_cannot_be_replaced_when_a_task_is_sent(self, run_script):
        """Then it is the caller's thread that fails to, when loky has the task already."""
        done = run_script(
            """
            import errno, logging
            from importlib import import_module
            from phylozoo_parallel._loky.contract import LOKY
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
            fork_exec = import_module(f"{LOKY}.backend.fork_exec")
            start, refused = fork_exec.fork_exec, []

            def refuse(*args, **options):
                refused.append(True)
                if len(refused) < 2 or lasting:
                    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
                return start(*args, **options)

            def items():
                yield from range(10)
                fork_exec.fork_exec = refuse
                current()._max_workers += 1  # as if one had gone a moment ago
                yield from range(10, 20)

            executor = MultiprocessingExecutor(2)
            for lasting in False, True:
                refused.clear()
                try:
                    print(list(executor.map(abs, items(), chunksize=1)) == list(range(20)))
                except BlockingIOError as error:
                    print(error)
                assert refused
                fork_exec.fork_exec = start
            print(list(executor.map(abs, range(4))))
            """
        )
        assert done.stdout == ("True\n[Errno 11] Resource temporarily unavailable\n[0, 1, 2, 3]\n")

    def test_a_worker_that_cannot_be_replaced_does_not_hang_the_map(self, run_script):
        run_script(
            """
            import errno, logging
            from importlib import import_module
            from phylozoo_parallel._loky.contract import LOKY
            from phylozoo_parallel import MultiprocessingExecutor

            logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
            fork_exec = import_module(f"{LOKY}.backend.fork_exec")
            start, refused = fork_exec.fork_exec, []

            def refuse(*args, **options):
                if not refused:
                    refused.append(True)
                    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
                return start(*args, **options)

            def grows(item):
                from phylozoo_parallel._loky.contract import process_executor
                if item == 5:
                    process_executor._MEMORY_LEAK_CHECK_DELAY = 0
                    process_executor._MAX_MEMORY_LEAK_SIZE = -1 << 60
                return item

            executor = MultiprocessingExecutor(2)
            list(executor.map(abs, range(4)))
            fork_exec.fork_exec = refuse
            while not refused:  # the map may end before loky hears that the worker has
                assert list(executor.map(grows, range(60), chunksize=1)) == list(range(60))
            """
        )

    @pytest.mark.parametrize("workers", [2, 3, 1])
    def test_lokys_thread_may_die_between_two_maps(self, run_script, workers):
        """The next map may want fewer workers or more, and the program has to end."""
        run_script(
            f"""
            import logging, time
            from joblib import Parallel, delayed
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
            assert list(MultiprocessingExecutor(3).map(abs, range(9))) == list(range(9))

            def die():
                executor = current()
                manager = executor._executor_manager_thread
                manager.processes = None  # over which it stumbles
                with executor._shutdown_lock:
                    executor._executor_manager_thread_wakeup.wakeup()
                manager.join(10)
                assert not manager.is_alive()

            die()
            assert list(MultiprocessingExecutor({workers}).map(abs, range(9))) == list(range(9))
            die()
            """
        )

    def test_other_maps_go_on_when_lokys_thread_dies(self, run_script):
        done = run_script(
            """
            import logging, time
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            logging.basicConfig()

            def slow(item):
                time.sleep(0.02)
                return item

            one, other = (MultiprocessingExecutor(2).map(slow, range(40)) for _ in range(2))
            assert (next(one), next(other)) == (0, 0)
            current()._executor_manager_thread.running_work_items = None
            assert list(one) == list(other) == list(range(1, 40))
            """
        )
        assert "phylozoo_parallel" in done.stderr  # what runs again is told


@needs_posix("shell for these")
class TestProgramsThatItemsStart:
    """When a worker is ended, programs that its items have started end, too."""

    SHELL = "sleep $0 & sh -c 'sleep '$0' | cat' & wait"

    @pytest.fixture
    def run_script(self, tmp_path):
        """Run a script, and leave alone what it leaves running."""

        def run(code):
            script = tmp_path / "script.py"
            script.write_text(textwrap.dedent(code), encoding="utf-8")
            with (tmp_path / "err").open("w") as err:
                done = subprocess.run([sys.executable, script], stderr=err, timeout=60)
            assert done.returncode == 0, (tmp_path / "err").read_text()

        return run

    @pytest.mark.parametrize("tools", [True, False], ids=["psutil", "bare"])
    def test_a_time_limit_ends_programs_that_items_started(self, run_script, mark, tmp_path, tools):
        """Also where neither psutil nor pgrep is installed."""
        run_script(
            f"""
            import os, subprocess, sys
            if not {tools}:
                sys.modules["psutil"] = None
                os.environ["PATH"] = {str(bare(tmp_path))!r}
            from phylozoo_parallel import MultiprocessingExecutor

            def align(item):
                if item == 3:
                    subprocess.run(["sh", "-c", {self.SHELL!r}, {mark!r}])
                return item

            got = []
            try:
                for result in MultiprocessingExecutor(2, timeout=1).map(align, range(8)):
                    got.append(result)
            except TimeoutError as error:
                assert "item 3" in str(error), error
            assert got == [0, 1, 2]
            """
        )
        wait_for_end(mark)

    @pytest.mark.parametrize("tools", [True, False], ids=["psutil", "bare"])
    def test_a_death_of_another_worker_ends_programs_that_items_started(
        self, run_script, mark, tmp_path, tools
    ):
        """The pool ends, and a program that another item had started does not run twice."""
        run_script(
            f"""
            import logging, os, subprocess, sys, time
            if not {tools}:
                sys.modules["psutil"] = None
                os.environ["PATH"] = {str(bare(tmp_path))!r}
            from phylozoo_parallel import MultiprocessingExecutor

            logging.getLogger("phylozoo_parallel").setLevel(logging.CRITICAL)
            begun = {str(tmp_path / "begun")!r}

            def align(item):
                if item == 0 and not os.path.exists(begun):
                    open(begun, "w").close()
                    subprocess.run(["sh", "-c", {self.SHELL!r}, {mark!r}])
                if item == 1 and not os.path.exists(begun + "1"):
                    while not os.path.exists(begun):
                        time.sleep(0.01)
                    open(begun + "1", "w").close()
                    time.sleep(0.3)
                    os._exit(1)
                return item

            got = list(MultiprocessingExecutor(2).map(align, range(4), chunksize=1))
            assert got == list(range(4))
            """
        )
        wait_for_end(mark)

    @pytest.mark.parametrize("tools", [True, False], ids=["psutil", "bare"])
    @pytest.mark.parametrize("how", ["interrupt", "exit", "abandon"])
    def test_the_end_of_the_program_ends_programs_that_items_started(
        self, run_script, mark, tmp_path, tools, how
    ):
        """By Ctrl-C, an exit inside a map, and an end with an unfinished map."""
        run_script(
            f"""
            import os, signal, subprocess, sys, threading, time
            if not {tools}:
                sys.modules["psutil"] = None
                os.environ["PATH"] = {str(bare(tmp_path))!r}
            from phylozoo_parallel import MultiprocessingExecutor

            begun = {str(tmp_path / "begun")!r}

            def align(item):
                open(begun, "w").close()
                subprocess.run(["sh", "-c", {self.SHELL!r}, {mark!r}])

            def begin():
                while not os.path.exists(begun):
                    time.sleep(0.01)
                time.sleep(0.3)

            def interrupt():
                begin()
                os.kill(os.getpid(), signal.SIGINT)

            results = MultiprocessingExecutor(2).map(align, range(2))
            if {how!r} == "interrupt":
                threading.Thread(target=interrupt).start()
                try:
                    list(results)
                except KeyboardInterrupt:
                    pass
                assert list(MultiprocessingExecutor(2).map(abs, [-1])) == [1]
            else:
                begin()
                if {how!r} == "exit":
                    sys.exit(0)
            """
        )
        wait_for_end(mark)

    @needs_linux("ends them with the program")
    @pytest.mark.parametrize("number", [signal.SIGTERM, KILL])
    def test_a_killed_program_takes_along_programs_that_items_started(self, tmp_path, mark, number):
        """As a cluster's scheduler kills it; programs started in the last second are not seen."""
        code = f"""
            import os, signal, subprocess, threading, time
            from phylozoo_parallel import MultiprocessingExecutor

            def align(item):
                subprocess.run(["sh", "-c", {self.SHELL!r}, {mark!r}])

            results = MultiprocessingExecutor(2).map(align, range(2))
            while len(os.popen("pgrep -f 'slee[p] {mark}'").read().split()) < 4:
                time.sleep(0.05)
            time.sleep(2.5)
            os.kill(os.getpid(), {int(number)})
            """
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
        wait_for_end(mark, 20)


def bare(directory):
    """Return a directory for PATH with a shell and what items run, and no pgrep or ps."""
    tools = directory / "bin"
    tools.mkdir()
    for name in "sh", "sleep", "cat":
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
        (tools / name).symlink_to(found.stdout.strip())
    return tools


def wait_for_end(mark, seconds=5):
    end = time.monotonic() + seconds
    while left := running(mark):
        assert time.monotonic() < end, left
        time.sleep(0.05)


class SlowToArrive:
    def __init__(self, index, seconds):
        self.index, self.seconds = index, seconds

    def __reduce__(self):
        return _arrive, (self.index, self.seconds)


def _arrive(index, seconds):
    time.sleep(seconds)
    return index


class SlowToLeave:
    def __init__(self, index):
        self.index = index

    def __reduce__(self):
        time.sleep(0.7)
        return int, (self.index,)


class TestATimeLimitIsTheItems:
    def test_imports_do_not_count_against_the_time_limit(self, tmp_path, monkeypatch):
        name = f"slow_to_import_{time.time_ns()}"
        code = "import os, time\nif os.getpid() != {}: time.sleep(1)\ndef f(x): return x\n"
        (tmp_path / f"{name}.py").write_text(code.format(os.getpid()))
        monkeypatch.syspath_prepend(tmp_path)
        func = __import__(name).f
        executor = MultiprocessingExecutor(2, timeout=0.5)
        assert list(executor.map(func, range(4))) == list(range(4))

    def test_unpickling_items_does_not_count_against_the_time_limit(self):
        executor = MultiprocessingExecutor(2, timeout=0.5)
        items = [SlowToArrive(index, 0.7) for index in range(3)]
        assert list(executor.map(abs, items)) == [0, 1, 2]

    def test_unpickling_captured_objects_does_not_count_against_the_time_limit(self):
        captured = SlowToArrive(7, 0.7)
        executor = MultiprocessingExecutor(2, timeout=0.5)
        assert list(executor.map(lambda item: captured, range(3))) == [7] * 3

    def test_pickling_results_does_not_count_against_the_time_limit(self):
        executor = MultiprocessingExecutor(2, timeout=0.5)
        assert list(executor.map(SlowToLeave, range(3))) == [0, 1, 2]


class TestSlowInput:
    """The caller's thread reads the input and hands out results: no result waits too long."""

    @staticmethod
    def check(executor):
        """Count the items that were read while a result was ready and waited."""
        begun, ready, waited = [], 0, []

        def slow():
            for item in range(12):
                begun.append(time.monotonic())
                time.sleep(0.05)
                yield item

        for at, done in executor.map(lambda item: (item, time.monotonic()), slow()):
            ready = max(ready, done)
            waited.append(sum(ready < begin for begin in begun) - (at == 11))
        assert max(waited) <= 2, waited  # one, and one for a slow way back

    @pytest.mark.parametrize("n_jobs", [1, 2, 64])
    def test_a_result_in_threads_does_not_wait_for_a_slow_input(self, n_jobs):
        self.check(ThreadingExecutor(n_jobs))

    @pytest.mark.parametrize("n_jobs", [1, 2, 4])
    def test_a_result_in_processes_does_not_wait_for_a_slow_input(self, n_jobs):
        executor = MultiprocessingExecutor(n_jobs)
        pids = set()
        while len(pids) < n_jobs:  # all of them are up
            pids |= set(executor.map(lambda _: time.sleep(0.05) or os.getpid(), range(8), 1))
        self.check(executor)

    def test_a_result_does_not_wait_for_an_input_that_became_slow(self, workers):
        """The clock is read after each item; after 64 items, 63 slow ones would be late."""
        read, seen = [], []

        def input_():
            for item in range(6000):
                if item >= 5000 and item % 100 == 0:
                    time.sleep(0.05)
                    read.append(item)
                yield item

        for result in workers.map(abs, input_()):
            seen.append((result, len(read)))
        slow_then = dict(seen)
        for at, item in enumerate(range(5000, 6000, 100)):
            assert slow_then[item] <= at + 3, slow_then[item]

    def test_chunks_of_a_slow_input_keep_the_users_size(self, workers):
        """A result is handed out while a chunk of the user's size is being read."""
        read = []

        def slow():
            for item in range(24):
                time.sleep(0.02)
                read.append(item)
                yield item

        results = workers.map(lambda item: threading.get_ident(), slow(), chunksize=8)
        next(results)
        assert len(read) <= 10
        assert len(list(results)) == 23

    def test_work_overlaps_with_reading_a_slow_input(self, threads):
        """If items take longer than reading them, the next is read meanwhile."""
        begun = queue.SimpleQueue()

        def slow():
            for item in range(6):
                time.sleep(0.05)
                yield item

        def work(item):
            begun.put(item)
            if item == 0:  # ends only when the next one has been read, and runs
                end = time.monotonic() + 30
                while begun.qsize() < 2:
                    assert time.monotonic() < end
                    time.sleep(0.005)
            return item

        assert list(threads.map(work, slow())) == list(range(6))


@needs_posix("SIGKILL")
class TestAProgramThatIsKilled:
    """All workers of the pool end, also those that never had a chunk."""

    @pytest.mark.parametrize(
        "first",
        [
            "",
            "Parallel(4)(delayed(abs)(item) for item in range(1))",
            "list(MultiprocessingExecutor(2).map(abs, range(1)))",
            "list(MultiprocessingExecutor(3).map(abs, range(1))); os.kill(max(pids()), 9)",
        ],
        ids=["ours", "joblib's", "resized", "replaced"],
    )
    def test_a_killed_program_leaves_no_idle_workers(self, tmp_path, first):
        script = f"""
            import os, signal
            from joblib import Parallel, delayed
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            def pids():
                return list(current()._processes)

            {first}
            list(MultiprocessingExecutor(4).map(abs, range(1)))
            print(*pids(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
            """
        out = tmp_path / "out"
        with out.open("w") as file:
            code = textwrap.dedent(script)
            subprocess.run([sys.executable, "-c", code], stdout=file, timeout=60)
        pids = [int(pid) for pid in out.read_text().split()]
        assert len(pids) == 4
        left, end = pids, time.monotonic() + 20
        while left := [pid for pid in left if psutil.pid_exists(pid)]:
            if time.monotonic() > end:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                pytest.fail(f"{len(left)} of {len(pids)} workers outlive their program")
            time.sleep(0.05)


class TestLokysMemoryGuard:
    def test_a_worker_that_loads_much_data_once_is_not_replaced(self, run_script):
        """loky measures memory after the first task, so the first one must not be empty."""
        run_script(
            """
            import time
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            held = []

            def load(item):
                import sys
                here = sys.modules.setdefault("held_here", type(sys)("held_here"))
                if not hasattr(here, "alignment"):
                    here.alignment = b"A" * 450_000_000
                time.sleep(0.3)
                return item

            for _ in range(2):
                executor = MultiprocessingExecutor(2)
                results = executor.map(load, range(12), chunksize=1)
                assert next(results) == 0
                before = set(current()._processes)
                assert list(results) == list(range(1, 12))
                assert set(current()._processes) == before
            """
        )


class TestOneProcess:
    """joblib has no processes, or the user wants none."""

    SCRIPT = """
        import os, threading, warnings
        {before}
        from phylozoo_parallel import ParallelConfig, ParallelBackend

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for backend in "multiprocessing", "threading":
                executor = ParallelConfig(backend, n_jobs=2, timeout=5, retries=0).get_executor()
                here = os.getpid(), threading.get_ident()
                got = list(executor.map(lambda item: (os.getpid(), threading.get_ident()), [1, 2]))
                assert got == [here, here], got
                assert list(executor.starmap_unordered(pow, [(2, 3)])) == [8]
                assert executor.n_jobs >= 1
                executor.close()
        told = [str(it.message) for it in told]
        """

    def test_maps_run_in_place_where_joblib_has_no_processes(self, run_script):
        script = textwrap.dedent(self.SCRIPT).format(
            before="os.environ['JOBLIB_MULTIPROCESSING'] = '0'"
        )
        run_script(script + "\nassert len(told) == 1 and 'one process' in told[0], told")

    def test_maps_run_in_place_where_the_system_has_no_semaphores(self, run_script):
        before = "import _multiprocessing; del _multiprocessing.SemLock"
        script = textwrap.dedent(self.SCRIPT).format(before=before)
        run_script(script + "\nassert len(told) == 1, told")

    def test_the_environment_variable_makes_maps_sequential(self, run_script):
        script = textwrap.dedent(self.SCRIPT).format(
            before="os.environ['PHYLOZOO_PARALLEL_BACKEND'] = 'sequential'"
        )
        run_script(script + "\nassert told == [], told")

    def test_a_breakpoint_works_with_the_environment_variable(self, run_script, monkeypatch):
        monkeypatch.setenv("PHYLOZOO_PARALLEL_BACKEND", "sequential")
        monkeypatch.setenv("PYTHONBREAKPOINT", "builtins.print")
        done = run_script(
            """
            from phylozoo_parallel import MultiprocessingExecutor
            list(MultiprocessingExecutor(2).map(lambda item: breakpoint(item), ["here"]))
            """
        )
        assert done.stdout == "here\n"

    def test_a_wrong_value_of_the_environment_variable_is_refused(self, workers, monkeypatch):
        monkeypatch.setenv("PHYLOZOO_PARALLEL_BACKEND", "serial")
        with pytest.raises(ValueError, match=r"PHYLOZOO_PARALLEL_BACKEND.*sequential.*'serial'"):
            workers.map(abs, [1])
        monkeypatch.setenv("PHYLOZOO_PARALLEL_BACKEND", "")
        assert list(workers.map(abs, [-1])) == [1]

    def test_the_environment_variable_may_change_between_two_maps(self, workers, monkeypatch):
        monkeypatch.setenv("PHYLOZOO_PARALLEL_BACKEND", "sequential")
        assert list(workers.map(lambda _: threading.get_ident(), [1])) == [threading.get_ident()]
        monkeypatch.delenv("PHYLOZOO_PARALLEL_BACKEND")
        here = os.getpid(), threading.get_ident()
        assert list(workers.map(lambda _: (os.getpid(), threading.get_ident()), [1])) != [here]


class TestAModuleThatShadows:
    def test_workers_start_beside_a_module_that_shadows_a_standard_one(
        self, tmp_path, monkeypatch, run_script
    ):
        """A random.py in the working directory; on Python 3.10 workers do import it."""
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "random.py").write_text("raise ImportError('not that one')\n")
        monkeypatch.chdir(tmp_path / "data")
        done = run_script(
            """
            import subprocess, sys
            from phylozoo_parallel import MultiprocessingExecutor, WorkerLostError

            def look(item):
                import os
                # What items start is as it would be without workers.
                return item, os.environ.get("PYTHONSAFEPATH")

            try:
                assert list(MultiprocessingExecutor(2).map(look, [1])) == [(1, None)]
            except WorkerLostError as error:
                assert sys.version_info < (3, 11)
                assert "ImportError: not that one" in str(error), error
                assert "random.py" in str(error), error
            """
        )
        assert sys.version_info < (3, 11) or done.stderr == ""

    def test_workers_that_cannot_start_say_why(self, tmp_path, monkeypatch, run_script):
        """The cause may be something else than the directory."""
        (tmp_path / "sitecustomize.py").write_text(
            "import sys\nif '--process-name' in sys.orig_argv or '--help' in sys.orig_argv:\n"
            "    raise SystemExit('no licence for workers')\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        done = run_script(
            """
            from phylozoo_parallel import MultiprocessingExecutor, WorkerLostError

            try:
                list(MultiprocessingExecutor(2).map(abs, [1]))
            except WorkerLostError as error:
                assert "no licence for workers" in str(error), error
            else:
                raise AssertionError
            """
        )
        assert done.stderr.count("SystemExit: no licence") <= 2 * 2  # the workers of two pools


def test_a_program_without_stdout_and_stderr(run_script, tmp_path):
    """As under pythonw, and in a shell after ``>&- 2>&-``."""
    run_script(
        f"""
        import sys
        sys.stdout = sys.stderr = None
        import os
        from phylozoo_parallel import MultiprocessingExecutor

        def fall(item):
            if item == 1 and not os.path.exists("fallen"):
                open("fallen", "w").close()
                os._exit(1)
            return item

        os.chdir({str(tmp_path)!r})
        results = list(MultiprocessingExecutor(2).map(fall, range(4), 1))
        with open("results", "w") as file:
            print(results, file=file)
        """
    )
    assert (tmp_path / "results").read_text() == "[0, 1, 2, 3]\n"
