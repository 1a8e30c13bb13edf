"""Maps on a joblib whose insides are not as we know them: right, and slower at worst."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import joblib
import numpy
import pytest
import skew

import phylozoo_parallel
from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor, WorkerLostError
from phylozoo_parallel._engines import pools
from phylozoo_parallel._loky import contract
from phylozoo_parallel._loky.contract import LokyBackend
from phylozoo_parallel._profile.lanes import OTHER, PLAIN

PROBE = Path(__file__).parent / "skew_probe.py"
SOURCES = Path(contract.__file__).parent.parent

STANDARD = {"_is_mine", "_register_atexit", "acquire", "append", "mutex", "queue", "send_bytes"}
"""Names of the standard library's: they do not change with joblib."""


def names(table):
    """Return all parts of the names of a table, and where they are."""
    found = {}
    for what, listed in table.items():
        for alternatives in listed.split():
            for part in alternatives.split("|")[0].split("."):
                if part not in STANDARD:
                    found[part] = what
    return found


NEEDED = names(contract.NEEDED)
OPTIONAL = {name: what for name, what in names(contract.OPTIONAL).items() if name not in NEEDED}
MODULES = [f"joblib.{it}" for it in ("parallel", "executor", "_parallel_backends", "externals")] + [
    f"joblib.externals.{it}"
    for it in (
        "loky",
        "loky.process_executor",
        "loky.reusable_executor",
        "loky.backend",
        "loky.backend.resource_tracker",
        "loky.backend.utils",
    )
]
LEFT_OUT = {"DaskDistributedBackend", "_callbacks", "client", "_winapi"}
"""Names that only a map on Dask comes upon, or one on Windows."""

SAMPLE = {"BatchedCalls", "submit", "_pool", "_workers", "_executor", "_call_queue", "_CallItem"}
"""What is renamed in every run of the suite: something of each thing."""

ARGUMENTS = ["kill_workers"]
"""Of what is called by name."""

ALL = [name for name in [*MODULES, *NEEDED, *OPTIONAL, *ARGUMENTS] if name not in LEFT_OUT]

NEEDLESS = pytest.mark.skipif(
    not contract.LOKY.startswith("joblib"), reason="the copies are made of joblib's own loky"
)


def probed(home):
    """Run the probe on the joblib in a directory; return what was wrong, and the warnings."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(SOURCES.parent)])}
    process = subprocess.Popen(
        [sys.executable, PROBE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        pytest.fail(f"it hangs:\n{out}\n{err}", pytrace=False)
    assert process.returncode == 0, err
    assert "Error" not in err, err
    found = json.loads(out.splitlines()[-1])
    assert not found["wrong"], "\n".join(found["wrong"].values())
    return found["warnings"]


def one_warning(warned, *words):
    """Return whether there was exactly one warning, with these words."""
    begin = f"RuntimeWarning: joblib {joblib.__version__} is not as"
    return len(warned) == 1 and warned[0].startswith(begin) and all(it in warned[0] for it in words)


def whole_run(names):
    """Mark a test that is not run with the whole suite."""
    return [it if it in SAMPLE else pytest.param(it, marks=pytest.mark.contract) for it in names]


@NEEDLESS
@pytest.mark.parametrize("name", whole_run(ALL))
def test_maps_are_right_when_a_name_of_joblib_has_changed(name, tmp_path):
    skew.renamed(tmp_path, name)
    warned = probed(tmp_path)
    if name in NEEDED:
        assert one_warning(warned, name)
    elif name in OPTIONAL:
        assert not warned
    else:
        assert not warned or one_warning(warned)


@NEEDLESS
def test_maps_are_right_when_tasks_have_another_form(tmp_path):
    """The first task on the direct path cannot be read then, and no other one is sent there."""
    made = r"_CallItem\(\s*work_id,\s*work_item.fn,\s*work_item.args,\s*work_item.kwargs,\s*\)"
    read = r"( *)call_item = call_queue.get\(.*\)\n"

    def wrap(text):
        text = re.sub(made, lambda it: f'("task", {it[0]})', text)
        return re.sub(read, r"\g<0>\1call_item = call_item and call_item[1]" + "\n", text)

    assert skew.edit(skew.copy_joblib(tmp_path), wrap) == 1
    assert not probed(tmp_path)


@NEEDLESS
@pytest.mark.parametrize(
    "make",
    [skew.next_joblib, skew.outside_joblib, partial(skew.next_joblib, mended=False)],
    ids=["inside", "outside", "inside a joblib that does not know it"],
)
def test_maps_are_right_with_the_next_loky(make, tmp_path):
    make(tmp_path)
    assert not probed(tmp_path)


@NEEDLESS
def test_threads_share_one_pool_where_loky_has_one_for_each_thread(tmp_path, run_script):
    skew.next_joblib(tmp_path)
    run_script(
        f"""
        import os, sys
        sys.path.insert(0, {str(tmp_path)!r})
        import multiprocessing
        from threading import Thread
        from phylozoo_parallel import MultiprocessingExecutor

        def run(n_jobs):
            executor = MultiprocessingExecutor(n_jobs)
            assert list(executor.map(abs, range(-20, 0), 1)) == list(range(20, 0, -1))

        run(2)
        for n_jobs in 2, 3, 2:
            thread = Thread(target=run, args=(n_jobs,))
            thread.start()
            thread.join()
            assert len(multiprocessing.active_children()) == n_jobs
        run(2)
        assert len(multiprocessing.active_children()) == 2
        """
    )


@pytest.fixture
def plain(monkeypatch):
    """Make maps run as if a needed name were missing."""
    monkeypatch.setattr(contract, "missing", "its executor has no arms")
    monkeypatch.setattr("phylozoo_parallel._engines.plain._warned", True)


@pytest.mark.usefixtures("plain")
class TestPlainCalls:
    def test_plain_calls_warn_once_where_the_map_is_called(self, monkeypatch, workers):
        monkeypatch.setattr("phylozoo_parallel._engines.plain._warned", False)
        with pytest.warns(RuntimeWarning, match="has no arms") as caught:
            assert list(workers.map(abs, [-1])) == [1]
        assert [it.filename for it in caught] == [__file__]
        assert list(workers.map(abs, [-1])) == [1]

    def test_plain_calls_give_the_same_results_in_order(self, workers):
        items = [5, 0, 3, 1, 4] * 4
        assert list(workers.map(lambda it: time.sleep(it / 500) or it, items)) == items
        assert sorted(workers.map_unordered(abs, iter(items))) == sorted(items)
        assert list(workers.starmap(pow, [(2, 3), (3, 2)], 1)) == [8, 9]
        assert list(workers.map(abs, [])) == []

    def test_a_profile_calls_other_what_joblib_does_not_tell(self, workers):
        with phylozoo_parallel.profile() as run:
            assert list(workers.map(abs, [-1] * 20, 1)) == [1] * 20
            list(workers.map(time.sleep, [0.02] * 10, 1))
        for one in run.maps:
            assert one.engine == PLAIN
            assert sum(one.shares.values()) == pytest.approx(1)
            for lane in one.lanes:
                states = [it.state for it in lane.stretches]
                rows = [it.row is not None for it in lane.stretches]
                if True in rows:  # on a busy machine, one worker may do it all
                    assert states[rows.index(True) - 1] == OTHER
        assert run.maps[1].computing >= 10 * 0.02
        assert len(run.maps[1].lanes) == 2

    def test_plain_calls_take_endless_input_and_can_be_left_early(self, workers):
        read = []
        results = workers.map(abs, (read.append(it) or it for it in itertools.count()), 1)
        assert list(itertools.islice(results, 20)) == list(range(20))
        results.close()
        assert len(read) <= 40

    def test_plain_calls_keep_errors_in_place_or_return_them(self, workers):
        results, got = workers.map(lambda it: 6 // it, [3, 2, 0, 1], 1), []
        with pytest.raises(ZeroDivisionError):
            got.extend(results)
        assert got == [2, 3]
        *good, bad = workers.map(lambda it: 6 // it, [3, 2, 0], 1, return_exceptions=True)
        assert good == [2, 3]
        assert isinstance(bad, ZeroDivisionError)

    def test_plain_calls_run_lost_work_again_and_name_the_guilty_item(self, processes, caplog):
        results, got = processes.map(lambda it: it != 2 or os._exit(3), range(5), 1), []
        with pytest.raises(WorkerLostError, match="item 2"):
            got.extend(results)
        assert got == [True, True]
        assert "item 2" in caplog.text

    def test_plain_calls_give_each_worker_a_private_array(self, processes):
        array = numpy.ones(1 << 18)

        def overwrite(item):
            array[0] += item
            return array[0]

        assert list(processes.map(overwrite, [1, 1], 2)) == [2, 3]
        assert array[0] == 1

    @pytest.mark.parametrize("kind", [MultiprocessingExecutor, ThreadingExecutor])
    def test_plain_calls_with_one_worker_run_one_item_at_a_time(self, kind, tmp_path):
        def alone(_):
            file = tmp_path / "running"
            file.touch(exist_ok=False)
            time.sleep(0.005)
            file.unlink()

        assert list(kind(1).map(alone, range(8), 1)) == [None] * 8

    def test_plain_calls_work_inside_one_another(self, workers):
        def nested(item):
            return sum(MultiprocessingExecutor(2).map(abs, range(item)))

        assert list(workers.map(nested, range(4))) == [0, 0, 1, 3]

    def test_plain_calls_with_different_worker_counts_run_together(self, workers):
        with ThreadPoolExecutor() as threads:
            maps = [
                threads.submit(lambda n: list(MultiprocessingExecutor(n).map(abs, range(9), 1)), n)
                for n in (2, 3, 2, 3)
            ]
            assert list(workers.map(abs, range(9), 1)) == list(range(9))
            assert [it.result(60) for it in maps] == [list(range(9))] * 4

    def test_plain_calls_run_on_the_backend_of_a_context(self, processes):
        class Counting(LokyBackend):
            started = 0

            def start_call(self):
                type(self).started += 1

        joblib.register_parallel_backend("counting", Counting)
        try:
            with joblib.parallel_config("counting"):
                assert list(processes.map(lambda it: -it, range(9), 3)) == [-it for it in range(9)]
        finally:
            del joblib.parallel.BACKENDS["counting"]
        assert Counting.started

    def test_plain_calls_work_without_the_contexts_backend(self, workers, monkeypatch):
        monkeypatch.delattr(joblib.parallel, "get_active_backend")
        monkeypatch.setattr("phylozoo_parallel._loky.context.none", (None, None))
        with joblib.parallel_config(n_jobs=2):
            assert list(workers.map(abs, range(9))) == list(range(9))
            assert list(MultiprocessingExecutor().map(abs, range(9))) == list(range(9))


@NEEDLESS
@pytest.mark.parametrize("name", [None, "_call_queue", "_pool"])
def test_the_report_says_what_is_missing(name, tmp_path):
    skew.renamed(tmp_path, name) if name else skew.copy_joblib(tmp_path)
    path = os.pathsep.join([str(tmp_path), str(SOURCES.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "phylozoo_parallel", "--json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.stderr
    told = json.loads(done.stdout)["joblib"]
    if name is None:
        assert told == {"maps": "on its open pools", "missing": None}
    else:
        assert told["maps"].startswith("slower")
        assert name in told["missing"]


def test_an_executor_that_breaks_while_its_pool_opens_is_not_taken_for_a_changed_loky():
    """It has dropped its parts; otherwise all later maps of the program would be slow."""
    executor = MultiprocessingExecutor(2)
    assert list(executor.map(abs, [-1, -2])) == [1, 2]
    pool = pools.kept["processes"]
    pool.executor.shutdown(kill_workers=True)
    assert pool.executor._executor_manager_thread_wakeup is None
    pool._look()
    assert not contract.missing
    assert list(executor.map(abs, [-1, -2])) == [1, 2]
