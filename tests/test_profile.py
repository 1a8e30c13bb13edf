"""What a profile tells of maps: it adds up, lines up, and advises where something dominates."""

import hashlib
import json
import os
import sys
import threading
import time

import pytest

import phylozoo_parallel
from phylozoo_parallel import MultiprocessingExecutor, SequentialExecutor, ThreadingExecutor
from phylozoo_parallel._loky.start import current
from phylozoo_parallel._profile.lanes import clocks, runs
from phylozoo_parallel._profile.units import percents


def nap(seconds):
    time.sleep(seconds)


def profiled(executor, func, items, **given):
    """Return the figures of one map."""
    with phylozoo_parallel.profile() as run:
        list(executor.map(func, items, **given))
    (one,) = run.maps
    return one


def advised(*given, **options):
    """Return the advice on one map."""
    with phylozoo_parallel.profile() as run:
        executor, func, *items = given
        list(executor.map(func, *items, **options))
    (one,) = run.to_dict()["maps"]
    return one["advice"] or "", str(run)


def test_shares_add_up_and_lanes_have_no_gaps(executor):
    one = profiled(executor, nap, [0.01] * 12, chunksize=3)
    assert one.items == 12
    assert one.function == "nap"
    assert one.backend == {"": "sequential"}.get(executor._kind, one.backend)
    assert sum(one.shares.values()) == pytest.approx(1)
    assert one.shares["computing"] * one.time == pytest.approx(one.computing)
    assert one.computing >= 12 * 0.01
    assert 0 < one.reached <= one.most <= one.workers == executor.n_jobs
    for lane in one.lanes:
        edges = [edge for stretch in lane.stretches for edge in stretch[1:3]]
        assert edges[1:-1:2] == pytest.approx(edges[2:-1:2])
        assert edges == sorted(edges)
        assert edges[0] == one.record.begin
        assert edges[-1] == pytest.approx(one.record.begin + one.wall)


def test_a_profile_has_a_row_for_each_chunk(workers):
    with phylozoo_parallel.profile() as run:
        list(workers.map(str, range(10), chunksize=4))
    (one,) = json.loads(json.dumps(run.to_dict()))["maps"]
    rows = one["rows"]
    assert [(row["first"], row["items"], row["end"]) for row in rows] == [
        (0, 4, "done"),
        (4, 4, "done"),
        (8, 2, "done"),
    ]
    for row in rows:
        names = "packing", "sent", "began", "unpacked", "ran", "packed", "arrived", "settled"
        at = [row[name] for name in names]
        assert at == sorted(at)  # one clock
        assert (row["bytes_out"] > 0) is (workers._kind == "processes")


def test_a_frame_has_a_row_for_each_chunk(threads):
    pytest.importorskip("pandas")
    with phylozoo_parallel.profile() as run:
        list(threads.map(str, range(10), chunksize=4))
        list(threads.map(str, range(10), chunksize=5))
    assert list(run.to_frame()["map"]) == [1, 1, 1, 2, 2]


def test_the_percentages_of_the_text_add_up(workers):
    with phylozoo_parallel.profile() as run:
        list(workers.map(nap, [0.01] * 6))
    text = str(run)
    shares = [float(line.split(" %")[0]) for line in text.splitlines() if " % " in line]
    assert round(sum(shares), 6) == 100
    assert "nap" in text
    assert "speed-up" in text
    assert sum(percents(dict.fromkeys("abc", 1 / 3)).values()) == pytest.approx(100)


def test_a_profile_records_all_maps_that_start_inside(threads, sequential):
    """Also in other threads, and also if they end later; not maps that started outside."""
    before = threads.map(str, range(4))
    with phylozoo_parallel.profile() as run, phylozoo_parallel.profile() as inner:
        other = threading.Thread(target=lambda: list(sequential.map(str, range(3))))
        other.start()
        other.join()
        late = threads.map(str, range(5))
        list(before)
    after = threads.map(str, range(6))
    assert [one.running for one in run.maps] == [False, True]
    assert "so far" in str(run)
    assert list(late) == [str(item) for item in range(5)]
    list(after)
    assert [one.items for one in run.maps] == [one.items for one in inner.maps] == [3, 5]
    assert not any(one.running for one in run.maps)


def test_a_profile_without_maps_says_so():
    with phylozoo_parallel.profile() as run:
        pass
    assert str(run) == "no map was started"
    assert run.to_dict() == {"maps": []}


def test_a_profile_changes_no_result_error_or_stop(executor):
    with phylozoo_parallel.profile() as run:
        assert list(executor.starmap(pow, [(2, 3), (3, 2)])) == [8, 9]
        with pytest.raises(ZeroDivisionError):
            list(executor.map(lambda item: 1 // item, [1, 0]))
        results = executor.map(str, iter(range(10**9)))
        assert next(results) == "0"
        results.close()
    assert len(run.maps) == 3
    assert not any(one.running for one in run.maps)
    for one in run.maps:
        assert sum(one.shares.values()) == pytest.approx(1)


def test_clocks_of_other_machines_are_corrected_by_the_round_trip(processes):
    one = profiled(processes, nap, [0.01] * 8, chunksize=1)
    rows = one.record.rows
    assert all(clock.ahead == 0 for clock in clocks(rows).values())
    for row in rows:
        moved = {name: getattr(row.times, name) + 1000 for name in row.times._fields[3:8]}
        row.times = row.times._replace(ready=None, loaded=None, **moved)
    found = clocks(rows)
    truth = {run.row.first: run for run in one.runs}
    for after in runs(rows, found):
        before = truth[after.row.first]
        within = found[after.worker].within
        assert abs(before.begin - after.begin) <= within + 1e-6
        assert within < 1
    with phylozoo_parallel.profile() as run:
        pass
    run._records.append(one.record)
    assert "by the round trip" in str(run)


def test_a_trace_is_valid(workers, tmp_path):
    """By the rules of the Trace Event Format for the two kinds of events in it."""
    with phylozoo_parallel.profile() as run:
        list(workers.map(nap, [0.01] * 8))
        list(workers.map(str, range(100)))
    run.to_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert trace["displayTimeUnit"] in ("ms", "ns")
    named, last = set(), {}
    for event in trace["traceEvents"]:
        where = event["pid"], event["tid"]
        assert all(type(number) is int for number in where)
        assert isinstance(event["args"], dict)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
            named |= {where} if event["name"] == "thread_name" else set()
            continue
        assert event["ph"] == "X"
        assert isinstance(event["name"], str)
        assert isinstance(event["cat"], str)
        assert event["ts"] >= 0 <= event["dur"]
        assert where in named
        assert event["ts"] >= last.get(where, 0) - 0.01  # bars of a thread nest or follow
        last[where] = event["ts"] + event["dur"]
    assert len(last) == 2 * 3  # the caller and two workers, in two maps


def test_a_profile_shows_work_lost_with_a_worker(tmp_path):
    there = tmp_path / "there"

    def fall(item):
        time.sleep(0.4 if item == 0 else 0.01)
        if item == 0 and not there.exists():
            there.touch()
            os._exit(3)

    with phylozoo_parallel.profile() as run:
        list(MultiprocessingExecutor(2).map(fall, range(4)))
    (one,) = run.maps
    assert "run again after a death" in str(run)
    assert one.losses >= 1
    assert one.shares["run again after a death"] * one.time >= 0.3
    assert sum(one.shares.values()) == pytest.approx(1)


# Advice: for each, a workload that deserves it.


def stop_workers():
    if current() is not None:
        current().shutdown(wait=True)


class SlowToPickle:
    def __reduce__(self):
        time.sleep(0.02)
        return SlowToPickle, ()


def slow_input():
    for _ in range(8):
        time.sleep(0.05)
        yield 0.001


def loads_first():
    loaded = []

    def work(seconds):
        if not loaded:
            time.sleep(0.5)
            loaded.append(True)
        time.sleep(seconds)

    return work


def captures():
    held = os.urandom(60_000_000)
    return lambda item: len(held)


PROCESSES = MultiprocessingExecutor(2)
WORKLOADS = {
    "tiny": (lambda: (PROCESSES, abs, range(1_000_000)), "from about"),
    "captured": (lambda: (PROCESSES, captures(), range(4)), "the function captures 60 MB"),
    "results": (
        lambda: (PROCESSES, lambda item: bytearray(8_000_000), range(24)),
        "results of 8 MB each",
    ),
    "items": (
        lambda: (PROCESSES, len, [bytearray(8_000_000)] * 24),
        "items of 8 MB each",
    ),
    "input": (lambda: (PROCESSES, nap, slow_input()), "waited for the input"),
    "one long item": (lambda: (PROCESSES, nap, [0.02] * 6 + [1.0]), "item 6 took"),
    "too few items": (lambda: (PROCESSES, nap, [0.5]), "1 item cannot keep 2 workers busy"),
    "long chunks": (
        lambda: (PROCESSES, nap, [0.02] * 30, 29),
        "workers were idle while others ran the last items",
    ),
    "loads": (lambda: (PROCESSES, loads_first(), [0.01] * 12), "the first item took"),
    "caller": (
        lambda: (
            MultiprocessingExecutor(4),
            lambda item: time.sleep(0.05),
            [SlowToPickle() for _ in range(30)],
        ),
        "the caller cannot send",
    ),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_advice_names_the_cause_of_a_slow_map(name):
    make, words = WORKLOADS[name]
    executor = make()[0]
    list(executor.map(nap, [0.05] * 4, chunksize=1))  # the workers are up
    said = [advised(*make())]
    while words not in said[-1][0] and len(said) < 3:  # others may take the cores meanwhile
        said.append(advised(*make()))
    assert words in said[-1][0], said[-1][1]


def test_advice_names_a_slow_reader(processes):
    list(processes.map(nap, [0.05] * 4))
    with phylozoo_parallel.profile() as run:
        for _ in processes.map(nap, [0.001] * 10, chunksize=1):
            time.sleep(0.03)
    assert "waited for the loop over the results" in run.to_dict()["maps"][0]["advice"]


def test_advice_names_workers_that_start_for_little_work():
    stop_workers()
    said, text = advised(MultiprocessingExecutor(2), nap, [0.001] * 4)
    assert "starting the workers took" in said, text
    assert "use the sequential backend" in said, text


def test_advice_names_workers_that_start_for_long_work():
    found = []
    for items in (6, 12, 24, 48):  # much beside their start, which takes longer on a busy machine
        stop_workers()
        said, text = advised(MultiprocessingExecutor(2), nap, [0.1] * items)
        if "they stay up, and the next maps do without" in said:
            return
        found.append(f"{text}\n{said}")
    raise AssertionError("\n".join(found))


def test_advice_names_workers_that_died(tmp_path):
    there = tmp_path / "there"

    def fall(item):
        if not there.exists():
            time.sleep(0.8 if item == 0 else 30)
            there.touch()
            os._exit(3)

    list(PROCESSES.map(nap, [0.05] * 4, chunksize=1))
    said, text = advised(PROCESSES, fall, range(2), chunksize=1)
    assert "ran again because worker processes died" in said, text


def test_advice_names_a_slow_input_of_a_sequential_map():
    said, text = advised(SequentialExecutor(), nap, slow_input())
    assert "waited for the input" in said, text


def test_advice_names_slow_imports(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import os\ndef double(item): return 2 * item\n")
    monkeypatch.syspath_prepend(tmp_path)
    import slow_to_import

    (tmp_path / "slow_to_import.py").write_text(
        "import time\ntime.sleep(0.7)\ndef double(item): time.sleep(0.01); return 2 * item\n"
    )
    list(PROCESSES.map(nap, [0.05] * 4, chunksize=1))
    said, text = advised(PROCESSES, slow_to_import.double, range(8))
    assert "importing what the function needs" in said, text


def spin(steps):
    return sum(step * step for step in range(steps))


def hashed(size):
    """Compute while the interpreter's lock is released."""
    return hashlib.sha256(bytes(size)).digest()


CORES_TELL = sys.platform == "linux"
"""Whether the system tells when other programs have the cores; if not, they must have none."""


def advice_on_threads(func, items, wanted, least):
    """Return the advice on four threads; skip if they never got that much of a core."""
    for _ in range(5):
        begin, used = time.perf_counter(), time.process_time()
        said, text = advised(ThreadingExecutor(4), func, items, chunksize=1)
        got = (time.process_time() - used) / (time.perf_counter() - begin)
        if wanted(said):
            return said, text
    if got < least:
        pytest.skip(f"other programs have the cores: {got:.2f} of one is left")
    return said, text


def test_advice_names_threads_that_wait_for_the_gil():
    least = 0.4 if CORES_TELL else 0.9
    said, text = advice_on_threads(spin, [2_000_000] * 8, lambda said: "GIL" in said, least)
    assert "GIL" in said, text


@pytest.mark.parametrize(("func", "items"), [(hashed, [20_000_000] * 16), (nap, [0.1] * 16)])
def test_threads_that_run_or_wait_for_files_get_no_advice(func, items):
    least = 0.0 if CORES_TELL else 1.6
    said, text = advice_on_threads(func, items, lambda said: "GIL" not in said, least)
    assert "GIL" not in said, text


def hash_in_threads(size):
    """Keep four threads busy, as BLAS does: hashing releases the global interpreter lock."""
    block = bytes(size)
    threads = [threading.Thread(target=hashlib.sha256, args=(block,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    hashlib.sha256(block)
    for thread in threads:
        thread.join()


def test_advice_names_workers_with_too_many_threads(workers):
    list(workers.map(nap, [0.05] * 4, chunksize=1))
    said, text = advised(workers, hash_in_threads, [20_000_000] * 6)
    assert "BLAS or OpenMP" in said, text


def test_a_balanced_map_gets_no_advice(workers):
    list(workers.map(nap, [0.05] * 4, chunksize=1))
    for _ in range(3):
        said, text = advised(workers, nap, [0.1] * 12)
        if not said:
            return
    raise AssertionError(text)


def test_a_sequential_map_gets_no_advice():
    assert not advised(SequentialExecutor(), nap, [0.01] * 12)[0]


@pytest.mark.parametrize(("workers", "chunks"), [(1, 10), (64, 640), (2, 3000)])
def test_a_picture_is_full_to_its_ends_and_of_bounded_size(workers, chunks):
    """For any number of chunks, the drawn width is the time that they took."""
    pytest.importorskip("matplotlib")
    from phylozoo_parallel._profile import plot

    one = profiled(ThreadingExecutor(workers), nap, [0.0001] * chunks, chunksize=1)
    begin, end = one.record.begin, one.record.begin + one.wall
    for lane in one.lanes:
        bars = [stretch[:3] for stretch in lane.stretches]
        whole = plot.bricks(bars, begin, end, crowded=False)
        columns = plot.bricks(bars, begin, end, crowded=True)
        assert sum(map(len, columns.values())) <= plot.COLUMNS * len(columns)
        for drawn in (whole, columns):
            area = {name: sum(it[1] * it[3] for it in where) for name, where in drawn.items()}
            assert sum(area.values()) == pytest.approx(one.wall)
        spent = sum(it.end - it.begin for it in lane.stretches if it.state == "computing")
        assert area.get("computing", 0.0) == pytest.approx(spent)
    figure = plot.plot(one, "nap")
    assert len(figure.axes[0].collections) <= 10 * (workers + 1)
    assert len(figure.axes[0].get_yticks()) <= 1 + max(plot.LANES, workers // 4)


def test_a_notebook_shows_text_and_picture(threads):
    pytest.importorskip("matplotlib")
    with phylozoo_parallel.profile() as run:
        assert "no map" in run._repr_html_()
        with pytest.raises(ValueError, match="this profile has no map"):
            run.plot()
        list(threads.map(lambda item: item, range(10)))
    shown = run._repr_html_()
    assert "&lt;lambda&gt;" in shown
    assert 'src="data:image/png;base64,' in shown
    with pytest.raises(ValueError, match="there is no map 2 in a profile of 1 maps"):
        run.plot(2)


def test_without_matplotlib_the_picture_says_what_to_install(threads, monkeypatch):
    """The text is there all the same, and the error says what to install."""
    with phylozoo_parallel.profile() as run:
        list(threads.map(str, range(10)))
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        run.plot()
    assert "<img" not in run._repr_html_()
    assert "speed-up" in run._repr_html_()


def test_many_maps_are_told_of_in_short(sequential):
    with phylozoo_parallel.profile() as run:
        for _ in range(12):
            list(sequential.map(nap, [0.001]))
    assert repr(run) == "<profile of 12 maps; print() shows it>"
    assert str(run).count("speed-up") == 10
    assert "and 2 shorter maps, " in str(run)


def test_a_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with phylozoo_parallel.profile() as run:
        pass
    with pytest.raises(ImportError, match="pip install pandas"):
        run.to_frame()
