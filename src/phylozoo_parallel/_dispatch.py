"""
One map: items into chunks, chunks to an engine, outcomes back into ordered results.

::

    caller's thread                                engine               worker
    items ──► chunks ──► submit, up to the window ──────────────────────► run a chunk
    results ◄── in order ◄── outcomes ◄── queue ◄── callback: put ◄────── outcome

Everything but the callback's ``put`` happens in the thread that calls ``map`` or ``next``.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, cast

from phylozoo_parallel import _chunking, _progress, _recovery, _shipping
from phylozoo_parallel._board import Progress
from phylozoo_parallel._checks import Options
from phylozoo_parallel._engine import Engine
from phylozoo_parallel._loky import WorkersLost
from phylozoo_parallel._transport import Chunk, InThread, ToProcess, UnpicklableItem
from phylozoo_parallel._worker import STRIDE, Failure
from phylozoo_parallel.errors import PhyloZooValueError, WorkerTraceback, line
from phylozoo_parallel.lost import WorkerLostError

PILE = 64 << 20
"""Bytes of finished work, items and results, that may wait behind a slow item."""

BUDGET = 3
"""Times over its due that a chunk may take, where its size was chosen here, before its worker
hands back the rest."""

BLOCK = 64
"""Most items that are read from the input between two looks at the clock."""

LEAST_WAIT = 0.005
"""Seconds between two looks at items that are over their time."""

WATCH = 1.0
"""Seconds without an outcome after which the engine is looked after."""

FRUITLESS = 10
"""Deaths of workers in a row, besides `retries`, before any of them began with a chunk."""

UNREAD = "results were never read, and not all items did run; use list(...) to run them"
"""The warning for a map whose iterator is dropped unread."""

_log = logging.getLogger("phylozoo_parallel")


class _Closed(Exception):
    """The caller ends the map on purpose."""


class Results(chain[Any]):
    """The results of a map, one by one: flattened in C from the lists of its chunks."""

    chunks: Generator[list[Any], None, None]

    def close(self) -> None:
        """End the map; what has not begun does not run."""
        with suppress(_Closed):
            self.chunks.throw(_Closed)
        deque(self, maxlen=0)


def start(
    engine: Engine, func: Any, items: Iterator[Any], total: int | None, options: Options
) -> Results:
    """
    Start a map and return its results.

    Parameters
    ----------
    engine : Engine
        Released when the map ends.
    func : callable
        Called with an item, or with the values of an item if `options.star`.
    items : Iterator
        The input.
    total : int or None
        The input's length where it has one: a hint for the size of chunks.
    options : Options
        What the user chose.

    Returns
    -------
    Results
        An iterator; its first chunks are on their way. Closing or dropping it ends the map.

    Raises
    ------
    pickle.PicklingError
        The function has to go to another process and cannot be pickled.
    PhyloZooValueError
        There is a time limit, and no way to see how long an item runs.
    """
    transport: InThread | ToProcess | None = None
    try:
        star = options.star
        transport = ToProcess(func, star, engine) if engine.pickles else InThread(func, star)
        if options.timeout is not None and not (engine.ends_workers and transport.sees):
            raise PhyloZooValueError(
                "timeout needs worker threads, or worker processes of loky on Linux; "
                "leave it None for other engines"
            )
        chunks = _Map(engine, transport, items, total, options).run()
    except BaseException:
        if transport:
            transport.end(set())
        engine.release()
        raise
    next(chunks)
    results = cast(Results, Results.from_iterable(chunks))
    results.chunks = chunks
    return results


@dataclass(eq=False, repr=False)
class _Map:
    """The state of one map, touched by its caller's thread alone."""

    engine: Engine
    transport: InThread | ToProcess
    items: Iterator[Any]
    total: int | None
    options: Options

    def __post_init__(self) -> None:
        self.pid = os.getpid()
        self.kind, self.measured = _chunking.recall(self.transport.func, self.engine.pickles)
        if self.total is None:  # there is no telling how many the workers have to share
            self.measured = _chunking.Measured()
        self.read = 0  # items taken from the input
        self.at = 0  # index of the next result to hand out
        self.exhausted = False
        self.flying: set[Chunk] = set()
        self.again: deque[Chunk] = deque()  # to be sent (again) before anything new
        self.finished: dict[int, Chunk | BaseException] = {}  # by the index of the first result
        self.pile = 0  # bytes in `finished`
        self.queue: SimpleQueue[tuple[Chunk, Any]] = SimpleQueue()
        self.death: WorkersLost | None = None  # the latest
        self.fruitless = 0  # deaths since a worker began with a chunk
        self.sent = 0  # chunks
        self.begin = monotonic()
        self.bar = _progress.Bar(self.options.progress, self.total)

    def run(self) -> Generator[list[Any], None, None]:
        """Yield an empty list when the work has begun, then the results of chunk after chunk."""
        try:
            self.fill()
            self.engine.flush()
            try:
                yield []  # and wait for the first ``next``
            except GeneratorExit:  # which never comes
                if not self.exhausted or self.queue.qsize() < len(self.flying):
                    warnings.warn(UNREAD, RuntimeWarning, stacklevel=2)
                raise
            while True:
                while not self.ready():
                    self.fill()
                    if self.flying:
                        self.receive()
                    elif not self.ready():  # sending may have failed
                        return
                chunk = self.finished.pop(self.at)
                if isinstance(chunk, BaseException):
                    break
                self.pile -= chunk.nbytes
                self.fill()
                results = self.values(chunk)
                self.at += len(results)
                yield results
        except KeyboardInterrupt:
            self.engine.end_workers()
            raise
        finally:
            self.transport.end(self.flying)
            self.engine.release()
            self.finished.clear()
            del self.queue  # with what comes too late
            self.bar.close()
            _chunking.keep(self.kind, self.measured)
            counts = self.engine.name, self.read, self.sent, self.engine.workers
            seconds = monotonic() - self.begin
            _log.debug("%s: %d items in %d chunks on %d workers in %.3f s", *counts, seconds)
        try:
            raise chunk
        finally:
            del chunk  # its traceback holds this frame

    def ready(self) -> bool:
        """Tell whether there is something to hand out next, and set `at` to it."""
        if self.options.ordered:
            return self.at in self.finished
        for at, chunk in self.finished.items():
            if isinstance(chunk, Chunk):
                self.at = at
                return True
        self.at = min(self.finished, default=self.read)
        before = (chunk for chunk in (*self.flying, *self.again) if chunk.first < self.at)
        return self.at in self.finished and next(before, None) is None

    def fill(self) -> None:
        """Send chunks until the window is full, the input ends or too much is piled up."""
        if os.getpid() != self.pid:
            raise RuntimeError(
                "the results of a map of the parent process cannot be read in a forked child, "
                "which its workers do not answer; start another map in the child"
            )
        while self.room():
            if self.again:
                chunk = self.resume()
            elif self.exhausted or self.pile >= PILE:
                return
            else:
                chunk = self.take()
            if chunk.items:
                self.send(chunk)

    def room(self) -> bool:
        """Tell whether one more chunk may fly: there are more where they are soon done."""
        window, workers, flying = self.engine.window, self.engine.workers, len(self.flying)
        if flying < window or workers >= window or self.options.chunksize:
            return flying < window
        ahead = sum(len(chunk.items) for chunk in self.flying) * self.measured.seconds
        return flying < 2 * window and 0 < ahead < workers * _chunking.SECONDS

    def size(self, waiting: int) -> int:
        """Choose the size of the next chunk, with so many items waiting besides the input."""
        if self.options.chunksize:
            return self.options.chunksize
        left = None if self.total is None else max(self.total - self.read, 0) + waiting
        return _chunking.chunk_size(self.measured, left or None, self.engine.workers)

    def resume(self) -> Chunk:
        """Take what is to be sent again, or the part of it that by now seems enough for one."""
        chunk = self.again.popleft()
        size = self.size(len(chunk.items))
        if size < len(chunk.items):
            self.again.appendleft(Chunk(chunk.first + size, chunk.items[size:], chunk.losses))
            chunk = Chunk(chunk.first, chunk.items[:size], chunk.losses)
        return chunk

    def take(self) -> Chunk:
        """Read the next chunk from the input, or less where its items are long in coming."""
        size = self.size(0)
        items: list[Any] = []
        begin = monotonic()
        end = begin + (float("inf") if self.options.chunksize else self.measured.target)
        try:
            while len(items) < size and monotonic() < end and not self.exhausted:
                wanted = min(2 * len(items) or 1, len(items) + BLOCK, size)
                # Into a list that is there, to keep what comes before an error.
                items.extend(islice(self.items, wanted - len(items)))
                self.exhausted = len(items) < wanted
        except Exception as error:
            self.fail(self.read + len(items), error)
        self.measured.reading = (monotonic() - begin) / max(len(items), 1)
        self.read += len(items)
        return Chunk(self.read - len(items), items)

    def send(self, chunk: Chunk) -> None:
        """Submit a chunk, or the part of it that can travel."""
        budget = None if self.options.chunksize else BUDGET * self.measured.target
        stride = STRIDE if self.options.timeout is None else 1
        try:
            call = self.transport.call(chunk, (budget, stride))
        except UnpicklableItem as found:
            good, reason = found.args
            told = f"item {chunk.first + good} could not be pickled: {line(reason)}"
            self.fail(chunk.first + good, pickle.PicklingError(told), reason)
            if good:
                self.send(Chunk(chunk.first, chunk.items[:good], chunk.losses))
            return
        self.measured.weight = chunk.nbytes / len(chunk.items)
        put, landed, sent = self.queue.put, self.transport.landed, monotonic()

        def done(out: Any) -> None:
            landed(chunk)
            chunk.away = monotonic() - sent
            put((chunk, out))

        self.flying.add(chunk)
        self.sent += 1
        try:
            self.engine.submit(call, done)
        except Exception as error:
            self.transport.landed(chunk)
            chunk.progress = None  # no worker ever had it
            self.settle(chunk, error)

    def receive(self) -> None:
        """Wait for an outcome and take in all that are there."""
        self.engine.flush()
        timeout, wait = self.options.timeout, WATCH
        if timeout is not None:
            left = [at.since + timeout - monotonic() for _, at in self.running()]
            wait = min(wait, timeout, *left)
        try:
            self.settle(*self.queue.get(timeout=max(wait, LEAST_WAIT)))
            while not self.queue.empty():
                self.settle(*self.queue.get())
        except Empty:
            self.engine.look_after()
        if timeout is not None:
            late = [at for at in self.running() if monotonic() - at[1].since > timeout]
            if late:
                self.late(*min(late, key=lambda at: at[0].first))

    def running(self) -> list[tuple[Chunk, Progress]]:
        """Return the chunks that workers run, and how far they are."""
        looks = [(chunk, self.transport.look(chunk)) for chunk in self.flying if not chunk.late]
        return [(chunk, progress) for chunk, progress in looks if progress and progress.since]

    def late(self, chunk: Chunk, progress: Progress) -> None:
        """End the map because an item of a chunk takes too long."""
        chunk.late = self.engine.end_worker(progress.pid)
        if not self.engine.pickles:  # a thread does not end: take what it has done
            self.flying.remove(chunk)
            error = _recovery.too_late(chunk, progress, self.options)
            self.book(chunk, chunk.results[: progress.done], progress.done)
            self.fail(chunk.first + progress.done, error)

    def settle(self, chunk: Chunk, out: Any) -> None:
        """Book what came of a chunk: results, an error, or what is left to do of it."""
        if chunk not in self.flying:
            return
        self.flying.remove(chunk)
        items = chunk.items
        try:
            results, done, seconds, failure = self.engine.outcome(out)
        except WorkersLost as death:
            self.lost(chunk, death)
            return
        except Exception as error:  # of a scheduler, which knows nothing of items
            chunk.close()
            if hasattr(error, "add_note"):
                error.add_note(f"{_recovery.told(chunk)} of the map did not come back")
            self.fail(chunk.first, error)
            return
        try:
            self.book(chunk, results, done)
        except Exception as error:
            self.one_by_one(chunk, error)
            return
        if done:
            # On this machine it is workers that start, or other maps, that take time.
            away = 0.0 if self.engine.place else chunk.away
            self.measured.add(done, seconds, chunk.nbytes, away)
        if failure is None:
            if not done:
                self.fail(chunk.first, RuntimeError(f"item {chunk.first} was called off"))
            elif done < len(items):
                self.again.appendleft(Chunk(chunk.first + done, items[done:]))
        elif failure.item is None and len(items) > 1:
            self.singles(chunk.first, items)  # to learn which of them it is
        else:
            self.fail(chunk.first + done, _rebuilt(failure))

    def book(self, chunk: Chunk, results: Any, done: int) -> None:
        """Keep the results of a chunk until it is their turn."""
        self.transport.accept(chunk, results, done)
        if done:
            self.bar.update(done)
            self.pile += chunk.nbytes
            self.finished[chunk.first] = chunk

    def lost(self, chunk: Chunk, death: WorkersLost) -> None:
        """Have the items of a chunk that did not come back run again, or end the map."""
        chunk.close()
        begun = chunk.progress
        self.fruitless += begun is None and death is not self.death
        self.death = death
        if begun:
            self.fruitless = 0
        elif self.fruitless > FRUITLESS + self.options.retries:
            told = f"no worker lived long enough to begin with item {chunk.first}: {death}"
            self.fail(chunk.first, WorkerLostError(told))
            return
        again, failed = _recovery.salvage(chunk, death, self.options)
        self.again = deque(sorted([*again, *self.again], key=lambda chunk: chunk.first))
        if failed:
            self.fail(*failed)
        elif begun:
            _log.warning("%s; run again: %s", death, _recovery.told(chunk))
            if not begun.pid or death.codes is None:  # nobody can tell whose: one at a time
                self.engine.window = 1

    def values(self, chunk: Chunk) -> Any:
        """Return the results of a finished chunk; where they cannot be read, run it anew."""
        try:
            return self.transport.values(chunk)
        except Exception as error:
            self.one_by_one(chunk, error)
            return []

    def one_by_one(self, chunk: Chunk, error: Exception) -> None:
        """Find the result that cannot be unpickled."""
        if len(chunk.items) > 1:
            self.singles(chunk.first, chunk.items)
            return
        told = f"the result of item {chunk.first} could not be unpickled: {line(error)}"
        self.fail(chunk.first, pickle.UnpicklingError(told), error)

    def singles(self, first: int, items: Any) -> None:
        """Have items run again in chunks of one."""
        self.again.extendleft(
            Chunk(first + position, items[position : position + 1])
            for position in reversed(range(len(items)))
        )

    def fail(self, index: int, error: BaseException, cause: Exception | None = None) -> None:
        """Have the map end with this error once the results before it are handed out."""
        if cause is not None:
            error.__cause__ = cause
        self.finished[index] = error
        self.exhausted = True
        self.again = deque(chunk for chunk in self.again if chunk.first < index)


def _rebuilt(failure: Failure) -> BaseException:
    """Return the exception of a worker, as the caller shall see it."""
    error = failure.error
    if not isinstance(error, BaseException):
        with suppress(Exception):
            error = _shipping.unpack(error)
    if not isinstance(error, BaseException):
        told = f"{failure.where}: {failure.line} (this exception itself could not be pickled)"
        error = RuntimeError(told)
    put = BaseException.__setattr__  # a frozen dataclass refuses its own
    put(error, "__cause__", WorkerTraceback(f"{failure.trace}{failure.where}"))
    put(error, "__traceback__", None)
    if hasattr(error, "add_note"):
        put(error, "__notes__", [*getattr(error, "__notes__", ()), failure.where])
    raised: BaseException = error
    return raised
