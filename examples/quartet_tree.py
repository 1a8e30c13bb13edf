"""A tree from the supports of quartet splits, drawn by PhyloZoo.

The tree is built by joining two groups of taxa at a time; at first each taxon is a group. The next
two groups a and b to join are those whose splits a, b | c, d, with any taxa c and d of other
groups, have the largest mean support. A branch of the tree has the mean support of all splits
a, b | c, d of two taxa on either side of it; branches with half or less are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bootstrap_splits import PAIRINGS, Supports
from phylozoo.core.network.sdnetwork.derivations import split_from_cutedge
from phylozoo.core.split import Split, SplitSystem
from phylozoo.core.split.algorithms import tree_from_splitsystem


def tree_splits(supports: Supports, replicates: int) -> dict[frozenset[str], float]:
    """Return the inner branches of the tree as one side of each, with their supports."""
    taxa, quartets, counts, _ = supports
    group = np.arange(len(taxa))
    splits = {}
    for _ in range(len(taxa) - 3):
        one, other = next_to_join(group, quartets, counts)
        group[group == other] = one
        side = group == one
        support = float(counts_across(side, quartets, counts).mean()) / replicates
        if support > 0.5:
            splits[frozenset(np.array(taxa)[side].tolist())] = support
    return splits


def next_to_join(group: np.ndarray, quartets: np.ndarray, counts: np.ndarray) -> tuple[int, int]:
    """Return the two groups whose quartet splits have the largest mean count."""
    size = len(group)
    total, number = np.zeros(size * size), np.zeros(size * size)
    for pairing, count in zip(PAIRINGS, counts, strict=True):
        a, b, c, d = group[quartets[:, pairing]].T
        for x, y, v, w in (a, b, c, d), (c, d, a, b):
            apart = (x != y) & (x != v) & (x != w) & (y != v) & (y != w)
            pair = np.minimum(x, y)[apart] * size + np.maximum(x, y)[apart]
            total += np.bincount(pair, count[apart], size * size)
            number += np.bincount(pair, minlength=size * size)
    best = np.argmax(np.where(number > 0, total / np.maximum(number, 1), -1))
    return divmod(int(best), size)


def counts_across(side: np.ndarray, quartets: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the counts of the quartet splits with two taxa on either side of a branch."""
    a, b, c, d = side[quartets[:, PAIRINGS]].transpose(2, 1, 0)
    return counts[(a == b) & (c == d) & (a != c)]


def check_plot(file: str) -> None:
    """Check that a picture can be drawn, before the work for it is done."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("--plot needs Matplotlib: pip install matplotlib") from None
    kinds = Figure().canvas.get_supported_filetypes()
    if Path(file).suffix[1:].lower() not in kinds:
        raise ValueError(
            f"--plot cannot draw {file!r}: its name has to end as .{', .'.join(kinds)}"
        )


def plot_tree(file: str, supports: Supports, replicates: int) -> None:
    """Draw the tree with PhyloZoo, and write the supports of its inner branches beside them."""
    from matplotlib.figure import Figure
    from phylozoo.viz import plot
    from phylozoo.viz.sdnetwork import compute_pz_unrooted_layout

    taxa = frozenset(supports.taxa)
    sides = tree_splits(supports, replicates)
    ends = [Split({taxon}, taxa - {taxon}) for taxon in taxa]
    inner = [Split(side, taxa - side) for side in sides]
    tree = tree_from_splitsystem(SplitSystem([*ends, *inner]))
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    plot(tree, layout="pz-unrooted", ax=axes)
    where = compute_pz_unrooted_layout(tree).positions
    for one, other in tree.edges():
        if {one, other} & tree.leaves:
            continue
        split = split_from_cutedge(tree, one, other)
        support = next(sides[side] for side in (split.set1, split.set2) if side in sides)
        axes.annotate(
            f"{support:.2f}",
            np.mean([where[one], where[other]], axis=0),
            ha="center",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.set_title(f"Mean bootstrap support of each branch's quartets, {replicates} replicates")
    figure.savefig(file, dpi=150)
