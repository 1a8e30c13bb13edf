"""
The floor under many trivial items: ``python -m benchmarks.floor_tiny``.

``x*x`` over a list of 200,000 as bare work through ``joblib.Parallel``: eight slices of the list,
each by the built-in ``map``, submitted at once to the backend of one that is held open. Beside it
PhyloZoo's own executor, whose pool sends the same eight slices, and ours.
"""

from functools import partial
from itertools import chain

from benchmarks import floor, rivals, work


def slices(size=25_000):
    """Return a map in slices of that size, each a list that goes through the built-in map."""
    run = floor.bare()

    def map(func, items):
        cut = [items[at : at + size] for at in range(0, len(items), size)]
        return chain.from_iterable(run(partial(work.each, func), cut))

    return map


if __name__ == "__main__":
    with rivals.closing:
        maps = {"bare joblib": slices(), "ours": rivals.ours("processes")}
        maps["PhyloZoo"] = rivals.phylozoo_processes()
        floor.compare(maps, work.square, list(range(200_000)), turns=40, warm=5)
