"""
The floor under a map of two items: ``python -m benchmarks.floor_two_items processes|threads``.

Bare work through ``joblib.Parallel``: two calls submitted to the backend of one that is held
open, and two outcomes taken from a queue. Beside it what lies below joblib, and ours.
"""

import sys

from benchmarks import floor, rivals, work

if __name__ == "__main__":
    kind = sys.argv[1]
    maps = {"bare joblib": floor.bare(kind), "ours": rivals.ours(kind)}
    maps["ours from config"] = rivals.ours_from_config(kind)
    if kind == "processes":
        maps["loky"] = rivals.loky()
    else:
        maps["ThreadPoolExecutor"] = rivals.futures(kind)
    with rivals.closing:
        floor.compare(maps, work.square, [1, 2], turns=500, warm=100)
