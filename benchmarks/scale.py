"""
Rows about many workers and about short maps, in which each candidate's pool is alone.

::

    python -m benchmarks.scale                      all rows
    python -m benchmarks.scale naps-64 two-items    some of them
    python -m benchmarks.scale --quick              each once, at a tiny size

A pool of 64 workers beside four others would be measured with their threads and their memory.
Here every candidate has a program of its own, and the programs take turns, twice. Workers only
nap, so that more of them than cores tell what sending and receiving costs, and nothing else.
"""

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from statistics import median

from benchmarks import report, rivals, work

NAP = 0.005
ROUNDS = 2
SECONDS = 600
"""Seconds after which a program is taken to hang."""

POOLS = {
    "ours": partial(rivals.ours, "processes"),
    "PhyloZoo": rivals.phylozoo_processes,
    "joblib": partial(rivals.joblib, "processes"),
    "loky": rivals.loky,
    "ProcessPoolExecutor": partial(rivals.futures, "processes"),
}
THREADS = {
    "ours": partial(rivals.ours, "threads"),
    "PhyloZoo": rivals.phylozoo_threads,
    "joblib": partial(rivals.joblib, "threads"),
    "ThreadPoolExecutor": partial(rivals.futures, "threads"),
}
TAKES_WORKERS = {"ours", "joblib", "ProcessPoolExecutor", "ThreadPoolExecutor"}
SPLITS = {"ProcessPoolExecutor", "loky"}
"""Send one item at a time unless they are told otherwise: in naps they get PhyloZoo's chunks."""


class Row:
    """Work that several candidates do, each in programs of its own."""

    def __init__(self, pools, workers, func, items, repeat, ideal=None):
        self.pools, self.workers, self.func = pools, workers, func
        self.items, self.repeat, self.ideal = items, repeat, ideal


def naps(pools, workers, each):
    names = ["ours", "PhyloZoo", "joblib", "ProcessPoolExecutor", "ThreadPoolExecutor"]
    chosen = {name: pools[name] for name in names if name in pools}
    return Row(
        chosen, workers, work.nap, [NAP] * workers * each, 7 if each < 1000 else 3, NAP * each
    )


ROWS = {
    **{f"naps-{n}": naps(POOLS, n, 100) for n in (2, 8, 32, 64)},
    **{f"naps-{n}-long": naps(POOLS, n, 1000) for n in (2, 8, 32, 64)},
    "naps-64-threads": naps(THREADS, 64, 100),
    "naps-64-threads-long": naps(THREADS, 64, 1000),
    "two-items": Row(POOLS, 2, work.square, [1, 2], 300),
    "two-items-threads": Row(THREADS, 2, work.square, [1, 2], 300),
    "32-items": Row(POOLS, 2, work.spin, [0.001] * 32, 50),
}


def measure(row, name, quick):
    """Return seconds, processor seconds of this process and of its workers, and their memory."""
    import psutil

    given = {"workers": row.workers} if name in TAKES_WORKERS else {}
    rivals.WORKERS = row.workers
    with rivals.closing:
        candidate = row.pools[name](**given)
        items = row.items[: 2 * row.workers] if quick else row.items
        if name in SPLITS and row.ideal:
            opened = candidate
            size = -(-len(items) // (4 * row.workers))
            chunks = [items[at : at + size] for at in range(0, len(items), size)]
            each = partial(work.each, row.func)
            candidate = lambda func, items: [  # noqa: E731
                result for results in opened(each, chunks) for result in results
            ]
        expected = len(items)
        list(candidate(row.func, items[: row.workers]))
        list(candidate(row.func, items))
        found = []
        for _ in range(1 if quick else row.repeat):
            workers = psutil.Process().children(recursive=True)
            mine, theirs, begin = time.process_time(), used(workers), time.perf_counter()
            assert len(list(candidate(row.func, items))) == expected
            seconds = time.perf_counter() - begin
            spent = time.process_time() - mine, used(workers) - theirs
            found.append((seconds, *spent, memory(workers)))
        return found


def used(processes):
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def memory(processes):
    """Return the MB of idle processes; what several share counts once."""
    held = [process.memory_full_info() for process in processes]
    return sum(getattr(it, "pss", it.uss) for it in held) / 1e6  # pss: on Linux alone


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*ROWS, []])
    parser.add_argument("--quick", action="store_true", help="try each once, at a tiny size")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        print(json.dumps(measure(ROWS[chosen.rows[0]], chosen.alone, chosen.quick)))
        return
    print(*report.environment_lines(report.environment()), sep="\n", flush=True)
    lines = []
    for name in chosen.rows or ROWS:
        row = ROWS[name]
        found = {candidate: [] for candidate in row.pools}
        for _ in range(1 if chosen.quick else ROUNDS):
            for candidate, samples in found.items():
                command = [sys.executable, "-m", "benchmarks.scale", name, "--alone", candidate]
                command += ["--quick"] * chosen.quick
                out = subprocess.run(command, stdout=subprocess.PIPE, timeout=SECONDS, check=True)
                samples += json.loads(out.stdout.splitlines()[-1])
        for candidate, samples in found.items():
            seconds, mine, theirs, held = (median(it) for it in zip(*samples, strict=True))
            share = f"{row.ideal / seconds:.2f}" if row.ideal and not chosen.quick else ""
            shown = f"{1000 * seconds:.2f}", share, f"{1000 * mine:.2f}", f"{1000 * theirs:.2f}"
            lines.append((name, candidate, *shown, f"{held:.0f}"))
        print(f"{name} is done", file=sys.stderr)
    costs = "caller's CPU ms", "workers' CPU ms", "workers' MB"
    headings = "row", "candidate", "ms", "efficiency", *costs
    print(f"\n{report.table(headings, lines)}")


if __name__ == "__main__":
    main()
