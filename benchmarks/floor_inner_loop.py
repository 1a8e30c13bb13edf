"""
The floor under short maps in a row: ``python -m benchmarks.floor_inner_loop``.

Maps of 32 items of 1 ms as bare work through ``joblib.Parallel``, in eight chunks of four items,
the best for items that all take the same. Beside it ours, and PhyloZoo's own executor, whose pool
sends the same eight chunks.
"""

from benchmarks import floor, rivals, work

if __name__ == "__main__":
    with rivals.closing:
        maps = {"bare joblib": floor.bare(size=4), "ours": rivals.ours("processes")}
        maps["PhyloZoo"] = rivals.phylozoo_processes()
        floor.compare(maps, work.spin, [0.001] * 32, turns=200, warm=20)
