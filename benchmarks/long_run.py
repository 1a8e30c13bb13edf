"""
A long run in which much goes wrong: ``python -m benchmarks.long_run [--items N] [--runs N]``.

Of 20,000 items 1 % raise, 0.2 % kill their worker whenever they run, and 0.1 % take longer than
the time limit. The same map without them runs in turn. Every result is looked at.
"""

import argparse
import os
import random
import time
from collections import Counter
from statistics import median

from benchmarks import work
from phylozoo_parallel import MultiprocessingExecutor, WorkerLostError

SECONDS = 0.001
"""Seconds that an item takes."""

TIMEOUT = 1.0

BAD = {"raises": 0.01, "dies": 0.002, "hangs": 0.001}
"""The shares of the items that fail, by kind of failure."""

EXPECTED = {
    "raises": (ArithmeticError, "{0}"),
    "dies": (WorkerLostError, "item {0} = ({0}, 'dies'): its worker process died (exit code -9"),
    "hangs": (TimeoutError, "item {0} = ({0}, 'hangs') took longer than timeout=1.0 seconds"),
}


def item(pair):
    index, what = pair
    if what == "raises":
        raise ArithmeticError(index)
    if what == "dies":
        os.kill(os.getpid(), 9)
    if what == "hangs":
        time.sleep(600)
    work.spin(SECONDS)
    return index


def spoiled(size):
    """Return the items, each with the kind of its failure."""
    chance, kinds = random.Random(1), [None] * size
    places = chance.sample(range(size), size)
    for what, share in BAD.items():
        for _ in range(round(size * share)):
            kinds[places.pop()] = what
    return list(enumerate(kinds))


def wrong(items, results):
    """Return the results that are wrong."""
    if len(results) != len(items):
        return [f"{len(results)} results of {len(items)} items"]
    found = []
    for (index, what), result in zip(items, results, strict=True):
        kind, message = EXPECTED.get(what, (None, ""))
        if what is None:
            right = result == index
        else:
            right = type(result) is kind and str(result).startswith(message.format(index))
        if not right:
            found.append(f"item {index}, which {what or 'is well'}: {result!r:.200}")
    return found


def timed(items):
    executor = MultiprocessingExecutor(2, timeout=TIMEOUT)
    begin = time.perf_counter()
    results = list(executor.map(item, items, return_exceptions=True))
    return time.perf_counter() - begin, wrong(items, results)


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3, help="of each of the two")
    wanted = parser.parse_args()
    bad = spoiled(wanted.items)
    good = [(index, None) for index, _ in bad]
    counts = Counter(what for _, what in bad if what)
    print(f"{wanted.items:,} items of {SECONDS * 1000:g} ms, 2 workers;", dict(counts))
    timed(good[:100])
    seconds = {"without": [], "with": []}
    mistakes = 0
    for _ in range(wanted.runs):
        for name, items in ("without", good), ("with", bad):
            took, found = timed(items)
            seconds[name].append(took)
            mistakes += len(found)
            print(f"{name:>8} the bad items: {took:6.1f} s, {len(found)} wrong", flush=True)
            print(*found[:10], sep="\n", end="\n" * bool(found))
    more = median(seconds["with"]) - median(seconds["without"])
    # The failures cost at least the time of waiting for the time limits.
    waits = counts["hangs"] * TIMEOUT / 2
    print(f"{median(seconds['with']) / median(seconds['without']):.1f} times as long;")
    deaths = 2 * counts["dies"] + counts["hangs"]
    if deaths:
        print(f"{(more - waits) / deaths * 1000:.0f} ms for each of {deaths} ends of a worker")
    return mistakes > 0


if __name__ == "__main__":
    raise SystemExit(main())
