"""Numbers with units, as people read them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Return a time: 1.2 s, 34 ms, 5.6 µs."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value / 1e-9)} ns"


def size(value: float) -> str:
    """Return a number of bytes: 1.2 MB, 34 kB."""
    for unit, many in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= many:
            return f"{_digits(value / many)} {unit}"
    return f"{value:.0f} bytes"


def count(number: int, what: str) -> str:
    """Return a number with a noun: 1 chunk, 2,000 items."""
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def percents(shares: dict[str, float]) -> dict[str, float]:
    """Return shares in per cent with one decimal, rounded so that they still add up to 100."""
    tenths = {name: share * 1000 for name, share in shares.items()}
    whole = {name: int(value) for name, value in tenths.items()}
    left = 1000 - sum(whole.values())
    for name in sorted(tenths, key=lambda name: whole[name] - tenths[name])[:left]:
        whole[name] += 1
    return {name: value / 10 for name, value in whole.items()}


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.3g}"
