"""The progress bar."""

import io
import re
import sys
import time

import pytest

import phylozoo_parallel
from phylozoo_parallel import ParallelConfig, PhyloZooTypeError, ThreadingExecutor

pytest.importorskip("tqdm")


def last(capsys):
    """Return the last state of the last bar on stderr."""
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.rstrip("\r\n ").rpartition("\r")[2]


@pytest.fixture(params=["sequential", "threading", "multiprocessing"])
def backend(request):
    return request.param


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_bar_counts_items_on_every_backend(backend, n_jobs, capsys):
    executor = ParallelConfig(backend, n_jobs, progress="bootstrap").get_executor()
    assert list(executor.map(abs, range(300))) == list(range(300))
    assert "bootstrap: 100%" in (shown := last(capsys))
    assert "300/300" in shown
    assert list(executor.starmap(pow, ((i, 2) for i in range(50)))) == [i * i for i in range(50)]
    assert "bootstrap: 50it" in last(capsys)


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_the_bar_moves_while_long_chunks_run(backend, capsys):
    executor = ParallelConfig(backend, 2, chunksize=60, progress=True).get_executor()
    list(executor.map(time.sleep, [0.02] * 120))
    shown = {int(done) for done in re.findall(r"(\d+)/120", capsys.readouterr().err)}
    assert shown - {0, 60, 120}
    assert 120 in shown


def test_no_bar_is_shown_unless_asked_for(backend, capsys):
    assert list(ParallelConfig(backend, 2).get_executor().map(abs, range(9))) == list(range(9))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("end", ["error", "close", "drop"])
def test_the_bar_closes_with_the_map(backend, end, capsys):
    from tqdm.auto import tqdm

    executor = ParallelConfig(backend, 2, progress=True).get_executor()
    results = executor.map(lambda item: 1 // (item - 50), range(100))
    assert next(results) == -1
    if end == "error":
        with pytest.raises(ZeroDivisionError):
            list(results)
    elif end == "close":
        results.close()
    del results
    assert not list(tqdm._instances)
    assert "/100" in last(capsys)


def test_progress_shows_a_bar_for_every_map_of_its_context(backend, capsys):
    config = ParallelConfig(backend, 2)
    with phylozoo_parallel.progress("all"):
        assert list(config.get_executor().map(abs, range(9))) == list(range(9))
        assert "all: 100%" in (shown := last(capsys))
        assert "9/9" in shown
        with phylozoo_parallel.progress(False):
            assert list(config.get_executor().map(abs, range(9))) == list(range(9))
        assert last(capsys) == ""
    assert list(config.get_executor().map(abs, range(9))) == list(range(9))
    assert last(capsys) == ""


def test_maps_inside_workers_show_no_bar(workers, capfd):
    def inner(item):
        return sum(ParallelConfig("sequential", progress=True).get_executor().map(abs, [item]))

    with phylozoo_parallel.progress():
        assert list(workers.map(inner, range(8))) == list(range(8))
    assert "8/8" in last(capfd)


def test_a_map_inside_a_loop_over_a_map_has_its_own_line(backend, capsys):
    """The bars of inner maps come and go below the outer one, which stays."""
    outer = ParallelConfig("threading", 2, progress="outer").get_executor()
    inner = ParallelConfig(backend, 2, progress="inner").get_executor()
    for _ in outer.map(abs, range(3)):
        assert list(inner.map(abs, range(5))) == list(range(5))
    shown = capsys.readouterr().err
    assert "\n\rinner: " in shown  # a line below
    assert shown.splitlines()[-1].rpartition("\r")[2].startswith("outer: 100%")


def test_tqdm_disable_switches_the_bar_off(run_script):
    done = run_script(
        """
        import os
        os.environ["TQDM_DISABLE"] = "1"
        from phylozoo_parallel import ParallelConfig
        for backend in "sequential", "threading", "multiprocessing":
            executor = ParallelConfig(backend, 2, progress=True).get_executor()
            assert list(executor.map(abs, range(9))) == list(range(9))
        """
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_configuration_with_a_bar_needs_tqdm(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        ParallelConfig(backend, progress=True)
    with pytest.raises(ImportError), phylozoo_parallel.progress():
        pass
    ParallelConfig(backend)


def test_a_description_is_a_string_or_a_boolean(backend):
    for wrong in 1, None, b"x":
        with pytest.raises(PhyloZooTypeError, match="progress must be True, False or a desc"):
            ParallelConfig(backend, progress=wrong)


def test_repr_shows_progress():
    assert repr(ParallelConfig(progress="x")).endswith("chunksize=None, progress=x)")


def test_an_interrupt_closes_the_bar(capsys):
    from tqdm.auto import tqdm

    def interrupted():
        yield from range(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ThreadingExecutor(2, progress=True).map(abs, interrupted()))
    assert not list(tqdm._instances)


@pytest.mark.parametrize("since", [0.0, 0.1])
def test_a_bar_that_cannot_be_shown_does_not_stop_the_map(workers, since, monkeypatch):
    class Broken(io.StringIO):
        def write(self, text):
            if time.monotonic() > begin + since:
                raise BrokenPipeError
            return len(text)

    executor = type(workers)(2, progress=True)
    assert list(workers.map(abs, range(9))) == list(range(9))
    begin = time.monotonic()
    monkeypatch.setattr(sys, "stderr", Broken())
    slowly = executor.map(lambda item: time.sleep(0.02), range(30), chunksize=1)
    assert list(slowly) == [None] * 30


@pytest.mark.parametrize("written", [0, 1, 3])
def test_a_bar_that_cannot_be_shown_does_not_block_other_bars(backend, written, run_script):
    done = run_script(
        f"""
        import io, sys, threading, time
        from phylozoo_parallel import ParallelConfig
        from tqdm.auto import tqdm

        class Broken(io.StringIO):
            left = {written}
            def write(self, text):
                self.left -= 1
                if self.left < 0:
                    raise BrokenPipeError
                return len(text)

        shown, sys.stderr = sys.stderr, Broken()
        executor = ParallelConfig({backend!r}, 2, progress=True).get_executor()
        print(len(list(executor.map(lambda item: time.sleep(0.15), range(4), 1))))
        sys.stderr = shown
        free = threading.Thread(target=tqdm.get_lock().acquire, daemon=True)
        free.start()
        free.join(20)
        print(free.is_alive())
        """
    )
    assert (done.stdout, done.stderr) == ("4\nFalse\n", "")
