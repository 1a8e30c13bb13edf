"""
One map: items into chunks, chunks to an engine, outcomes back into ordered results.

::

    caller's thread                          engine             worker
    items ──► chunk ──► submit, up to the window ─────────────► run_in_process
                                                                run_in_thread
    results ◄── in order ◄── outcomes ◄── queue ◄── callback ◄── outcome

Everything but the callback's ``put`` happens in the thread that calls ``map`` or ``next``.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from queue import SimpleQueue
from typing import Any

import cloudpickle

from phylozoo_parallel import _chunking, _worker
from phylozoo_parallel._engine import Engine
from phylozoo_parallel.errors import WorkerTraceback

PILE = 64 << 20
"""Bytes of finished work, items and results, that may wait behind a slow item."""

BUDGET = 5 * _chunking.SECONDS
"""Seconds after which a worker hands back the rest of a chunk whose size was chosen here."""


class _Chunk:
    """Items on their way to a worker, and their results on the way back."""

    __slots__ = ("first", "items", "nbytes", "pickled", "results")

    def __init__(self, first: int, items: list[Any]) -> None:
        self.first = first
        self.items = items
        self.nbytes = 0

    def since(self, done: int) -> _Chunk:
        """Return the items from the `done`-th on as a chunk of their own."""
        return _Chunk(self.first + done, self.items[done:])

    def singles(self) -> list[_Chunk]:
        """Return the items as chunks of one."""
        return [_Chunk(self.first + i, [item]) for i, item in enumerate(self.items)]


def start(
    engine: Engine,
    func: Callable[..., Any],
    items: Iterator[Any],
    total: int | None,
    chunksize: int | None,
    star: bool,
) -> Iterator[Any]:
    """
    Start a map and return its results.

    Parameters
    ----------
    engine : Engine
        Released when the map ends.
    func : callable
        Called with an item, or with the values of an item if `star`.
    items : Iterator
        The input.
    total : int or None
        The input's length where it has one: a hint for the size of chunks.
    chunksize : int or None
        Items in a chunk; None chooses from what is measured.
    star : bool
        Whether items are tuples of arguments.

    Returns
    -------
    Iterator
        A generator that already has chunks in flight; closing it ends the map.

    Raises
    ------
    pickle.PicklingError
        The function has to go to another process and cannot be pickled.
    """
    results = _Map(engine, func, items, total, chunksize, star).run()
    next(results)
    return results


class _Map:
    """The state of one map, touched by its caller's thread alone."""

    def __init__(
        self,
        engine: Engine,
        func: Callable[..., Any],
        items: Iterator[Any],
        total: int | None,
        chunksize: int | None,
        star: bool,
    ) -> None:
        self.engine = engine
        self.func = func
        self.star = star
        self.items = items
        self.total = total
        self.chunksize = chunksize
        self.budget = None if chunksize else BUDGET
        self.measured = _chunking.Measured()
        self.read = 0  # items taken from the input
        self.at = 0  # index of the next result to hand out
        self.exhausted = False
        self.flying: set[_Chunk] = set()
        self.again: deque[_Chunk] = deque()  # to be sent (again) before anything new
        self.finished: dict[int, _Chunk | BaseException] = {}  # by the index of the first result
        self.pile = 0  # bytes in `finished`
        self.queue: SimpleQueue[tuple[_Chunk, Any]] = SimpleQueue()

    def run(self) -> Iterator[Any]:
        try:
            if self.engine.pickles:
                self.key = os.urandom(8)
                self.place = _place() if self.engine.place else None
                self.function = _pickled_function(self.func, self.star)
            self.fill()
            self.engine.flush()
            yield  # to start(): the work has begun
            while True:
                while self.at not in self.finished:
                    self.fill()
                    if not self.flying:
                        return
                    self.receive()
                chunk = self.finished.pop(self.at)
                if isinstance(chunk, BaseException):
                    raise chunk
                self.pile -= chunk.nbytes
                self.fill()
                results = self.unpickled(chunk) if self.engine.pickles else chunk.results
                self.at += len(results)
                yield from results
        finally:
            self.engine.release()

    def fill(self) -> None:
        """Send chunks until the window is full, the input ends or too much is piled up."""
        while len(self.flying) < self.engine.window:
            if self.again:
                chunk = self.again.popleft()
            elif self.exhausted or self.pile >= PILE:
                return
            else:
                chunk = self.take()
            if chunk.items:
                self.send(chunk)

    def take(self) -> _Chunk:
        """Read the next chunk from the input."""
        size = self.chunksize
        if size is None:
            remaining = self.total - self.read if self.total else 0
            size = _chunking.chunk_size(self.measured, max(remaining, 0) or None, self.engine.workers)
        chunk = _Chunk(self.read, [])
        try:
            chunk.items.extend(islice(self.items, size))  # keeps what came before an error
        except Exception as error:
            self.fail(self.read + len(chunk.items), error)
        self.exhausted = self.exhausted or len(chunk.items) < size
        self.read += len(chunk.items)
        return chunk

    def send(self, chunk: _Chunk) -> None:
        """Submit a chunk to the engine."""
        if self.engine.pickles:
            chunk = self.picklable(chunk)
            if not chunk.items:
                return
            arguments: tuple[Any, ...] = (
                self.key,
                self.place,
                self.function,
                chunk.pickled,
                chunk.first,
                self.budget,
            )
            run: Callable[..., Any] = _worker.run_in_process
        else:
            run = _worker.run_in_thread
            arguments = (self.func, self.star, chunk.items, chunk.first, self.budget)
        put = self.queue.put
        self.flying.add(chunk)
        self.engine.submit(run, arguments, lambda out: put((chunk, out)))

    def receive(self) -> None:
        """Wait for an outcome and take in all that are there."""
        self.engine.flush()
        self.settle(*self.queue.get())
        while not self.queue.empty():
            self.settle(*self.queue.get())

    def settle(self, chunk: _Chunk, out: Any) -> None:
        """Book what came of a chunk."""
        if chunk not in self.flying:
            return
        self.flying.remove(chunk)
        try:
            results, done, seconds, failure = self.engine.outcome(out)
        except Exception as error:
            self.fail(chunk.first, error)
            return
        if failure is not None:
            if failure.index is not None or len(chunk.items) == 1:
                self.fail(chunk.first + done, _rebuilt(failure))
            else:  # one of its items cannot be unpickled: find out which
                self.again.extendleft(reversed(chunk.singles()))
        elif done < len(chunk.items):
            self.again.appendleft(chunk.since(done))
        if done:
            if self.engine.pickles:
                chunk.nbytes += len(results)
            else:
                chunk.nbytes = sys.getsizeof(results) + done * sys.getsizeof(results[0])
            self.measured.add(done, seconds, chunk.nbytes)
            chunk.results = results
            chunk.items = []
            self.pile += chunk.nbytes
            self.finished[chunk.first] = chunk

    def fail(self, index: int, error: BaseException) -> None:
        """Have the map end with this error once the results before it are handed out."""
        self.finished[index] = error
        self.exhausted = True
        self.again = deque(chunk for chunk in self.again if chunk.first < index)

    def picklable(self, chunk: _Chunk) -> _Chunk:
        """Pickle a chunk, or the part of it before the first item that cannot be."""
        try:
            chunk.pickled = cloudpickle.dumps(chunk.items, pickle.HIGHEST_PROTOCOL)
            chunk.nbytes = len(chunk.pickled)
        except Exception as error:
            good = 0
            for item in chunk.items:
                try:
                    cloudpickle.dumps(item, pickle.HIGHEST_PROTOCOL)
                except Exception as wrong:
                    error = wrong
                    break
                good += 1
            told = f"item {chunk.first + good} could not be pickled for a worker: {error}"
            unpicklable = pickle.PicklingError(told)
            unpicklable.__cause__ = error
            self.fail(chunk.first + good, unpicklable)
            return self.picklable(_Chunk(chunk.first, chunk.items[:good]))
        return chunk

    def unpickled(self, chunk: _Chunk) -> list[Any]:
        """Unpickle a finished chunk's results; where that fails, run its items one by one."""
        try:
            results: list[Any] = pickle.loads(chunk.results)
            return results
        except Exception as error:
            items = pickle.loads(chunk.pickled)
            if len(items) == 1:
                told = f"the result of item {chunk.first} could not be unpickled: {error}"
                raise pickle.UnpicklingError(told) from error
            self.again.extendleft(reversed(_Chunk(chunk.first, items).singles()))
            return []


def _place() -> tuple[str | None, list[str]]:
    try:
        return os.getcwd(), list(sys.path)
    except OSError:  # the directory is gone
        return None, list(sys.path)


def _pickled_function(func: Callable[..., Any], star: bool) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps((func, star), pickle.HIGHEST_PROTOCOL)
        return pickled
    except Exception as error:
        raise pickle.PicklingError(
            f"func = {func!r} could not be pickled for worker processes: {error}; "
            "what it captures has to be picklable, or use the threading backend"
        ) from error


def _rebuilt(failure: _worker.Failure) -> BaseException:
    error = failure.error
    if not isinstance(error, BaseException):
        try:
            error = pickle.loads(error)
        except Exception:
            error = RuntimeError(f"{failure.line} (an exception that cannot be pickled)")
    error.__cause__ = WorkerTraceback(f"{failure.trace}{failure.where}")
    error.__traceback__ = None
    if hasattr(error, "add_note"):
        error.add_note(failure.where)
    return error

