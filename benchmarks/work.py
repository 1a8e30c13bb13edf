"""The functions that the workers of all candidates run."""

import os
import time

from benchmarks import rivals


def square(x):
    return x * x


def each(func, items):
    return list(map(func, items))


def spin(seconds):
    """Use up that much processor time: on a crowded core it takes longer, as real work does."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(50))
    return seconds


def nap(seconds):
    time.sleep(seconds)
    return seconds


def fail(x):
    raise ArithmeticError(x)


def pick(container, key):
    return container[key]


def double(array):
    return array * 2


def bootstrap(replicates):
    """Do what the README's first command does, in one process."""
    return rivals.example("sequential")(None, [replicates])[0]


def network(alignment):
    """Infer a network with physquirrel; return its splits, in one order for all processes."""
    from phylozoo.core.network.sdnetwork.derivations import induced_splits
    from physquirrel import squirrel_from_msa

    splits = induced_splits(squirrel_from_msa(alignment)).splits
    return "; ".join(
        sorted(min("".join(sorted(side)) for side in (s.set1, s.set2)) for s in splits)
    )


def echo(x):
    return x


def who(seconds):
    """Return this worker's process id, after leaving other workers time for the next item."""
    time.sleep(seconds)
    return os.getpid()


def read(array, seconds):
    """Read all of an array, and return this worker's process id."""
    assert array.sum() == len(array)
    return who(seconds)
