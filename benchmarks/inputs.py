"""The inputs of the rows, made before the clock starts."""

import math
import random


def log_normal(size):
    chance = random.Random(1)
    return [0.0015 * math.exp(chance.gauss(0, 1.2)) for _ in range(size)]


def arrays(size):
    import numpy

    return [numpy.full(250_000, float(index)) for index in range(size)]


def long_array(size):
    import numpy

    return numpy.arange(float(size))


def bootstrapped(size):
    """Draw replicates of an alignment of nine taxa along a caterpillar tree, one a recombinant."""
    import numpy
    from phylozoo.core.sequence import MSA, bootstrap

    chance = numpy.random.default_rng(1)
    tips, inner = [], chance.integers(0, 4, 10_000)
    for _ in range(8):
        tip, inner = (
            numpy.where(chance.random(10_000) < 0.07, chance.integers(0, 4, 10_000), inner)
            for _ in range(2)
        )
        tips.append(tip)
    tips.append(numpy.concatenate([tips[0][:5_000], tips[6][5_000:]]))
    alignment = MSA.from_coded_array(numpy.array(tips, dtype=numpy.int8), tuple("ABCDEFGHR"))
    return list(bootstrap(alignment, size, seed=1))
