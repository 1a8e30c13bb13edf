"""What is logged of a map, which also tells how it was cut into chunks."""

import logging
import re
import threading
import time

import pytest

from phylozoo_parallel import ThreadingExecutor
from phylozoo_parallel._map.chunking import BUDGET
from phylozoo_parallel._map.measured import SECONDS


@pytest.fixture
def told(caplog):
    """Return the log line of the latest map."""
    caplog.set_level(logging.DEBUG, "phylozoo_parallel")

    def latest():
        (record,) = [r for r in caplog.records if r.name == "phylozoo_parallel"]
        caplog.clear()
        assert record.levelno == logging.DEBUG
        return record.getMessage()

    return latest


def test_a_map_logs_one_line(workers, told):
    assert list(workers.map(abs, range(10), chunksize=4)) == list(range(10))
    engine = {"threads": "ThreadingBackend", "processes": "LokyBackend"}[workers._kind]
    line = rf"{engine}: 10 items in 3 chunks on 2 workers in \d+\.\d+ s; (.*)"
    figures = re.fullmatch(line, told())[1]
    assert re.match(r"speed-up \d+\.\d\d, workers busy \d+%; ", figures)
    spent = dict(part.rsplit(" ", 1) for part in figures.split("; ")[1].split(", "))
    assert {"sending", "waiting", "taking"} <= set(spent)
    assert 95 <= sum(int(share.rstrip("%")) for share in spent.values()) <= 105


def test_a_map_that_fails_or_is_left_logs_one_line(workers, told):
    with pytest.raises(ZeroDivisionError):
        list(workers.map(lambda item: 1 // item, [0]))
    assert "1 items in 1 chunks" in told()
    results = workers.map(abs, range(100), chunksize=1)
    next(results)
    results.close()
    assert "chunks" in told()


def test_the_rest_of_a_slow_chunk_is_returned(told):
    """The function was quick in an earlier map, so that chunks hold more than one item."""

    def naps(seconds):
        time.sleep(seconds)

    executor = ThreadingExecutor(2)
    assert list(executor.map(naps, [0.0] * 8)) == [None] * 8
    told()
    assert list(executor.map(naps, [0.0] * 8)) == [None] * 8
    quick = int(told().split()[4])
    assert quick < 8
    assert list(executor.map(naps, [2 * BUDGET * SECONDS] * 8)) == [None] * 8
    assert told().startswith("ThreadingBackend: 8 items in 8 chunks")


def test_the_returned_rest_is_shared_between_workers():
    """Items 1 and 2, of one chunk at first, run at the same time."""
    together = threading.Barrier(2, timeout=30)

    def work(item):
        if item == 0:
            time.sleep(2 * BUDGET * SECONDS)
        elif item in (1, 2):
            together.wait()

    executor = ThreadingExecutor(2)
    assert list(executor.map(work, [9] * 100)) == [None] * 100
    assert list(executor.map(work, range(12))) == [None] * 12
