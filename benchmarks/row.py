"""The rows of the benchmark: their parts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Row:
    """Work that several candidates do in turn, and that is timed."""

    name: str
    what: str
    make: Callable[[int], Any]
    """Makes the input of that size, before the clock starts."""
    run: Callable[[Map, Any], Any]
    """Does the work with a candidate's map, and returns the results; this is timed."""
    candidates: dict[str, Callable[[], Map]]
    """Opens each candidate; see `rivals`. The names of ours begin with "ours"."""
    targets: dict[str, float]
    """The largest ratio, of our time to the rival's, that is good enough."""
    size: int
    quick: int
    repeat: int
    before: Callable[[Map, Any], None] | None = None
    """Called before every run, and not timed."""


@dataclass(frozen=True)
class MemoryRow:
    """Work of this library only, to measure its memory."""

    name: str
    what: str
    run: Callable[[int], dict[str, float]]
    """Does the work of that size, and returns megabytes by the name of the figure."""
    targets: dict[str, float]
    """The most megabytes that are good enough."""
    size: int
    quick: int
