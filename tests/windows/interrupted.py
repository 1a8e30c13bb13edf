"""A map that somebody interrupts at the console, and the next one."""

import os
import time

from phylozoo_parallel import ParallelConfig


def rest(seconds):
    time.sleep(seconds)
    return os.getpid()


def main():
    executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
    before = set(executor.map(rest, [0.2] * 4))
    results = executor.map(rest, [60] * 4)
    print("ready", flush=True)
    begin = time.monotonic()
    try:
        next(results)
    except KeyboardInterrupt:
        print(f"interrupted, {time.monotonic() - begin < 30}", flush=True)
    after = set(executor.map(rest, [0.2] * 4))
    print(f"workers {len(before)} and {len(after)}, the end", flush=True)


if __name__ == "__main__":
    main()
