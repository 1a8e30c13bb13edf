"""The progress bar, which tqdm draws: it counts the items that are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from math import inf
from typing import Any

from phylozoo_parallel._worker.run import here
from phylozoo_parallel.errors import wrong_type

INTERVAL = 0.25
"""Seconds between two movements of a bar, if no result comes."""

_of_context: ContextVar[bool | str] = ContextVar("progress", default=False)
"""What :func:`progress` asks for, for all maps of its context."""


def check(wanted: Any) -> bool | str:
    """
    Check the argument that asks for a progress bar.

    Raises
    ------
    PhyloZooTypeError
        It is neither a boolean nor a description.
    ImportError
        A bar is wanted and tqdm is not installed.
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
    Show a progress bar for every map inside this context, also for maps of library code.

    Parameters
    ----------
    wanted : bool or str, optional
        True (default) for bars without a description, or a description for the bars. With False,
        only maps whose own configuration asks for a bar show one.

    Raises
    ------
    PhyloZooTypeError
        `wanted` is neither a boolean nor a string.
    ImportError
        A bar is wanted and tqdm is not installed.

    Examples
    --------
    >>> with phylozoo_parallel.progress("bootstrap"):  # doctest: +SKIP
    ...     support = bootstrap(alignment, parallel=config)
    """
    token = _of_context.set(check(wanted))
    try:
        yield
    finally:
        _of_context.reset(token)


def bar(wanted: bool | str, total: int | None, results: Iterable[Any] | None = None) -> Any:
    """Return an open bar over `results`; None if none is wanted, and inside workers."""
    wanted = wanted or _of_context.get()
    if not wanted or here.kind:
        return None
    from tqdm.auto import tqdm

    made = _forgiving(tqdm)(results, wanted if isinstance(wanted, str) else None, total)
    # The outermost bar stays on the screen. ``leave=None`` would say the same, but with it the
    # widget of a notebook disappears, and is stored with the notebook as 0 %.
    made.leave = not made.pos
    return made


@cache
def _forgiving(bars: type[Any]) -> type[Any]:
    """
    Return a subclass of a class of tqdm's bars that ignores errors of writing to the screen.

    tqdm holds one lock for all bars of the program while it writes, and ``tqdm.refresh`` does not
    release it when writing fails (another method had the same fault:
    https://github.com/tqdm/tqdm/pull/940). The bars of other threads would then wait for the lock
    for ever, and so would the program when it ends, because it waits for tqdm's own thread.
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
    """The bar of a map, if one is wanted; a map never fails because its bar cannot be shown."""

    def __init__(self, wanted: bool | str, total: int | None) -> None:
        self._bar = None
        self._done = 0
        if wanted or _of_context.get():
            with suppress(Exception):
                self._bar = bar(wanted, total)
        self.interval = inf if self._bar is None else INTERVAL
        """Seconds after which the bar should move again."""

    def show(self, count: Callable[[], int]) -> None:
        """Show how many items are done, which is counted only if there is a bar."""
        if self._bar is not None and (done := count()) > self._done:
            with suppress(Exception):
                self._bar.update(done - self._done)
            self._done = done

    def close(self) -> None:
        """Close the bar; an outermost bar leaves its last state on the screen."""
        if self._bar is not None:
            with suppress(Exception):
                self._bar.close()
