"""
The floor under uneven work: ``python -m benchmarks.floor_uneven falling|rising|shuffled``.

The bound that no schedule of two workers beats is half of the work, where they share it evenly.
Beside it bare work through ``joblib.Parallel``: every item by itself, submitted at once to the
backend of one that is held open.
"""

import sys

from benchmarks import floor, rivals, work
from benchmarks.rows import ROWS

if __name__ == "__main__":
    items = ROWS[f"lognormal-{sys.argv[1]}"].make(400)
    maps = {"bare joblib": floor.bare(), "ours": rivals.ours("processes")}
    maps["PhyloZoo"] = rivals.phylozoo_processes()
    maps["joblib"] = rivals.joblib("processes")
    print(f"{'half of the work':20}{500 * sum(items):9.3f} ms")
    with rivals.closing:
        floor.compare(maps, work.spin, items, turns=11)
