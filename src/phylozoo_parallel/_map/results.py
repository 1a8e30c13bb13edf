"""The iterator of results that a map returns, and the exceptions that it raises."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from itertools import chain
from operator import length_hint
from typing import Any

from phylozoo_parallel._map.source import with_source
from phylozoo_parallel._worker.run import Failure
from phylozoo_parallel.errors import WorkerTraceback, noted


class Results(chain[Any]):
    """The results of a map, one by one; C code takes them out of one list for each chunk."""

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
        Return an iterator over the results in the lists that a generator yields.

        Parameters
        ----------
        chunks : Generator of list
        stop : callable
            Tells the generator to end soon, where it runs in another thread.
        how_far : callable
            Returns the text that says how many items are done.
        """
        steps = _Chunks(chunks, stop)
        results: Any = cls.from_iterable(steps)
        results._chunks, results._how_far = steps, how_far
        return results  # type: ignore[no-any-return]

    def close(self) -> None:
        """
        End the map; items that have not begun do not run.

        It may be called in any thread; a ``next`` that waits in another thread ends, too.
        """
        self._chunks.close()
        deque(self, maxlen=0)  # drops the results that are left of the latest chunk

    def __repr__(self) -> str:
        return f"<results: {self._how_far()}>"


class _Chunks:
    """
    A generator of lists that can be closed in one thread while it runs in another.

    Threads that read at the same time get the same iterator over a list until it is exhausted, so
    that ``chain``, which holds one at a time, loses no result.
    """

    def __init__(self, chunks: Generator[list[Any], None, None], stop: Callable[[], None]) -> None:
        self._chunks = chunks
        self._latest: Iterator[Any] = iter([])  # results of the latest chunk, but those taken
        self._stop = stop
        self._turn = threading.RLock()
        self._closed = False

    def __iter__(self) -> _Chunks:
        return self

    def __next__(self) -> Iterator[Any]:
        if not self._closed:
            with self._turn:
                # Another thread may have come for results, too, while this one was on its way.
                if not length_hint(self._latest):
                    self._latest = iter(next(self._chunks))
        if self._closed:  # by now, perhaps: the generator could not be closed while it ran
            self.close()
            raise StopIteration
        return self._latest

    def close(self) -> None:
        self._closed = True
        self._stop()
        if self._turn.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._turn.release()

    def _end(self) -> None:
        # The generator runs in this very thread, if a handler of a signal calls this.
        with suppress(ValueError):
            self._chunks.close()


def rebuilt(failure: Failure, error: Any) -> BaseException:
    """
    Return a worker's exception in the form that the caller sees.

    Parameters
    ----------
    failure : Failure
    error : BaseException or None
        The unpickled exception of the failure; None if it could not be pickled or unpickled.
    """
    if not isinstance(error, BaseException):
        message = f"{failure.where}: {failure.line} (this exception itself could not be pickled)"
        error = RuntimeError(message)
    put = BaseException.__setattr__  # the exception's own may refuse (a frozen dataclass)
    trace = error.__traceback__
    if error is not failure.error:  # it was pickled; that of a thread is the object it raised
        put(error, "__traceback__", None)
    elif trace is not None and trace.tb_next is not None:
        put(error, "__traceback__", trace.tb_next)  # without the frame of this library
    if error is not failure.error or not _explained(error):
        put(error, "__cause__", WorkerTraceback(f"{with_source(failure.trace)}{failure.where}"))
    noted(error, failure.where)
    raised: BaseException = error
    return raised


def _explained(error: BaseException) -> bool:
    """Return whether an exception has a cause or context, or ``raise ... from None`` hides it."""
    if isinstance(error.__cause__, WorkerTraceback):  # ours, of an earlier map that raised it
        return False
    return bool(error.__cause__ or error.__context__ or error.__suppress_context__)
