"""
A profile in the Trace Event Format, which https://ui.perfetto.dev opens.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from phylozoo_parallel._profile.figures import Figures


def events(maps: Sequence[Figures]) -> list[dict[str, Any]]:
    """Return the events. Each map is a process with a thread for its caller and each worker."""
    start = min((one.record.begin for one in maps), default=0.0)
    return [event for number, one in enumerate(maps, 1) for event in _map(number, one, start)]


def _map(number: int, one: Figures, start: float) -> Iterator[dict[str, Any]]:
    yield _name("process_name", number, 0, f"map {number}: {one.function}")
    yield _name("thread_name", number, 0, "caller")
    for spell in one.record.spells():
        yield _bar(spell.doing, number, 0, spell.begin - start, spell.end - spell.begin, {})
    for thread, lane in enumerate(one.lanes, 1):
        yield _name("thread_name", number, thread, f"worker {thread} ({lane.worker or 'none'})")
        for state, begin, end, row in lane.stretches:
            about = {}
            if row is not None:
                about = {"first item": row.first, "items": row.items, "end": row.end}
                about |= {"bytes out": row.out, "bytes back": row.back}
            yield _bar(state, number, thread, begin - start, end - begin, about)


def _name(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _bar(
    name: str, process: int, thread: int, begin: float, took: float, about: dict[str, Any]
) -> dict[str, Any]:
    times = {"ts": begin * 1e6, "dur": max(took, 0.0) * 1e6}  # microseconds
    return (
        {"ph": "X", "name": name, "cat": "map", "pid": process, "tid": thread}
        | times
        | {"args": about}
    )
