"""
A picture of one map: a lane for its caller, and one for each worker.

If a lane has more stretches than a picture can show, it is drawn in columns. Each column is a stack
of bars: how much of its time was spent on what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from phylozoo_parallel._profile.figures import Figures
from phylozoo_parallel._profile.lanes import (
    AGAIN,
    CALLER,
    COMPUTING,
    INPUT,
    OTHER,
    READER,
    SHIPPING,
    STARTING,
    STATES,
    TAIL,
    UNPICKLING,
)
from phylozoo_parallel._profile.units import count, percents, seconds

LOOKS = {
    COMPUTING: ("#0072b2", ""),
    STARTING: ("#e69f00", "///"),
    UNPICKLING: ("#f0e442", "..."),
    SHIPPING: ("#56b4e9", "\\\\\\"),
    INPUT: ("#cc79a7", "---"),
    READER: ("#009e73", "|||"),
    CALLER: ("#d55e00", "xxx"),
    TAIL: ("#ffffff", ""),
    AGAIN: ("#000000", "++"),
    OTHER: ("#bbbbbb", ""),
}
"""
The colour and the hatch of each state. The colours are those of M. Okabe and K. Ito, which
colour-blind people can tell apart.
"""

COLUMNS = 200
"""Number of columns across the picture."""

CROWDED = 150
"""Number of stretches from which on a lane is drawn in columns."""

LANES = 16
"""Most worker lanes that have a label each; with more lanes, every fourth has one."""

_CALLER = {
    "opening": STARTING, "pickling": SHIPPING, "reading": INPUT, "sending": SHIPPING,
    "taking": SHIPPING, "away": READER, "computing": COMPUTING,
}  # fmt: skip
"""The state whose look a caller's spell has; nothing is drawn while it waits for outcomes."""

Bar = tuple[str, float, float]
"""State, beginning and end."""

Brick = tuple[float, float, float, float]
"""Beginning, width, bottom and height; bottom and height are from 0 to 1 of the lane."""


def bricks(bars: Sequence[Bar], begin: float, end: float, crowded: bool) -> dict[str, list[Brick]]:
    """Return what to draw of a lane, by state: bars, or columns of shares if it is crowded."""
    found: dict[str, list[Brick]] = {}
    if not crowded:
        for state, since, until in bars:
            found.setdefault(state, []).append((since, until - since, 0.0, 1.0))
        return found
    width = (end - begin) / COLUMNS
    for column, spent in enumerate(_columns(bars, begin, width)):
        bottom = 0.0
        for state in STATES:
            height = spent.get(state, 0.0) / width
            if height > 0:
                found.setdefault(state, []).append((begin + column * width, width, bottom, height))
                bottom += height
    return found


def _columns(bars: Iterable[Bar], begin: float, width: float) -> list[dict[str, float]]:
    columns: list[dict[str, float]] = [{} for _ in range(COLUMNS)]
    for state, since, until in bars:
        column = min(max(int((since - begin) / width), 0), COLUMNS - 1)
        while column < COLUMNS and begin + column * width < until:
            left = begin + column * width
            part = min(until, left + width) - max(since, left)
            columns[column][state] = columns[column].get(state, 0.0) + max(part, 0.0)
            column += 1
    return columns


def plot(one: Figures, title: str) -> Any:
    """
    Draw a map.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError:
        raise ImportError("plot needs matplotlib: pip install matplotlib") from None
    begin, end = one.record.begin, one.record.begin + one.wall
    spells = [it for it in one.record.spells() if it.doing in _CALLER]
    caller = [(_CALLER[it.doing], it.begin, it.end) for it in spells]
    lanes = [caller, *([stretch[:3] for stretch in lane.stretches] for lane in one.lanes)]
    height = min(max(0.32 * len(lanes), 1.2), 9.0)
    figure = Figure(figsize=(9.0, height + 1.7), layout="constrained")
    axes = figure.subplots()
    most = max((len(bars) for bars in lanes[1:]), default=0)
    for number, bars in enumerate(lanes):
        crowded = (most if number else len(bars)) > CROWDED
        for state, where in bricks(bars, begin, end, crowded).items():
            _draw(axes, number, where, begin, LOOKS[state])
    axes.set_xlim(0, one.wall)
    axes.set_ylim(len(lanes) - 0.5, -0.6)
    axes.set_yticks(*_labels(one))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("seconds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(
        f"{title}: {count(one.items, 'item')} in {count(one.chunks, 'chunk')}, "
        f"{seconds(one.wall)}, speed-up {one.reached:.2f} of at most {one.most:.2f}",
        loc="left", fontsize=10,
    )  # fmt: skip
    shown = {state: share for state, share in percents(one.shares).items() if share}
    patches = [
        Patch(label=f"{state} {share:.1f} %", **_style(LOOKS[state]))
        for state, share in shown.items()
    ]
    figure.legend(handles=patches, loc="outside lower left", ncols=3, fontsize=8, frameon=False)
    return figure


def _draw(
    axes: Any, lane: int, where: Sequence[Brick], begin: float, look: tuple[str, str]
) -> None:
    from matplotlib.collections import PolyCollection

    corners = []
    for since, width, bottom, height in where:
        left, right = since - begin, since - begin + width
        low = lane + 0.4 - 0.8 * bottom
        high = low - 0.8 * height
        corners.append([(left, low), (left, high), (right, high), (right, low)])
    whole = all(height == 1.0 for *_, height in where)
    style = _style(look)
    if not whole:  # columns have no line around them
        style["linewidth"] = 0.0
    axes.add_collection(PolyCollection(corners, **style))


def _style(look: tuple[str, str]) -> dict[str, Any]:
    colour, hatch = look
    edge = "#555555" if hatch or colour == "#ffffff" else "white"
    return {"facecolor": colour, "hatch": hatch, "edgecolor": edge, "linewidth": 0.2}


def _labels(one: Figures) -> tuple[list[int], list[str]]:
    every = 1 if len(one.lanes) <= LANES else 4
    workers = [number for number in range(1, len(one.lanes) + 1) if (number - 1) % every == 0]
    return [0, *workers], ["caller", *(f"worker {number}" for number in workers)]
