"""
How fast maps are that fall back to plain calls of joblib: ``python -m benchmarks.fallback``.

They do so with a joblib that lacks a name which they need. Here it is a copy of the installed one,
with another name in its place. Each of the two has a program of its own. It takes two minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import median

from benchmarks.systems import array, joblib, ours, samples, square

NAME = "BatchedCalls"
"""What maps need, and the copy has not."""

ROWS = {
    "two items": (lambda _: square, 0, 2, 30),
    "200,000 trivial items": (lambda _: square, 0, 200_000, 5),
    "a captured array of 100 MB, 20 items": (array, 12_500_000, 20, 5),
}
"""As in `benchmarks.systems`."""


def measured(quick):
    """Return the seconds of every run by row and candidate, in this program."""
    from phylozoo_parallel._loky import contract

    warnings.simplefilter("ignore", RuntimeWarning)  # that maps fall back
    found = {}
    for row, (make, entries, items, runs) in ROWS.items():
        func, data = make(entries // 1000 if quick else entries), range(items)
        found[row] = samples({"ours": ours, "joblib": joblib}, func, data, 1 if quick else runs)
    return {"missing": contract.missing, "seconds": found}


def apart(folder, *options):
    """Measure in a program of its own, with what is in a folder before all else."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])}
    command = [sys.executable, "-m", "benchmarks.fallback", "--here", *options]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(*options):
    from tests.skew import renamed

    with tempfile.TemporaryDirectory() as folder:
        renamed(Path(folder), NAME)
        direct, fallen = apart(Path.cwd(), *options), apart(folder, *options)
    if direct["missing"] or not fallen["missing"]:
        raise AssertionError(f"{direct['missing']!r} is missing, and {fallen['missing']!r}")
    print("milliseconds: median (least to most)\n")
    print("| | as always | fallen back | plain joblib |\n|---|--:|--:|--:|")
    for row, seconds in direct["seconds"].items():
        columns = seconds["ours"], fallen["seconds"][row]["ours"], seconds["joblib"]
        cells = [[1000 * second for second in column] for column in columns]
        told = [f"{median(it):,.1f} ({min(it):,.1f} to {max(it):,.1f})" for it in cells]
        print("|", " | ".join([row, *told]), "|")


if __name__ == "__main__":
    if "--here" in sys.argv:
        print(json.dumps(measured("--quick" in sys.argv)))
    else:
        main(*sys.argv[1:])
