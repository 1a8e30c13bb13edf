"""The figures of one map, from its lanes: what it did, how fast it was, and where time went."""

from __future__ import annotations

from dataclasses import dataclass

from phylozoo_parallel._profile.lanes import Lane, Run, clocks, lanes, runs, shares
from phylozoo_parallel._profile.recorder import Recorder

BACKENDS = {"": "sequential", "threads": "threading", "processes": "multiprocessing"}


@dataclass(frozen=True)
class Figures:
    """The figures of one map; times are in seconds."""

    function: str
    backend: str
    engine: str
    workers: int
    items: int
    chunks: int
    wall: float
    """From the beginning of the map to its end."""
    computing: float
    """Time of all workers together inside the function."""
    reached: float
    """The speed-up: how many workers the function kept busy on average."""
    most: float
    """The speed-up that would have been possible with these workers and these items."""
    shares: dict[str, float]
    """The share of the workers' time that each state took; they add up to 1."""
    longest: tuple[float, int, int]
    """The longest item: its seconds, its index, and the number of items measured together."""
    function_bytes: int
    """Bytes of the pickled function."""
    bytes_out: int
    """Bytes of the pickled items."""
    bytes_back: int
    """Bytes of the pickled results."""
    losses: int
    """Number of chunks whose worker died."""
    running: bool
    """Whether the map was still running when these figures were made."""
    clock_within: float | None
    """How wrong the workers' times may be; None if the workers have the caller's clock."""
    record: Recorder
    runs: list[Run]
    lanes: list[Lane]

    @property
    def time(self) -> float:
        """The workers' time altogether: the shares are shares of it."""
        return self.wall * max(len(self.lanes), 1)


def figures(record: Recorder) -> Figures:
    """Return the figures of a map."""
    rows = list(record.rows)
    all_lanes, found = lanes(record), clocks(rows)
    ran = runs(rows, found)
    wall = max((lane.stretches[-1].end for lane in all_lanes if lane.stretches), default=0.0)
    wall = max(wall - record.begin, 1e-9)
    by_state = shares(all_lanes)
    computing = by_state["computing"] * wall * len(all_lanes)
    longest = max((row.times.longest for row in rows if row.times), default=(0.0, 0, 0))
    other_clocks = [clock.within for clock in found.values() if clock.ahead]
    return Figures(
        function=record.function,
        backend=BACKENDS[record.kind],
        engine=record.engine,
        workers=record.workers,
        items=max((row.first + row.items for row in rows), default=0),
        chunks=len(rows),
        wall=wall,
        computing=computing,
        reached=computing / wall,
        most=computing / max(computing / record.workers, longest[0], 1e-9),
        shares=by_state,
        longest=longest,
        function_bytes=record.function_bytes,
        bytes_out=sum(row.out for row in rows),
        bytes_back=sum(row.back for row in rows),
        losses=sum(row.end == "lost" and row.pid is not None for row in rows),
        running=record.end is None,
        clock_within=max(other_clocks, default=None),
        record=record,
        runs=ran,
        lanes=all_lanes,
    )
