"""
Random programs of maps for as long as wanted, held against the sequential model.

::

    python -m tests.soak --minutes 10
    python -m tests.soak --seed 7 --only 123        one program of a run, again

Exit status 1 if a result was wrong or a program took too long.
"""

import argparse
import faulthandler
import logging
import os
import random
import sys
import time

from . import programs


def run(seed: int, number: int) -> programs.Report:
    """Run one program of the series that a seed begins."""
    choices = random.Random(f"{seed} {number}")
    deadly, hanging = choices.random() < 0.5, choices.random() < 0.3
    program = programs.make(choices, deadly=deadly, hanging=hanging)
    faulthandler.dump_traceback_later(programs.LIMIT + 10, exit=True)
    report = programs.run(program, seed=number)
    faulthandler.cancel_dump_traceback_later()
    for wrong in report.wrong:
        print(f"WRONG: --seed {seed} --only {number}: {wrong}", file=sys.stderr, flush=True)
    if report.counts["programs that hang"]:
        faulthandler.dump_traceback()
        os._exit(1)  # what hangs might keep the interpreter from ending
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__.split("\n")[1]
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="of the choices; told at the start")
    parser.add_argument("--only", type=int, default=None, help="number of the one program to run")
    wanted = parser.parse_args()
    seed = random.randrange(10**6) if wanted.seed is None else wanted.seed
    print(f"seed {seed}", flush=True)
    logging.getLogger("phylozoo_parallel").setLevel(logging.ERROR)  # each re-run would be told
    end = time.monotonic() + 60 * wanted.minutes
    total = programs.Report()
    number = wanted.only or 0
    while (wanted.only is None and time.monotonic() < end) or number == wanted.only:
        total.add(run(seed, number))
        number += 1
    for name, count in sorted(total.counts.items()):
        print(f"{count:>10}  {name}")
    print(f"{len(total.wrong):>10}  mismatches")
    print(f"{total.slowest[0]:>10.2f}  seconds of the slowest map: {total.slowest[1]}")
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
