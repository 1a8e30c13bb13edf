"""Bootstrap support of quartet splits, with PhyloZoo's distances and any number of workers.

Each bootstrap replicate draws as many columns as the alignment has, with replacement (Felsenstein
1985). PhyloZoo computes the distances between its sequences, which are corrected for multiple
hits with the Jukes-Cantor model. The four-point condition then gives one split for each four
taxa a, b, c, d: the one whose sum is smallest among

    d(a,b) + d(c,d)        d(a,c) + d(b,d)        d(a,d) + d(b,c)

A tie for the smallest sum leaves the quartet unresolved in that replicate, and so does a
distance that is undefined: no site is known in both sequences, or they differ at three quarters
of the sites or more. The support of a split is the proportion of replicates that give it.

Replicate number i draws from the i-th child of the seed, wherever and whenever it runs, so the
table depends on the seed alone and not on the backend or the number of workers.

    python examples/bootstrap_splits.py                             a simulated alignment
    python examples/bootstrap_splits.py my.fasta --replicates 1000 --workers 4
    python examples/bootstrap_splits.py my.fasta --plot tree.svg

The table goes to standard output. The gain goes to standard error: the time of one process,
estimated from a few replicates, beside the time that it took with workers, including their start.
Needs PhyloZoo; tqdm for the bar, and Matplotlib for --plot.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from phylozoo.core.sequence import MSA, hamming_distances
from phylozoo.utils.exceptions import PhyloZooError
from phylozoo.utils.parallel import ParallelBackend, ParallelConfig

PAIRINGS = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2]])
"""The three splits of a quartet, as positions in it: the first two | the last two."""

PROTEIN_ALONE = re.compile("[EFIJLOPQZ]", re.IGNORECASE)
"""Letters for amino acids that do not stand for any nucleotides."""

TIE = 1e-12
"""Sums of distances that differ by less than this are equal: they differ by rounding only."""


class Supports(NamedTuple):
    """The result of `quartet_supports`."""

    taxa: tuple[str, ...]
    quartets: np.ndarray
    """Four positions in `taxa` for each quartet."""
    counts: np.ndarray
    """Replicates that gave each of the `PAIRINGS` (rows) of each quartet (columns)."""
    undefined: np.ndarray
    """Replicates in which the distance between two taxa was undefined."""


def quartet_supports(
    alignment: MSA, replicates: int, seed: int, parallel: ParallelConfig | None = None
) -> Supports:
    """Count how many bootstrap replicates give each split of each quartet."""
    if parallel is None:
        parallel = ParallelConfig()
    taxa = alignment.taxa_order
    quartets = all_quartets(alignment)
    run = partial(replicate, alignment.coded_array, taxa, quartets)
    seeds = np.random.SeedSequence(seed).spawn(replicates)

    counts = np.zeros((3, len(quartets)), dtype=int)
    undefined = np.zeros((len(taxa), len(taxa)), dtype=int)
    for split, lost in parallel.get_executor().map(run, seeds):
        counts += split == [[0], [1], [2]]
        undefined += lost
    return Supports(taxa, quartets, counts, undefined)


def all_quartets(alignment: MSA) -> np.ndarray:
    """Return four rising positions in the alignment's taxa for each quartet."""
    return np.array(list(combinations(range(len(alignment.taxa_order)), 4)))


def replicate(
    sites: np.ndarray, taxa: tuple[str, ...], quartets: np.ndarray, seed: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray]:
    """Resample the columns; return each quartet's split and which distances are undefined."""
    length = sites.shape[1]
    resampled = sites[:, np.random.default_rng(seed).integers(0, length, length)]
    distances = corrected_distances(MSA.from_coded_array(resampled, taxa))
    return quartet_splits(distances, quartets), np.isnan(distances)


def corrected_distances(alignment: MSA) -> np.ndarray:
    """Correct PhyloZoo's Hamming distances with the Jukes-Cantor model; undefined ones are NaN."""
    differing = hamming_distances(alignment).np_array
    known = (alignment.coded_array >= 0).astype(np.float32)
    # PhyloZoo gives 0 to sequences without a common known site.
    defined = (known @ known.T > 0) & (differing < 0.75)
    corrected = -0.75 * np.log1p(-np.where(defined, differing, 0.0) * 4 / 3)
    corrected[~defined] = np.nan
    np.fill_diagonal(corrected, 0.0)
    return corrected


def quartet_splits(distances: np.ndarray, quartets: np.ndarray) -> np.ndarray:
    """Return the row of `PAIRINGS` that the four-point condition gives each quartet, or -1."""
    a, b, c, d = quartets[:, PAIRINGS].T
    sums = distances[a, b] + distances[c, d]
    smallest, second, _ = np.sort(sums, axis=0)
    resolved = (second - smallest > TIE) & ~np.isnan(sums).any(axis=0)
    return np.where(resolved, sums.argmin(axis=0), -1).astype(np.int8)


def read_alignment(path: str) -> MSA:
    """Read a FASTA alignment of at least four taxa; the U of RNA counts as T."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    names = [line[1:].strip() for line in lines if line.startswith(">")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one sequence is named {twice[0]!r}")
    table = str.maketrans("Uu", "Tt")
    text = "\n".join(line if line.startswith(">") else line.translate(table) for line in lines)
    alignment = MSA.from_string(text, format="fasta")
    for line in lines:
        if not line.startswith(">") and (found := PROTEIN_ALONE.search(line)):
            raise ValueError(f"it has to be DNA or RNA, and {found[0]!r} is an amino acid")
    if len(alignment) < len(names):  # PhyloZoo ignores names without a sequence
        empty = next(name for name in names if name not in alignment)
        raise ValueError(f"there is no sequence under the name {empty!r}")
    if len(alignment) < 4:
        raise ValueError(f"a quartet needs four taxa, and there are {len(alignment)}")
    return alignment


def estimated_seconds(alignment: MSA, replicates: int, seed: int) -> tuple[float, int]:
    """Estimate the time of all replicates in one process; also return how many were run for it."""
    run = partial(replicate, alignment.coded_array, alignment.taxa_order, all_quartets(alignment))
    seconds: list[float] = []
    run(np.random.SeedSequence(seed))  # the first call also loads and compiles
    while len(seconds) < 5 or (sum(seconds) < 0.2 and len(seconds) < 20):
        start = time.perf_counter()
        run(np.random.SeedSequence(seed, spawn_key=(len(seconds),)))
        seconds.append(time.perf_counter() - start)
    return median(seconds) * replicates, len(seconds)


def simulated_alignment(seed: int, taxa: int = 30, length: int = 4000) -> MSA:
    """Simulate an alignment by the Jukes-Cantor model along a random tree."""
    rng = np.random.default_rng(seed)

    def child(sequence: np.ndarray) -> np.ndarray:
        branch = rng.exponential(0.05)  # expected substitutions for each site
        hit = rng.random(length) < -np.expm1(-4 / 3 * branch)
        return np.where(hit, rng.integers(0, 4, length), sequence)

    tips = [rng.integers(0, 4, length)]
    while len(tips) < taxa:
        parent = tips.pop(rng.integers(len(tips)))
        tips += [child(parent), child(parent)]
    names = tuple(f"t{number:02}" for number in range(1, taxa + 1))
    return MSA.from_coded_array(np.array(tips, dtype=np.int8), names)


def table(supports: Supports, replicates: int, rows: int) -> Iterator[str]:
    """Write the best supported splits, `rows` of them (0: all), as the lines of a table."""
    taxa, quartets, counts, undefined = supports
    best = counts.max(axis=0)
    yield (
        "support: the proportion of bootstrap replicates in which Jukes-Cantor distances and the "
        "four-point condition give the split"
    )
    yield (
        f"{len(quartets)} quartets, {replicates} replicates; the best split has support 0.95 or "
        f"more in {np.sum(best >= 0.95 * replicates)} quartets, less than 0.5 in "
        f"{np.sum(best < 0.5 * replicates)}"
    )
    for i, j in np.argwhere(np.triu(undefined)):
        yield (
            f"undefined distance: {taxa[i]}, {taxa[j]} in {undefined[i, j]} replicates "
            "(their quartets are unresolved there)"
        )
    yield f"{'support':>7}  {'count':>7}  {'unresolved':>10}  split"
    unresolved = replicates - counts.sum(axis=0)
    order = np.argsort(-counts.T.ravel(), kind="stable")
    seen = order[: np.count_nonzero(counts)]
    for quartet, pairing in zip(*np.divmod(seen[: rows or None], 3), strict=True):
        count = counts[pairing, quartet]
        a, b, c, d = (taxa[i] for i in quartets[quartet, PAIRINGS[pairing]])
        yield (
            f"{count / replicates:7.3f}  {count:7}  {unresolved[quartet]:10}  {a}, {b} | {c}, {d}"
        )
    if rows and len(seen) > rows:
        yield f"... and {len(seen) - rows} more splits (--rows 0 shows all)"


def at_least(smallest: int, text: str, other: str = "") -> int:
    """Read a whole number from the command line; the message names what `other` may stand there."""
    if not text.isdecimal() or int(text) < smallest:
        raise argparse.ArgumentTypeError(f"not a whole number from {smallest} up{other}: {text!r}")
    return int(text)


def arguments() -> argparse.ArgumentParser:
    """Define the arguments of the command line."""
    parser = argparse.ArgumentParser(description="Bootstrap support of quartet splits.")
    parser.add_argument(
        "alignment", nargs="?", help="a FASTA file of aligned DNA or RNA (default: simulate one)"
    )
    count = partial(at_least, 1)
    natural = partial(at_least, 0)
    parser.add_argument("--replicates", type=count, default=2000, help="(default: 2000)")
    parser.add_argument(
        "--backend",
        choices=[backend.value for backend in ParallelBackend],
        default="multiprocessing",
        help="(default: multiprocessing)",
    )
    parser.add_argument(
        "--workers",
        type=lambda text: -1 if text == "-1" else at_least(1, text, ", or -1"),
        help="-1 is every core (default: every core for processes, 1 for threads)",
    )
    parser.add_argument("--seed", type=natural, default=1, help="(default: 1)")
    parser.add_argument(
        "--rows", type=natural, default=20, help="splits to show, 0 for all (default: 20)"
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the tree of the splits that most replicates give"
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="a bar that counts replicates (default: in a terminal)",
    )
    return parser


def main() -> int:
    """Run from the command line."""
    parser = arguments()
    options = parser.parse_args()
    if options.progress is None:
        options.progress = sys.stderr.isatty() and find_spec("tqdm") is not None
    try:
        parallel = ParallelConfig(
            options.backend, options.workers, progress="replicates" if options.progress else False
        )
        if options.plot:
            from quartet_tree import check_plot, plot_tree

            check_plot(options.plot)
    except (ImportError, ValueError) as error:
        parser.error(str(error))

    if options.alignment is None:
        source = f"an alignment simulated by the Jukes-Cantor model (seed {options.seed})"
        alignment = simulated_alignment(options.seed)
    else:
        source = options.alignment
        try:
            alignment = read_alignment(source)
        except (OSError, ValueError, PhyloZooError) as error:
            reason = getattr(error, "strerror", None) or error
            print(f"{parser.prog}: cannot use {source}: {reason}", file=sys.stderr)
            return 2

    unknown = np.mean(alignment.coded_array < 0)
    print(
        f"{source}: {len(alignment)} taxa, {alignment.sequence_length} sites, "
        f"{unknown:.1%} gaps and ambiguous characters",
        flush=True,
    )
    alone, tried = estimated_seconds(alignment, options.replicates, options.seed)
    print(
        f"one process: about {alone:.1f} s for {options.replicates} replicates, estimated "
        f"from {tried} of them",
        file=sys.stderr,
    )
    start = time.perf_counter()
    supports = quartet_supports(alignment, options.replicates, options.seed, parallel)
    seconds = time.perf_counter() - start
    print("\n".join(table(supports, options.replicates, options.rows)))
    print(gained(parallel, alone, seconds), file=sys.stderr)
    if options.plot:
        try:
            plot_tree(options.plot, supports, options.replicates)
        except OSError as error:
            print(f"{parser.prog}: cannot write {options.plot}: {error.strerror}", file=sys.stderr)
            return 2
    return 0


def gained(parallel: ParallelConfig, alone: float, seconds: float) -> str:
    """Return how long it took, and what the workers gained."""
    if parallel.backend == ParallelBackend.SEQUENTIAL:
        return f"one process: {seconds:.1f} s"
    workers = parallel.get_executor().n_jobs
    kind = "thread" if parallel.backend == ParallelBackend.THREADING else "process"
    ending = "" if workers == 1 else "s" if kind == "thread" else "es"
    gain = f"{alone / seconds:.1f}" if alone > 0.1 * seconds else "less than 0.1"
    told = (
        f"{workers} worker {kind}{ending}: {seconds:.1f} s with their start, {gain} times as fast"
    )
    return (
        told if alone > seconds else f"{told}: too little work for workers, or the cores are busy"
    )


if __name__ == "__main__":
    sys.exit(main())
