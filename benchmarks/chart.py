"""One chart of all ratios, for the documentation."""

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.lines import Line2D

from benchmarks.report import ratios
from benchmarks.rows import FLOOR

GREY = "#555555"


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
    lines = [row for row in rows if "seconds" in results[row.name]]
    points = [
        (height, rival, ratio, target)
        for height, row in enumerate(lines)
        for ours, rival, _, _, ratio, target in ratios(row, results[row.name])
        if ours == "ours" and rival != FLOOR
    ]
    names = list(dict.fromkeys(rival for _, rival, _, _ in points))
    colours = dict(zip(names, pyplot.get_cmap("tab10").colors, strict=False))
    style = {"svg.fonttype": "none", "svg.hashsalt": "phylozoo-parallel", "font.size": 10}
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.36 * len(lines)), layout="constrained")
        axes.axvline(1, color=GREY, linewidth=1)
        for height, rival, ratio, target in points:
            axes.plot(ratio, height, "o", color=colours[rival])
            if target:
                axes.plot(target, height, "|", color=colours[rival], markersize=14)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("our time / theirs: left of 1, phylozoo-parallel is faster")
        axes.set_yticks(range(len(lines)), [row.name for row in lines])
        axes.invert_yaxis()
        axes.grid(axis="x", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
        key = [Line2D([], [], color=colours[name], marker="o", ls="", label=name) for name in names]
        key.append(Line2D([], [], color=GREY, marker="|", ls="", markersize=14, label="target"))
        figure.legend(handles=key, loc="outside upper center", ncols=5, frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)
