"""The page for users of joblib: its blocks, every row of its tables, and what it says of both."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import threading
import time

import joblib
import numpy
import pytest
from environments import ROOT
from joblib import Parallel, delayed

from phylozoo_parallel import MultiprocessingExecutor, PhyloZooValueError, ThreadingExecutor

PAGE = ROOT / "docs" / "from-joblib.md"

CHECKS = {
    "sums = ": "assert sums == [4.0, 4.0, 4.0]",
    "squares = ": "assert squares == [x * x for x in xs]",
    "again = ": "assert again == squares",
    "workers = ": "assert workers == max(1, joblib.cpu_count() - 1)",
    "seen = ": "assert seen == [('HKY85', '2')] * 10",
}


def test_the_page_runs_from_top_to_bottom(run_page, tmp_path, monkeypatch):
    """In each row of expressions, joblib and this library have the same results."""
    monkeypatch.chdir(tmp_path)
    rows = re.findall(r"^\| `([^`]*[)\]])` \| `([^`]+)` \|$", PAGE.read_text("utf-8"), re.M)
    assert len(rows) == 23
    more = ""
    for theirs, ours in rows:
        more += f"\nassert sorted({theirs}) == sorted({ours}), {ours!r}"
        if "unordered" not in ours:
            more += f"\nassert list({theirs}) == list({ours}), {ours!r}"
    run_page("from-joblib.md", CHECKS, more)


def pid(_=None):
    return os.getpid()


def half(x):
    return 12 / x


class TestWorkers:
    def test_no_worker_count_is_one_worker_in_joblib_and_all_cores_here(self):
        assert joblib.effective_n_jobs(None) == 1
        assert MultiprocessingExecutor().n_jobs == joblib.cpu_count()

    def test_one_worker_is_the_caller_in_joblib_and_a_process_here(self):
        assert set(Parallel(n_jobs=1)(delayed(pid)() for _ in range(4))) == {os.getpid()}
        assert os.getpid() not in set(MultiprocessingExecutor(1).map(pid, range(4)))

    def test_minus_two_is_refused_here_and_taken_from_the_context(self):
        with pytest.raises(PhyloZooValueError, match="n_jobs"):
            MultiprocessingExecutor(-2)
        with joblib.parallel_config(n_jobs=-2):
            assert MultiprocessingExecutor().n_jobs == joblib.effective_n_jobs(-2)

    def test_parallel_backend_counts_as_a_context(self):
        with joblib.parallel_backend("loky", n_jobs=3, inner_max_num_threads=2):
            executor = MultiprocessingExecutor()
            assert executor.n_jobs == 3
            assert set(executor.map(lambda _: os.environ["OMP_NUM_THREADS"], [0])) == {"2"}

    def test_nested_tasks_may_run_in_threads_in_joblib_and_run_in_place_here(self, processes):
        """Some of joblib's nested tasks run in other threads; here all run in the worker's own."""

        def theirs(_):
            places = Parallel(n_jobs=2)(delayed(threading.get_ident)() for _ in range(4))
            return threading.get_ident() in places

        def ours(_):
            places = set(MultiprocessingExecutor(2).map(lambda _: threading.get_ident(), range(4)))
            return places == {threading.get_ident()}

        assert Parallel(n_jobs=2)(delayed(theirs)(x) for x in range(2)) == [False, False]
        assert list(processes.map(ours, range(2))) == [True, True]


class TestWorkersAfterAnEarlyEnd:
    @pytest.fixture(autouse=True)
    def _warm(self, processes, pool_pids):
        list(processes.map(abs, range(4), 1))
        self.before = pool_pids()
        self.now = pool_pids

    def test_an_error_of_an_item_leaves_the_workers_running(self, processes):
        results = processes.map(half, [4, 3, 0, 1])
        assert [next(results), next(results)] == [3, 4]
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert "item 2" in str(caught.value.__cause__)
        assert self.now() == self.before

    def test_an_error_in_joblib_ends_the_workers(self):
        with pytest.raises(ZeroDivisionError):
            Parallel(n_jobs=2)(delayed(half)(x) for x in [4, 3, 0, 1])
        assert not self.now() & self.before

    def test_dropping_the_results_leaves_the_workers_running(self, processes):
        results = processes.map(abs, range(1000), 1)
        next(results)
        del results
        assert self.now() == self.before

    def test_closing_joblibs_generator_ends_the_workers(self):
        calls = (delayed(pid)(x) for x in itertools.count())
        results = Parallel(n_jobs=2, return_as="generator")(calls)
        next(results)
        with pytest.warns(UserWarning, match="cancelled"):
            results.close()
        assert not self.now() & self.before

    def test_joblibs_timeout_is_another_class_and_ends_the_workers(self):
        with pytest.raises(multiprocessing.TimeoutError) as caught:
            Parallel(n_jobs=2, timeout=0.5)(delayed(time.sleep)(60 * x) for x in range(2))
        assert not isinstance(caught.value, TimeoutError)
        assert not self.now() & self.before
        with pytest.warns(UserWarning, match="timeout"):
            assert Parallel(n_jobs=1, timeout=0.001)([delayed(time.sleep)(0.1)]) == [None]

    def test_a_timeout_names_the_item(self):
        results = MultiprocessingExecutor(2, timeout=2).map(lambda x: time.sleep(60 * x), range(2))
        assert next(results) is None
        with pytest.raises(TimeoutError, match="item 1"):
            next(results)


class Same:
    """A function that counts, in this process, how often it is pickled."""

    pickled = 0

    def __call__(self, x):
        return x

    def __getstate__(self):
        Same.pickled += 1
        return {}


class TestOtherDifferences:
    def test_the_function_is_pickled_once_here_and_for_each_task_in_joblib(self, processes):
        Same.pickled = 0
        assert list(processes.map(Same(), range(20), 1)) == list(range(20))
        assert Same.pickled == 1
        same = Same()
        calls = (delayed(same)(x) for x in range(20))
        assert Parallel(n_jobs=2, batch_size=1)(calls) == list(range(20))
        assert Same.pickled == 21

    def test_the_callers_thread_reads_the_input_here(self, processes):
        readers = set()

        def items():
            for x in range(50):
                readers.add(threading.get_ident())
                yield x

        assert list(processes.map(abs, items(), 1)) == list(range(50))
        assert readers == {threading.get_ident()}
        Parallel(n_jobs=2, batch_size=1)(delayed(abs)(x) for x in items())
        assert len(readers) > 1

    def test_verbose_of_a_context_has_no_effect_here(self, processes, capfd):
        with joblib.parallel_config(verbose=10):
            assert list(processes.map(abs, range(20))) == list(range(20))
            assert capfd.readouterr() == ("", "")
            Parallel(n_jobs=2)(delayed(abs)(x) for x in range(20))
        assert "Done" in capfd.readouterr().err


def writable(array):
    return array.flags.writeable


def overwrite(array):
    array[:] = 7
    return float(array[0])


class TestArrays:
    @pytest.mark.parametrize("settings", [{}, {"mmap_mode": "r"}, {"max_nbytes": None}], ids=str)
    def test_arrays_are_writable_and_private_in_the_worker(self, processes, settings):
        array = numpy.ones(200_000)
        with joblib.parallel_config(**settings):
            assert list(processes.map(overwrite, [array])) == [7]
            assert list(processes.map(lambda x: array[x].item(), [0])) == [1]
        assert array[0] == 1

    def test_arrays_of_joblib_are_read_only(self):
        assert Parallel(n_jobs=2)(delayed(writable)(numpy.ones(200_000)) for _ in "ab") == [
            False,
            False,
        ]

    def test_a_memmap_of_the_user_is_shared_in_joblib_and_copied_here(self, processes, tmp_path):
        """joblib opens the same file in its worker; a map sends a copy of the content."""
        file = numpy.memmap(tmp_path / "file", dtype=float, mode="w+", shape=200_000)
        assert list(processes.map(overwrite, [file])) == [7]
        assert file[0] == 0
        assert Parallel(n_jobs=2)([delayed(overwrite)(file)]) == [7]
        assert file[0] == 7


class TestWorkersOfAContext:
    def test_idle_workers_end_after_idle_worker_timeout(self, processes, pool_pids, wait_until):
        with joblib.parallel_config(backend="loky", idle_worker_timeout=0.2):
            seen = set(processes.map(pid, range(4), 1))
            wait_until(lambda: not seen & pool_pids())
            assert list(processes.map(abs, [-1])) == [1]

    @pytest.mark.parametrize(
        ("settings", "stay"),
        [
            ({"inner_max_num_threads": 3}, False),
            ({"mmap_mode": "c"}, False),
            ({"max_nbytes": "2M"}, False),
            ({"temp_folder": os.curdir}, True),
        ],
        ids=str,
    )
    def test_settings_of_a_context_start_new_workers_where_they_need_them(
        self, processes, pool_pids, settings, stay
    ):
        list(processes.map(abs, range(4), 1))
        before = pool_pids()
        with joblib.parallel_config(backend="loky", **settings):
            list(processes.map(abs, range(4), 1))
        assert (pool_pids() == before) is stay
        assert (not pool_pids() & before) is not stay

    def test_the_context_around_the_call_counts(self, processes):
        def threads_allowed(_):
            return os.environ["OMP_NUM_THREADS"]

        with joblib.parallel_config(backend="loky", inner_max_num_threads=6):
            results = processes.map(threads_allowed, range(4))
        assert set(results) == {"6"}

    def test_an_initializer_has_no_effect_on_threads(self):
        started = []
        with joblib.parallel_config(backend="loky", initializer=started.append, initargs=(1,)):
            assert list(ThreadingExecutor(2).map(abs, [-1])) == [1]
        assert not started
