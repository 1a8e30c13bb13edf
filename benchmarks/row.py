"""What a row of the benchmark is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Row:
    """Work that several candidates do in turn against the clock."""

    name: str
    what: str
    make: Callable[[int], Any]
    """Makes the input of that size, before the clock starts."""
    run: Callable[[Map, Any], Any]
    """What is timed: does the work with a candidate's map, and returns the results."""
    candidates: dict[str, Callable[[], Map]]
    """Opens each candidate; see `rivals`. The names of ours begin with "ours"."""
    targets: dict[str, float]
    """The largest ratio, of our time to the rival's, that is good enough."""
    size: int
    quick: int
    repeat: int
    before: Callable[[Map, Any], None] | None = None
    """Comes before every run, untimed."""


@dataclass(frozen=True)
class MemoryRow:
    """Work that we do alone, for how much memory it takes."""

    name: str
    what: str
    run: Callable[[int], dict[str, float]]
    """Does the work of that size, and returns megabytes by the name of the figure."""
    targets: dict[str, float]
    """The most megabytes that are good enough."""
    size: int
    quick: int
