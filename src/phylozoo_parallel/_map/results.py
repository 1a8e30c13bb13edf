"""What the caller holds of a map: an iterator of results, and the errors that it raises."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from itertools import chain
from typing import Any

from phylozoo_parallel._map.source import with_source
from phylozoo_parallel._worker.run import Failure
from phylozoo_parallel.errors import WorkerTraceback


class Results(chain[Any]):
    """The results of a map, one by one: flattened in C from the lists of its chunks."""

    _chunks: _Chunks
    _how_far: Callable[[], str]

    @classmethod
    def of(
        cls,
        chunks: Generator[list[Any], None, None],
        stop: Callable[[], None],
        how_far: Callable[[], str],
    ) -> Results:
        """
        Return the results in the lists of a generator.

        Parameters
        ----------
        chunks : Generator of list
        stop : callable
            Has the generator end soon, when it runs in another thread.
        how_far : callable
            Tells how many items are done.
        """
        steps = _Chunks(chunks, stop)
        results: Any = cls.from_iterable(steps)
        results._chunks, results._how_far = steps, how_far
        return results  # type: ignore[no-any-return]

    def close(self) -> None:
        """
        End the map; what has not begun does not run.

        It may be called in any thread; a ``next`` that waits in another thread ends, too.
        """
        self._chunks.close()
        deque(self, maxlen=0)  # what is left of the latest chunk

    def __repr__(self) -> str:
        return f"<results: {self._how_far()}>"


class _Chunks:
    """A generator that can be closed in one thread while it runs in another."""

    def __init__(self, chunks: Generator[list[Any], None, None], stop: Callable[[], None]) -> None:
        self._chunks = chunks
        self._stop = stop
        self._turn = threading.RLock()
        self._closed = False

    def __iter__(self) -> _Chunks:
        return self

    def __next__(self) -> list[Any]:
        with self._turn:
            if self._closed:
                self._end()
                raise StopIteration
            return next(self._chunks)

    def close(self) -> None:
        self._closed = True
        self._stop()
        if self._turn.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._turn.release()

    def _end(self) -> None:
        with suppress(ValueError):  # it runs in this very thread: this is a signal's handler
            self._chunks.close()


def rebuilt(failure: Failure, error: Any) -> BaseException:
    """
    Return the exception of a worker, as the caller shall see it.

    Parameters
    ----------
    failure : Failure
    error : BaseException or None
        Unpacked from it; None where that was not possible.
    """
    if not isinstance(error, BaseException):
        message = f"{failure.where}: {failure.line} (this exception itself could not be pickled)"
        error = RuntimeError(message)
    put = BaseException.__setattr__  # a frozen dataclass refuses its own
    trace = error.__traceback__
    if error is not failure.error:  # a thread's comes as it was raised
        put(error, "__traceback__", None)
    elif trace is not None and trace.tb_next is not None:
        put(error, "__traceback__", trace.tb_next)  # without a frame of ours
    if error is not failure.error or not _explained(error):
        put(error, "__cause__", WorkerTraceback(f"{with_source(failure.trace)}{failure.where}"))
    if hasattr(error, "add_note"):
        put(error, "__notes__", [*getattr(error, "__notes__", ()), failure.where])
    raised: BaseException = error
    return raised


def _explained(error: BaseException) -> bool:
    """Tell whether the user's code said, or chose not to say, what an exception came from."""
    if isinstance(error.__cause__, WorkerTraceback):  # raised once more
        return False
    return bool(error.__cause__ or error.__context__ or error.__suppress_context__)
