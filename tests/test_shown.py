"""How executors and results show themselves."""

import threading

import pytest

from phylozoo_parallel import MultiprocessingExecutor, SequentialExecutor, ThreadingExecutor


def test_repr_of_an_executor_shows_how_it_was_made():
    shown = [
        "MultiprocessingExecutor(n_jobs=4)",
        "MultiprocessingExecutor()",
        "ThreadingExecutor(n_jobs=-1, chunksize=10, retries=0, timeout=2.5)",
        "SequentialExecutor()",
    ]
    for text in shown:
        assert repr(eval(text)) == text
    assert {MultiprocessingExecutor, SequentialExecutor, ThreadingExecutor}


def test_repr_of_results_shows_how_many_items_are_done(wait_until):
    go = threading.Event()

    def work(item):
        return go.wait(30) if item == 5 else item

    results = ThreadingExecutor(2).map(work, range(12), chunksize=3)
    wait_until(lambda: repr(results) == "<results: 11 of 12 items done>")
    go.set()
    wait_until(lambda: repr(results) == "<results: 12 of 12 items done>")
    assert len(list(results)) == 12
    assert repr(results) == "<results: 12 of 12 items done>"


def test_repr_of_results_without_a_length_counts_items_read(workers):
    results = workers.map(str, iter("abc"))
    assert next(results) == "a"
    assert "items read so far done" in repr(results)
    assert list(results) == ["b", "c"]
    assert repr(results) == "<results: 3 of the 3 items read so far done>"


def test_results_of_a_map_without_workers(sequential):
    results = sequential.map(lambda item: 1 // item, [1, 1, 0, 1])
    assert repr(results) == "<results: 0 of 4 items done>"
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert repr(results) == "<results: 2 of 4 items done>"
    results = sequential.starmap(pow, iter([(2, 3), (3, 2)]))
    assert next(results) == 8
    assert repr(results) == "<results: 1 item done>"
    results.close()
    assert list(results) == []
    assert repr(results) == "<results: 1 item done>"


def test_results_under_a_bar(capsys):
    pytest.importorskip("tqdm")
    results = SequentialExecutor(progress=True).map(str, range(3))
    assert next(results) == "0"
    assert repr(results) == "<results: 1 of 3 items done>"
    assert list(results) == ["1", "2"]
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_repr_of_results_works_after_close_and_failure(kind, request):
    results = request.getfixturevalue(kind).map(lambda item: 1 // item, [1, 0, 1], chunksize=1)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert "of 3 items done" in repr(results)
    results.close()
    assert "of 3 items done" in repr(results)
