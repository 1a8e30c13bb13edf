"""The memory that a map of this library needs. Linux only: its kernel keeps the peak."""

import os
from functools import partial
from itertools import count, islice
from pathlib import Path
from time import sleep

import numpy
import psutil

from benchmarks import work
from phylozoo_parallel import MultiprocessingExecutor

MB = 1_000_000


class Growth:
    """Measures the peak growth of a process's resident memory from now on."""

    def __init__(self, pid):
        self.pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the peak
        self.start = psutil.Process(pid).memory_info().rss

    def most(self):
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        [highest] = [line for line in status if line.startswith("VmHWM")]
        return max(int(highest.split()[1]) * 1024 - self.start, 0) / MB


def warm(executor):
    """Start the workers, and return their process ids."""
    while True:
        pids = set(executor.map(work.who, [0.02] * 4 * executor.n_jobs, chunksize=1))
        if len(pids) == executor.n_jobs:
            return pids


def stream(size):
    executor = MultiprocessingExecutor(2)
    warm(executor)
    parent = Growth(os.getpid())
    total = sum(executor.map(work.square, range(size)))
    assert total == (size - 1) * size * (2 * size - 1) // 6
    return {"parent": parent.most()}


def slow_reader(size):
    executor = MultiprocessingExecutor(2)
    growths = {"worker": [Growth(pid) for pid in warm(executor)], "parent": [Growth(os.getpid())]}

    def most():
        return {who: max(growth.most() for growth in growths[who]) for who in growths}

    def read(results):
        for item in results:
            assert len(item) == MB
            sleep(0.001)
        return most()

    results = executor.map(work.echo, (index.to_bytes(8, "big") * (MB // 8) for index in count()))
    half, end = (read(islice(results, size // 2)) for _ in range(2))
    results.close()
    return end | {f"{who}, second half": end[who] - half[who] for who in end}


def shared_array(size):
    executor = MultiprocessingExecutor(4)
    pids = warm(executor)

    def shares():
        return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / MB

    before, most, readers = shares(), 0, set()
    results = executor.map(partial(work.read, numpy.ones(size)), [0.05] * 80)
    for reader in results:
        readers.add(reader)
        most = max(most, shares())
    assert readers == pids
    return {"workers": most - before}
