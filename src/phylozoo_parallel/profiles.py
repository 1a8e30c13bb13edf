"""Profiles: where the time of maps went, how fast they were, and what to do about it."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import threading
from collections.abc import Callable
from typing import Any

from phylozoo_parallel import _listener
from phylozoo_parallel._profile.advice import advice
from phylozoo_parallel._profile.figures import Figures, figures
from phylozoo_parallel._profile.recorder import Recorder
from phylozoo_parallel._profile.text import summary
from phylozoo_parallel._profile.trace import events
from phylozoo_parallel.errors import PhyloZooValueError

_active: list[Profile] = []
_lock = threading.Lock()
_without_profile = _listener.make


def _recorder(func: Callable[..., Any], kind: str) -> _listener.Listener:
    record = Recorder(func, kind)
    for run in list(_active):
        run._records.append(record)
    return record


class Profile:
    """
    Records each map that starts inside its ``with`` block, in any thread, until that map ends.

    It records maps of all backends, and maps of library code as well. ``print`` shows where the
    time went; a notebook also shows a picture of it.

    Examples
    --------
    >>> import phylozoo_parallel
    >>> executor = phylozoo_parallel.SequentialExecutor()
    >>> with phylozoo_parallel.profile() as run:
    ...     results = list(executor.map(abs, range(-3, 0)))
    >>> run.maps[0].items
    3
    """

    def __init__(self) -> None:
        self._records: list[Recorder] = []

    def __enter__(self) -> Profile:
        with _lock:
            _active.append(self)
            _listener.make = _recorder
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            _active.remove(self)
            if not _active:
                _listener.make = _without_profile

    @property
    def maps(self) -> list[Figures]:
        """The figures of each map, in the order in which they started."""
        return [figures(record) for record in list(self._records)]

    def __repr__(self) -> str:
        return f"<profile of {len(self._records)} maps; print() shows it>"

    def __str__(self) -> str:
        return summary(self.maps)

    def plot(self, number: int | None = None) -> Any:
        """
        Draw one map: what its caller and each of its workers did, and when.

        Parameters
        ----------
        number : int or None, optional
            The number of the map, counted from 1 as in the text; None (default) for the longest.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it, and its ``savefig`` saves it.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        PhyloZooValueError
            There is no map with this number.
        """
        from phylozoo_parallel._profile.plot import plot

        maps = self.maps
        if not maps:
            raise PhyloZooValueError("this profile has no map: start one inside its `with` block")
        if number is None:
            number = max(range(len(maps)), key=lambda index: maps[index].wall) + 1
        if not 1 <= number <= len(maps):
            raise PhyloZooValueError(
                f"there is no map {number} in a profile of {len(maps)} maps; give the number of one"
            )
        return plot(maps[number - 1], f"map {number}, {maps[number - 1].function}")

    def _repr_html_(self) -> str:
        text = f"<pre>{html.escape(str(self))}</pre>"
        try:
            figure = self.plot()
        except (ImportError, PhyloZooValueError):
            return text
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=100)
        encoded = base64.b64encode(picture.getvalue()).decode()
        return f'{text}<img alt="what each worker did when" src="data:image/png;base64,{encoded}">'

    def to_dict(self) -> dict[str, Any]:
        """
        Return all that was recorded, as values that ``json.dumps`` accepts.

        Returns
        -------
        dict
            ``{"maps": [...]}``. Times are in seconds; those of chunks count from the map's
            beginning.
        """
        return {"maps": [_plain(one) for one in self.maps]}

    def to_frame(self) -> Any:
        """
        Return a table with a row for each chunk.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install pandas") from None
        chunks = [
            {"map": number, "function": one.function, **chunk}
            for number, one in enumerate(self.maps, 1)
            for chunk in _chunks(one)
        ]
        return pandas.DataFrame(chunks)

    def to_trace(self, path: str | os.PathLike[str]) -> None:
        """
        Write what callers and workers did to a file that https://ui.perfetto.dev can open.

        Parameters
        ----------
        path : str or path-like
            The file, in the Trace Event Format (JSON); one that exists is replaced.
        """
        trace = {"traceEvents": events(self.maps), "displayTimeUnit": "ms"}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(trace, file)


def profile() -> Profile:
    """
    Return a profile of the maps that start inside its ``with`` block.

    Returns
    -------
    Profile
    """
    return Profile()


_PLAIN = (
    "function", "backend", "engine", "workers", "items", "chunks", "wall", "computing", "reached",
    "most", "shares", "function_bytes", "bytes_out", "bytes_back", "losses", "running",
)  # fmt: skip


def _plain(one: Figures) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in _PLAIN}
    seconds, index, _ = one.longest
    longest = {"seconds": seconds, "item": index}
    return {**values, "longest": longest, "advice": advice(one), "rows": _chunks(one)}


def _chunks(one: Figures) -> list[dict[str, Any]]:
    begin = one.record.begin
    ran = {id(run.row): run for run in one.runs}
    found = []
    for row in one.record.rows:
        run = ran.get(id(row))
        at: dict[str, float | None] = {
            "packing": row.packing, "sent": row.sent,
            "began": run and run.begin, "unpacked": run and run.unpacked,
            "ran": run and run.ran, "packed": run and run.end,
            "arrived": row.arrived, "settled": row.settled,
        }  # fmt: skip
        found.append(
            {
                "first": row.first,
                "items": row.items,
                "done": row.done,
                "end": row.end,
                "worker": run and run.worker,
                "bytes_out": row.out,
                "bytes_back": row.back,
                "cpu": row.times and row.times.cpu,
                **{name: None if time is None else time - begin for name, time in at.items()},
            }
        )
    return found
