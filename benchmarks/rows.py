"""The rows of the benchmark. A new one is an entry of :data:`ROWS`."""

from functools import partial

from benchmarks import floor, floor_cold_start, floor_tiny, inputs, memory, rivals, work
from benchmarks.row import MemoryRow, Row

PROCESSES = {
    "ours": partial(rivals.ours, "processes"),
    "ours from config": partial(rivals.ours_from_config, "processes"),
    "PhyloZoo": rivals.phylozoo_processes,
    "joblib": partial(rivals.joblib, "processes"),
    "loky": rivals.loky,
    "ProcessPoolExecutor": partial(rivals.futures, "processes"),
    "mpire": rivals.mpire,
}
IN_CHUNKS = {
    "ProcessPoolExecutor": partial(rivals.futures, "processes", chunksize=1_000),
    "mpire": partial(rivals.mpire, chunksize=1_000),
}
THREADS = {
    "ours": partial(rivals.ours, "threads"),
    "ours from config": partial(rivals.ours_from_config, "threads"),
    "PhyloZoo": rivals.phylozoo_threads,
    "joblib": partial(rivals.joblib, "threads"),
    "ThreadPoolExecutor": partial(rivals.futures, "threads"),
}


def those(candidates, *names):
    return {name: candidates[name] for name in names}


def listed(func):
    """Return a `run` that maps `func` over the input."""
    return lambda map, items: list(map(func, items))


def captured(map, container):
    # A new function each time: mpire does not send the one that its workers had last.
    return list(map(partial(work.pick, container), range(64)))


def raise_in_an_item(map, items):
    while len(set(map(work.who, [0.01] * 4))) < rivals.WORKERS:
        pass  # one of them is still coming up after an earlier candidate's error
    try:
        list(map(work.fail, items))
    except ArithmeticError:
        return
    raise AssertionError("nothing was raised")


FLOOR = "bare joblib"
"""The same work through ``joblib.Parallel`` with nothing around it; see the ``floor_*`` scripts."""

LOOP = "plain loop"
"""The same work in one process, without any workers."""

UNEVEN = {
    "run": listed(work.spin),
    "candidates": those(PROCESSES, "ours", "PhyloZoo", "joblib", "ProcessPoolExecutor", "mpire")
    | {FLOOR: floor.bare, LOOP: rivals.loop},
    "targets": {"joblib": 1.0, "PhyloZoo": 0.95, FLOOR: 1.1},
    "size": 400,
    "quick": 20,
    "repeat": 9,
}

ALL = [
    Row(
        "tiny-processes",
        "x*x over a list of 200,000, processes",
        make=lambda size: list(range(size)),
        run=listed(work.square),
        candidates=those(PROCESSES, "ours", "PhyloZoo", "joblib")
        | IN_CHUNKS
        | {FLOOR: floor_tiny.slices, LOOP: rivals.loop},
        targets={"PhyloZoo": 0.9, "joblib": 0.06, FLOOR: 1.1},
        size=200_000,
        quick=2_000,
        repeat=15,
    ),
    Row(
        "tiny-generator",
        "x*x over a generator of 200,000, processes",
        make=lambda size: size,
        run=lambda map, size: list(map(work.square, (x for x in range(size)))),
        candidates=those(PROCESSES, "ours")
        | {"Pool.imap": partial(rivals.pool_imap, chunksize=1_000)}
        | those(PROCESSES, "joblib")
        | IN_CHUNKS,
        targets={"Pool.imap": 0.8},
        size=200_000,
        quick=2_000,
        repeat=9,
    ),
    Row(
        "tiny-threads",
        "x*x over a list of 200,000, threads",
        make=lambda size: list(range(size)),
        run=listed(work.square),
        candidates=those(THREADS, "ours", "PhyloZoo", "joblib") | {LOOP: rivals.loop},
        targets={"PhyloZoo": 0.01},
        size=200_000,
        quick=500,
        repeat=3,
    ),
    Row(
        "two-processes",
        "a map of 2 trivial items, processes",
        make=lambda size: list(range(size)),
        run=listed(work.square),
        candidates=PROCESSES | {FLOOR: floor.bare, LOOP: rivals.loop},
        targets={"joblib": 0.1, "loky": 1.0, FLOOR: 1.1},
        size=2,
        quick=2,
        repeat=300,
    ),
    Row(
        "two-threads",
        "a map of 2 trivial items, threads",
        make=lambda size: list(range(size)),
        run=listed(work.square),
        candidates=THREADS | {FLOOR: partial(floor.bare, "threads")},
        targets={"joblib": 0.03, "ThreadPoolExecutor": 3.0, FLOOR: 1.1},
        size=2,
        quick=2,
        repeat=300,
    ),
    Row(
        "inner-loop",
        "1,000 maps of 32 items of 1 ms, one after the other, processes",
        make=lambda size: [[0.001] * 32] * size,
        run=lambda map, maps: [list(map(work.spin, items)) for items in maps],
        candidates=those(PROCESSES, "ours", "PhyloZoo", "ProcessPoolExecutor")
        | {FLOOR: partial(floor.bare, size=4)},
        targets={"PhyloZoo": 1.0, FLOOR: 1.1},
        size=1_000,
        quick=5,
        repeat=3,
    ),
    Row(
        "lognormal-falling",
        "400 items of log-normal costs (sigma 1.2), the dearest first, processes",
        make=lambda size: sorted(inputs.log_normal(size), reverse=True),
        **UNEVEN,
    ),
    Row(
        "lognormal-rising",
        "400 items of log-normal costs (sigma 1.2), the dearest last, processes",
        make=lambda size: sorted(inputs.log_normal(size)),
        **UNEVEN,
    ),
    Row(
        "lognormal-shuffled",
        "400 items of log-normal costs (sigma 1.2), in any order, processes",
        make=inputs.log_normal,
        **UNEVEN,
    ),
    Row(
        "first-result",
        "the first result of 40 items, of which the first takes 100 times as long, processes",
        make=lambda size: [0.005 * size] + [0.002] * (size - 1),
        run=lambda map, items: [next(iter(map(work.spin, items))) > 0],
        candidates={
            "ours unordered": rivals.ours_unordered,
            "in order": partial(rivals.ours, "processes"),
        },
        targets={"in order": 1.0},
        size=40,
        quick=4,
        repeat=15,
    ),
    Row(
        "progress",
        "200,000 items of 10 microseconds, with and without a progress bar, processes",
        make=lambda size: [1e-5] * size,
        run=listed(work.spin),
        candidates={
            "ours with a bar": rivals.ours_with_a_bar,
            "no bar": partial(rivals.ours, "processes"),
        },
        targets={"no bar": 1.02},
        size=200_000,
        quick=200,
        repeat=7,
    ),
    Row(
        "profile-processes",
        "x*x over a list of 100,000, with and without a profile, processes",
        make=lambda size: list(range(size)),
        run=listed(work.square),
        candidates={
            "ours with a profile": partial(rivals.ours_profiled, "processes"),
            "no profile": partial(rivals.ours, "processes"),
        },
        targets={"no profile": 1.02},
        size=100_000,
        quick=2_000,
        repeat=201,
    ),
    Row(
        "profile-threads",
        "x*x over a list of 100,000, with and without a profile, threads",
        make=lambda size: list(range(size)),
        run=listed(work.square),
        candidates={
            "ours with a profile": partial(rivals.ours_profiled, "threads"),
            "no profile": partial(rivals.ours, "threads"),
        },
        targets={"no profile": 1.02},
        size=100_000,
        quick=2_000,
        repeat=201,
    ),
    Row(
        "captured-dict",
        "partial(f, dict of 1,000,000) over 64 items, processes",
        make=lambda size: {key: key for key in range(size)},
        run=captured,
        candidates=those(PROCESSES, "ours", "PhyloZoo", "mpire"),
        targets={"PhyloZoo": 0.25},
        size=1_000_000,
        quick=10_000,
        repeat=7,
    ),
    Row(
        "captured-array",
        "partial(f, array of 128 MB) over 64 items, processes",
        make=inputs.long_array,
        run=captured,
        candidates=those(PROCESSES, "ours", "PhyloZoo", "joblib", "mpire"),
        targets={"PhyloZoo": 0.03, "joblib": 1.0},
        size=16_000_000,
        quick=1_000_000,
        repeat=7,
    ),
    Row(
        "array-items",
        "200 arrays of 2 MB, results as large, processes",
        make=inputs.arrays,
        run=listed(work.double),
        candidates=those(PROCESSES, "ours", "PhyloZoo", "joblib", "ProcessPoolExecutor", "mpire"),
        targets={"PhyloZoo": 1.0},
        size=200,
        quick=6,
        repeat=7,
    ),
    Row(
        "naps",
        "256 naps of 50 ms in 32 threads",
        make=lambda size: [0.05] * size,
        run=listed(work.nap),
        candidates={
            "ours": partial(rivals.ours, "threads", 32),
            "ideal": partial(rivals.ideal, 32),
            "joblib": partial(rivals.joblib, "threads", 32),
            "ThreadPoolExecutor": partial(rivals.futures, "threads", 32),
        },
        targets={"ideal": 1.05},
        size=256,
        quick=8,
        repeat=7,
    ),
    Row(
        "cold-start",
        "a program of one map of 2 items, from nothing to its end, processes",
        make=lambda size: list(range(size)),
        run=listed(abs),
        candidates={
            name: partial(rivals.fresh, program)
            for name, program in floor_cold_start.PROGRAMS.items()
        },
        targets={"joblib": 1.0, FLOOR: 1.1},
        size=2,
        quick=2,
        repeat=15,
    ),
    Row(
        "after-error",
        "a map of 2 trivial items right after one whose item raised, processes",
        make=lambda size: list(range(size)),
        run=listed(work.square),
        before=raise_in_an_item,
        candidates=PROCESSES,
        targets={"joblib": 0.05},
        size=2,
        quick=2,
        repeat=15,
    ),
    Row(
        "failures",
        "10,000 items of 0.2 ms, of which 1,000 raise and the map goes on, processes",
        make=lambda size: [0.0002] * size,
        run=listed(work.spin),
        candidates={
            "ours": partial(rivals.ours_going_on, 1),
            "no failures": partial(rivals.ours_going_on, 0),
        },
        targets={"no failures": 1.2},
        size=10_000,
        quick=100,
        repeat=9,
    ),
    Row(
        "first-command",
        "the README's first command, from nothing to its table, processes",
        make=lambda size: [size],
        run=listed(work.bootstrap),
        candidates={
            "ours": partial(rivals.example, "multiprocessing"),
            LOOP: partial(rivals.example, "sequential"),
        },
        targets={LOOP: 0.9},
        size=2_000,
        quick=5,
        repeat=5,
    ),
    Row(
        "physquirrel",
        "networks of 100 bootstrap replicates with physquirrel, processes that are up",
        make=inputs.bootstrapped,
        run=listed(work.network),
        candidates=those(PROCESSES, "ours", "PhyloZoo") | {LOOP: rivals.loop},
        targets={LOOP: 0.6, "PhyloZoo": 1.0},
        size=100,
        quick=2,
        repeat=3,
    ),
    Row(
        "worth-it",
        "100 items of 1 ms, processes that are up",
        make=lambda size: [0.001] * size,
        run=listed(work.spin),
        candidates=those(PROCESSES, "ours", "PhyloZoo", "joblib") | {LOOP: rivals.loop},
        targets={LOOP: 0.65},
        size=100,
        quick=10,
        repeat=50,
    ),
    MemoryRow(
        "stream-memory",
        "sum(executor.map(f, range(10,000,000))), processes",
        memory.stream,
        targets={"parent": 50},
        size=10_000_000,
        quick=20_000,
    ),
    MemoryRow(
        "slow-reader",
        "1 MB items without end, the reader takes 1 ms for each of 2,000 results, processes",
        memory.slow_reader,
        targets={"parent, second half": 10, "worker, second half": 10},
        size=2_000,
        quick=40,
    ),
    MemoryRow(
        "shared-array",
        "4 worker processes share a captured array of 400 MB",
        memory.shared_array,
        targets={"workers": 600},
        size=50_000_000,
        quick=1_000_000,
    ),
]

ROWS = {row.name: row for row in ALL}
