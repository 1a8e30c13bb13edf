"""
How well rules that size chunks do on more workers than this machine has: no process runs.

::

    python -m benchmarks.simulation                     a table
    python -m benchmarks.simulation --svg FILE          and a chart of it

The caller is one server: each chunk costs it time to send and to take back. Chunks wait in one
line for the next free worker, whom each costs time besides its items. Ours is the library's own
state machine, told what its clocks would show.
"""

import argparse
import heapq
import random
from collections import deque
from itertools import accumulate

from phylozoo_parallel._map.measured import Measured, keep, recall
from phylozoo_parallel._map.state import Read, State
from phylozoo_parallel._options import Options
from phylozoo_parallel._worker.run import Took

WORKERS = [2, 4, 8, 16, 32, 64, 128, 256]
MEAN = 0.005
"""Seconds of an item."""
ITEMS = 100
"""For each worker."""
CALLER = 0.0002
"""Seconds of a chunk in the caller's process; half of it is the map's own thread."""
CALLER_ITEM = 5e-7
"""Seconds of an item in the caller, to pickle it and unpickle its result."""
WORKER = 0.0004
"""Seconds of a chunk in its worker besides the items; half of it is seen by the worker."""


def even(count, chance):
    return [MEAN] * count


def log_normal(count, chance):
    costs = [chance.lognormvariate(0.0, 1.2) for _ in range(count)]
    return [cost * MEAN * count / sum(costs) for cost in costs]


def bimodal(count, chance):
    """Return seconds of items, of which one in twenty takes forty times as long."""
    costs = [40.0 if chance.random() < 0.05 else 1.0 for _ in range(count)]
    return [cost * MEAN * count / sum(costs) for cost in costs]


def rising(count, chance):
    return sorted(log_normal(count, chance))


KINDS = {
    "even items": even,
    "log-normal items (sigma 1.2)": log_normal,
    "one in twenty takes 40 times as long": bimodal,
    "log-normal items, the dearest last": rising,
}


class Machine:
    """A caller and its workers; `now` is the caller's clock."""

    def __init__(self, costs, workers):
        self.now = self.busy = 0.0
        self.chunks = 0
        self.in_flight = []
        self._sums = [0.0, *accumulate(costs)]
        self._free = [0.0] * workers

    def work(self, seconds):
        self.now += seconds
        self.busy += seconds

    def send(self, what, first, count, budget=None):
        """Send a chunk, and compute when it will be back: all chunks wait in one line."""
        self.work(CALLER / 2 + count * CALLER_ITEM / 2)
        self.chunks += 1
        start = max(heapq.heappop(self._free), self.now) + WORKER / 2
        done, sums = count, self._sums
        if budget is not None and sums[first + count] - sums[first] > budget:
            done = next(n for n in range(1, count + 1) if sums[first + n] - sums[first] > budget)
        end = start + sums[first + done] - sums[first] + WORKER / 2
        heapq.heappush(self._free, end)
        heapq.heappush(self.in_flight, (end, self.chunks, what, first, count, done))

    def back(self):
        """Wait for the next chunk that comes back, and handle it."""
        end, _, *what, done = heapq.heappop(self.in_flight)
        self.now = max(self.now, end)
        self.work(CALLER / 2 + done * CALLER_ITEM / 2)
        return *what, done


def ours(costs, workers, measured=None):
    """Run the library's own state machine, which knows nothing of the costs yet."""
    machine = Machine(costs, workers)
    options = Options(chunksize=None, retries=0, timeout=None, progress=False)
    state = State(options, len(costs), workers, 2 * workers, measured or Measured())
    while True:
        while True:
            if (
                not state.measured.largest
                and machine.in_flight
                and machine.in_flight[0][0] < machine.now
            ):
                _back(machine, state, costs)
            if (chunk := state.todo()) is None:
                break
            if isinstance(chunk, Read):
                indices = range(state.read, min(state.read + chunk.size, len(costs)))
                chunk = state.took(indices, 0.0, indices.stop == len(costs), None)
                if not chunk.items:
                    continue
            machine.send(chunk, chunk.first, len(chunk.items), state.pace(chunk).budget)
            state.sending(chunk)
        while state.ready():
            found = state.take()
            count = len(found.items)
            state.handed_out(count)
            state.read_out(found, count, count * CALLER_ITEM)
        if not state.in_flight:
            return machine
        _back(machine, state, costs)


def _back(machine, state, costs):
    chunk, first, count, done = machine.back()
    state.in_flight.remove(chunk)
    times = costs[first : first + done]
    ran, squares = sum(times), sum(time * time for time in times)
    chunk.handled = CALLER / 2
    state.measured.add(done, Took(ran + WORKER / 2, ran, done, squares), 0)
    if done < count:
        state.rest(type(chunk)(first + done, chunk.items[done:]))
        chunk.items = chunk.items[:done]
    state.came(chunk, done)


def known(costs, workers):
    """The same, in the second map of its function."""
    key, measured = recall(known, workers)[0], Measured()
    ours(costs, workers, measured)
    keep(key, measured)
    return ours(costs, workers, recall(known, workers)[1])


def cut(costs, workers, sizes):
    """Send chunks of the sizes that `sizes(left)` says, two for each worker ahead."""
    machine, first = Machine(costs, workers), 0
    while first < len(costs) or machine.in_flight:
        while first < len(costs) and len(machine.in_flight) < 2 * workers:
            count = min(max(int(sizes(len(costs) - first)), 1), len(costs) - first)
            machine.send(None, first, count)
            first += count
        machine.back()
    return machine


def static(costs, workers):
    size = -(-len(costs) // workers)
    return cut(costs, workers, lambda left: size)


def pool_map(costs, workers):
    size = -(-len(costs) // (4 * workers))
    return cut(costs, workers, lambda left: size)


def guided(costs, workers):
    return cut(costs, workers, lambda left: left / workers)


def joblib(costs, workers):
    """Do as joblib's automatic batching: towards 0.2 s a batch, from its source (1.5)."""
    machine, first, size, smoothed = Machine(costs, workers), 0, 1, 0.0
    waiting = deque()
    sent = {}

    def dispatch():
        nonlocal first
        if not waiting:
            count = min(size * workers, len(costs) - first)
            last = first + count == len(costs) and count < size * workers
            each = max(1, count // (10 * workers if last else workers))
            end = first + count
            while first < end:
                waiting.append((first, min(each, end - first)))
                first += each
            first = end
        if waiting:
            begin, count = waiting.popleft()
            sent[begin] = machine.now
            machine.send(None, begin, count)

    for _ in range(2 * workers):
        dispatch()
    while machine.in_flight:
        _, begin, count, _ = machine.back()
        took = machine.now - sent.pop(begin)
        if count == size:
            smoothed = took if not smoothed else 0.8 * smoothed + 0.2 * took
        if 0 < smoothed < 0.2 or (smoothed > 2 and size >= 2):
            size, before = max(2 * int(size * 0.2 / smoothed), 1), size
            smoothed = 0.0 if size != before else smoothed
        dispatch()
    return machine


RULES = {
    "ours, known from a map before": known,
    "ours, first map": ours,
    "one chunk a worker": static,
    "four chunks a worker (Pool.map)": pool_map,
    "guided": guided,
    "joblib, automatic": joblib,
}


def measure(kind, rule, workers, seed=0):
    """
    Return a rule's efficiency, and which shares of their time caller and workers lose to chunks.

    Efficiency is the least time possible, by the costs alone, in times of the time needed.
    """
    costs = KINDS[kind](ITEMS * workers, random.Random(seed))
    machine = RULES[rule](costs, workers)
    least = max(sum(costs) / workers, max(costs))
    return least / machine.now, machine.busy / machine.now, machine.chunks * WORKER / sum(costs)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation")
    parser.add_argument("--svg", help="where to draw the chart")
    wanted = parser.parse_args()
    found = {}
    for kind in KINDS:
        print(f"\n{kind}: efficiency (share of the caller's time; of the workers')")
        print(f"{'':32}" + "".join(f"{workers:>17}" for workers in WORKERS))
        for rule in RULES:
            line = [measure(kind, rule, workers) for workers in WORKERS]
            found[kind, rule] = [efficiency for efficiency, _, _ in line]
            cells = [f"{e:>7.2f} ({caller:.2f};{work:.2f})" for e, caller, work in line]
            print(f"{rule:32}" + "".join(cells))
    if wanted.svg:
        from benchmarks import chart

        chart.curves(wanted.svg, WORKERS, KINDS, RULES, found)


if __name__ == "__main__":
    main()
