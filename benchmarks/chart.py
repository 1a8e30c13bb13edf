"""One chart of all ratios, for the documentation."""

import io
import re
import textwrap
from itertools import cycle
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.lines import Line2D

from benchmarks.report import ratios
from benchmarks.rows import FLOOR

PAPER, INK, SOFT, LINE = "#fefefe", "#1d2733", "#52606d", "#d5dae0"
DARK = {PAPER: "#14181e", INK: "#e6e9ee", SOFT: "#a9b4c0", LINE: "#3a434d"}
"""The colours that replace them where the system asks for dark pages."""

COLOURS = [
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#b58900",
    "#56a0d3",
    "#7f7f7f",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#17a2b8",
    "#6b8e23",
]
STYLES = list(zip("osD^vPX*<>hp", COLOURS, strict=True))
"""Shapes and colours of the rivals: the shape alone tells them apart."""

LOOK = {
    "svg.fonttype": "none",
    "svg.hashsalt": "phylozoo-parallel",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "axes.edgecolor": SOFT,
}
"""The style of all charts."""


def points(rows, results):
    """Return [(row, [(rival, ratio, target)])], rows without a point left out."""
    found = []
    for row in rows:
        there = [
            (rival, ratio, target)
            for ours, rival, _, _, ratio, target in ratios(row, results[row.name])
            if ours != "ours from config" and rival != FLOOR
        ]
        if there:
            found.append((row, there))
    return found


def draw(file, rows, results):
    """
    Draw the ratios to rivals of every timed row on a logarithmic scale.

    Parameters
    ----------
    file : path-like
        Of the SVG.
    rows : sequence of Row
        From top to bottom.
    results : dict of str to dict
        What was measured, by the name of the row.
    """
    lines = points(rows, results)
    names = list(dict.fromkeys(rival for _, there in lines for rival, _, _ in there))
    # With more rivals than shapes, the last ones share a shape and have another colour.
    shapes, colours = zip(*STYLES, strict=True)
    looks = zip(cycle(shapes), [*colours, *reversed(colours)], strict=False)
    styles = dict(zip(names, looks, strict=False))
    lanes = [max(2, len(there)) for _, there in lines]
    with pyplot.rc_context(LOOK):
        height = 1.8 + 0.17 * sum(lanes) + 0.1 * len(lines)
        figure, axes = pyplot.subplots(figsize=(9, height), layout="constrained", facecolor=PAPER)
        axes.set_facecolor(PAPER)
        axes.axvline(1, color=SOFT, linewidth=1)
        middles, top = [], 0.0
        for (_, there), wide in zip(lines, lanes, strict=True):
            middles.append(top + (wide - 1) / 2)
            # Every point has a lane of its own, so that none hides another.
            first = middles[-1] - (len(there) - 1) / 2
            for lane, (rival, ratio, target) in enumerate(there):
                shape, colour = styles[rival]
                axes.plot(ratio, first + lane, shape, color=colour, markersize=6)
                if target:
                    axes.plot(target, first + lane, "|", color=colour, markersize=11)
            top += wide + 0.6
            axes.axhline(top - 0.8, color=LINE, linewidth=0.8)
        axes.set_ylim(top - 0.8, -0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("our time / theirs: left of 1, phylozoo-parallel is faster")
        axes.set_yticks(middles, [textwrap.fill(row.what, 44) for row, _ in lines])
        axes.tick_params(axis="y", labelsize=8, length=0)
        axes.grid(axis="x", color=LINE)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        key = [
            Line2D([], [], color=colour, marker=shape, ls="", label=name)
            for name, (shape, colour) in styles.items()
        ]
        key.append(Line2D([], [], color=SOFT, marker="|", ls="", markersize=11, label="target"))
        figure.legend(handles=key, loc="outside upper center", ncols=5, frameon=False)
        save(file, figure)


def curves(file, workers, kinds, rules, found):
    """
    Draw how efficiency changes with the number of workers: a panel for each kind of items.

    Parameters
    ----------
    file : path-like
        Of the SVG.
    workers : sequence of int
    kinds, rules : iterable of str
    found : dict of (str, str) to list of float
        Efficiency by kind and rule, for each number of workers.
    """
    with pyplot.rc_context(LOOK):
        figure, panels = pyplot.subplots(
            2, 2, figsize=(9, 7), sharex=True, sharey=True, layout="constrained", facecolor=PAPER
        )
        for axes, kind in zip(panels.flat, kinds, strict=True):
            axes.set_facecolor(PAPER)
            axes.set_title(kind, fontsize=10)
            for rule, (shape, colour) in zip(rules, STYLES, strict=False):
                wide = 2 if rule.startswith("ours") else 1
                axes.plot(
                    workers, found[kind, rule], shape + "-", color=colour, lw=wide, ms=5, label=rule
                )
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xticks(workers)
            axes.minorticks_off()
            axes.set_ylim(0, 1.03)
            axes.grid(color=LINE)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.supxlabel("workers", fontsize=10)
        figure.supylabel("efficiency: least possible time / time needed", fontsize=10)
        key = panels.flat[0].get_legend_handles_labels()
        figure.legend(*key, loc="outside upper center", ncols=3, frameon=False)
        save(file, figure)


def save(file, figure):
    """Write a figure to a file, and close it."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    Path(file).write_text(light_and_dark(drawn.getvalue()), encoding="utf-8")


def light_and_dark(svg):
    """Make the picture light or dark, as the system asks for."""
    rules = "".join(
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}\n'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark) {{\n{rules}}}</style>\n"
    return re.sub(r"(<svg [^>]*>\n)", lambda found: found[1] + style, svg, count=1)
