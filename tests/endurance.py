"""
Many executors, maps, errors and lost workers, and what the caller's process holds after them.

::

    python -m tests.endurance                       10,000 executors, 100,000 maps ...
    python -m tests.endurance --scale 0.01          a hundredth of everything
"""

import argparse
import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial

import psutil

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig, ThreadingExecutor

BACKENDS = ["threading", "multiprocessing"]


def held() -> dict[str, float]:
    """Return what this process holds: memory, threads, open files, folders."""
    me = psutil.Process()
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    own = [name for name in os.listdir(folder) if str(me.pid) in name]
    return {
        "MB": round(me.memory_info().rss / 1e6, 1),
        "threads": me.num_threads(),
        "files": me.num_handles() if psutil.WINDOWS else me.num_fds(),
        "folders": len(own),
    }


def executors(count: int) -> None:
    """Make executors and drop them, most after a map that is not read to its end."""
    for number in range(count):
        backend = BACKENDS[number % 2]
        executor = ParallelConfig(backend, n_jobs=2 + number % 3 * (backend == "threading"))
        results = executor.get_executor().map(abs, itertools.count(), 1)
        if number % 4:
            assert next(results) == 0
            if number % 4 == 2:
                results.close()
        else:
            results.close()  # unread: dropped, it would be warned about


def maps(executor, count: int) -> None:
    """Run small maps."""
    for number in range(count):
        assert list(executor.map(abs, [number, -1])) == [number, 1]


def failing_maps(executor, count: int) -> None:
    """Run maps that end with an item's error."""
    for number in range(count):
        try:
            list(executor.map(lambda x, bad=number % 5: 1 // (x - bad), range(5)))
        except ZeroDivisionError:
            continue
        raise AssertionError("no error")


def deadly_maps(count: int) -> None:
    """Run maps in which a worker ends."""
    executor, caller = MultiprocessingExecutor(2), os.getpid()

    def once(x, stamp):
        read, _ = stamp
        if x == 3 and os.path.exists(read):
            os.unlink(read)
            os._exit(1)
        return x

    for number in range(count):
        mark = f"/tmp/endurance-{caller}-{number}"
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        items = ((x, (mark, number)) for x in range(6))
        assert list(executor.starmap(once, items, 1)) == list(range(6))


def courses(scale: float) -> dict[str, Callable[[], None]]:
    """Return the functions to run, by name."""
    threads, processes = ThreadingExecutor(2), MultiprocessingExecutor(2)

    def course(name, run, count, *executor):
        count = max(int(count * scale), 1)
        return f"{count:,} {name}", partial(run, *executor, count)

    return dict(
        [
            course("executors", executors, 10_000),
            course("maps on threads", maps, 80_000, threads),
            course("maps on processes", maps, 20_000, processes),
            course("failing maps on threads", failing_maps, 1000, threads),
            course("failing maps on processes", failing_maps, 1000, processes),
            course("maps with a worker lost", deadly_maps, 50),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of all counts (default: 1)")
    scale = parser.parse_args().scale
    logging.getLogger("phylozoo_parallel").setLevel(logging.ERROR)  # each re-run would be told
    for run in courses(0.001).values():  # what is opened once for all
        run()
    before = held()
    print(f"{'':36}{'seconds':>9}" + "".join(f"{name:>10}" for name in before))
    print(f"{'warm':36}{'':>9}" + "".join(f"{value:>10}" for value in before.values()))
    for name, run in courses(scale).items():
        begin = time.monotonic()
        run()
        row = held().values()
        print(f"{name:36}{time.monotonic() - begin:>9.1f}" + "".join(f"{x:>10}" for x in row))


if __name__ == "__main__":
    main()
