"""A profile as text."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from phylozoo_parallel._profile.advice import advice
from phylozoo_parallel._profile.figures import Figures
from phylozoo_parallel._profile.lanes import SHIPPING
from phylozoo_parallel._profile.units import count, percents, seconds, size

SHOWN = 10
"""Most maps that have a paragraph each: the longest ones."""


def summary(maps: Sequence[Figures]) -> str:
    """Return a paragraph for each map."""
    if not maps:
        return "no map was started"
    longest = sorted(range(len(maps)), key=lambda number: -maps[number].wall)[:SHOWN]
    parts = [paragraph(number + 1, maps[number]) for number in sorted(longest)]
    if len(maps) > SHOWN:
        rest = sum(one.wall for one in maps) - sum(maps[number].wall for number in longest)
        parts.append(f"and {len(maps) - SHOWN:,} shorter maps, {seconds(rest)} in all")
    return "\n\n".join(parts)


def paragraph(number: int, one: Figures) -> str:
    """Return the text on one map."""
    where = one.backend if one.backend == "sequential" else f"{one.backend} ({one.engine})"
    so_far = " so far" if one.running else ""
    lines = [
        f"map {number}: {one.function}, {where}, {count(one.workers, 'worker')}",
        f"  {count(one.items, 'item')} in {count(one.chunks, 'chunk')}, "
        f"{seconds(one.wall)}{so_far}; speed-up {one.reached:.2f}, at most {one.most:.2f}",
        "  the workers' time:",
    ]
    for state, share in percents(one.shares).items():
        if share:
            lines.append(f"  {share:5.1f} %  {state}{_bytes(one) if state == SHIPPING else ''}")
    if one.clock_within is not None:
        lines.append(
            f"  workers have other clocks; by the round trip, their times are right to "
            f"{seconds(one.clock_within)}"
        )
    if found := advice(one):
        lines.append(fill(f"advice: {found}", 90, initial_indent="  ", subsequent_indent="    "))
    return "\n".join(lines)


def _bytes(one: Figures) -> str:
    if not one.bytes_out:
        return ""
    function = f", function {size(one.function_bytes)}" if one.function_bytes > 10_000 else ""
    return f" ({size(one.bytes_out)} out, {size(one.bytes_back)} back{function})"
