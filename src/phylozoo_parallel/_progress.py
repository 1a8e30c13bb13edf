"""The progress bar, tqdm's: it counts items that are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Any

from phylozoo_parallel._worker.run import here
from phylozoo_parallel.errors import wrong_type

_everywhere: ContextVar[bool | str] = ContextVar("progress", default=False)


def check(wanted: Any) -> bool | str:
    """
    Check what is wanted of a bar.

    Raises
    ------
    PhyloZooTypeError
        Neither a boolean nor a description.
    ImportError
        A bar is wanted, and tqdm is not installed.
    """
    if not isinstance(wanted, bool | str):
        raise wrong_type(wanted, "progress", "True, False or a description")
    if wanted and find_spec("tqdm") is None:
        raise ImportError(
            "progress needs tqdm, which is not installed; install it with: pip install tqdm"
        )
    return wanted


@contextmanager
def progress(wanted: bool | str = True) -> Iterator[None]:
    """
    Show a progress bar for every map in this context, whoever calls it.

    Parameters
    ----------
    wanted : bool or str, optional
        A description for the bars, or True for bars without one. False shows none, but those
        that a configuration asks for.

    Raises
    ------
    PhyloZooTypeError
        `wanted` is something else.
    ImportError
        tqdm is not installed.

    Examples
    --------
    >>> with phylozoo_parallel.progress("bootstrap"):  # doctest: +SKIP
    ...     support = bootstrap(alignment, parallel=config)
    """
    token = _everywhere.set(check(wanted))
    try:
        yield
    finally:
        _everywhere.reset(token)


def bar(wanted: bool | str, total: int | None, results: Iterable[Any] | None = None) -> Any:
    """Return an open bar over `results`; None where none is wanted, and inside workers."""
    wanted = wanted or _everywhere.get()
    if not wanted or here.kind:
        return None
    from tqdm.auto import tqdm

    made = _forgiving(tqdm)(results, wanted if isinstance(wanted, str) else None, total)
    # The outermost stays. Said by ``leave=None``, the widget of a notebook goes, and stores 0 %.
    made.leave = not made.pos
    return made


@cache
def _forgiving(bars: type[Any]) -> type[Any]:
    """
    Return a kind of tqdm's bars that does without what cannot be written.

    tqdm holds a lock for all bars of the program while it writes, and keeps it when writing
    fails (``tqdm.refresh``). Bars of other threads would wait for it for ever, and so would the
    end of the program, for tqdm's own thread.
    """

    class Forgiving(bars):  # type: ignore[misc]
        def display(self, *args: Any, **kwargs: Any) -> Any:
            with suppress(Exception):
                return super().display(*args, **kwargs)

        def close(self) -> None:
            with suppress(Exception):
                super().close()

    return Forgiving


class Bar:
    """The bar of a map, where one is wanted; a map does not fail for what cannot be shown."""

    def __init__(self, wanted: bool | str, total: int | None) -> None:
        self._bar = None
        self._done = 0
        with suppress(Exception):
            self._bar = bar(wanted, total)

    def show(self, done: int) -> None:
        """Show how many items are done."""
        if self._bar is not None and done > self._done:
            with suppress(Exception):
                self._bar.update(done - self._done)
            self._done = done

    def close(self) -> None:
        """Take it off the screen, or leave its last state there."""
        if self._bar is not None:
            with suppress(Exception):
                self._bar.close()
