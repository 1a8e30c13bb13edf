"""
One map: items into chunks, chunks to an engine, outcomes back into ordered results.

::

    caller's thread                                engine               worker
    items ──► chunks ──► submit, up to the window ──────────────────────► run a chunk
    results ◄── in order ◄── outcomes ◄── queue ◄── callback: put ◄────── outcome

Everything but the callback's ``put`` happens in the thread that calls ``map`` or ``next``.
:mod:`.state` says what to do next. The loop does it, waits, and passes events to the state.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Any

from phylozoo_parallel import _progress
from phylozoo_parallel._chunk import Chunk, UnpicklableItem
from phylozoo_parallel._engines.base import WATCH, Engine
from phylozoo_parallel._engines.limits import Watch
from phylozoo_parallel._listener import Listener, Tally
from phylozoo_parallel._map import measured
from phylozoo_parallel._map.input import Input
from phylozoo_parallel._map.outcomes import Outcomes
from phylozoo_parallel._map.results import Results
from phylozoo_parallel._map.state import Failed, Read, State
from phylozoo_parallel._options import Options
from phylozoo_parallel._transport.base import Transport
from phylozoo_parallel.errors import PhyloZooValueError, line, placed

LEAST_WAIT = 0.005
"""Shortest wait, in seconds, while an item takes too long."""

UNREAD = "results were never read, and not all items have run; to run them all, use list(...)"
"""The warning for a map whose results were dropped without being read."""

_log = logging.getLogger("phylozoo_parallel")


def start(
    engine: Engine,
    func: Any,
    items: Iterator[Any],
    total: int | None,
    options: Options,
    listener: Listener,
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
        The length of the input, if it has one: a hint for the size of chunks.
    options : Options
        The options of the map.
    listener : Listener
        It is told how the map runs.

    Returns
    -------
    Results
        An iterator. Its first chunks have been sent. Closing or dropping it ends the map.

    Raises
    ------
    pickle.PicklingError
        The function has to be sent to another process, and cannot be pickled.
    PhyloZooValueError
        There is a time limit, but the engine cannot see how long an item runs.
    """
    transport: Transport | None = None
    if not listener.timed and _log.isEnabledFor(logging.DEBUG):
        listener = Tally()
    try:
        listener.turn("pickling")
        transport = engine.transport(func, options.star)
        if options.timeout is not None and not (engine.limits_time and transport.watches):
            raise PhyloZooValueError(
                "timeout needs worker threads, or worker processes of loky; "
                "leave it None for other engines"
            )
        key, before = measured.recall(func, type(transport))
        state = State(options, total, engine.workers, engine.window, before, listener.timed)
        bar = _progress.Bar(options.progress, total)
        loop = _Loop(engine, transport, items, state, bar, listener)
        listener.started(engine.name, engine.workers, transport.function)
        chunks = loop.run(key)
    except BaseException:
        if transport:
            transport.end(set())
        engine.release()
        listener.ended()
        raise
    next(chunks)
    return Results.of(chunks, loop.stop, loop.how_far)


class _Loop:
    """Drives a map's state in the caller's thread; `stop` and `how_far` are for any thread."""

    def __init__(
        self,
        engine: Engine,
        transport: Transport,
        items: Iterator[Any],
        state: State,
        bar: _progress.Bar,
        listener: Listener,
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._input = Input(items)
        self._state = state
        self._outcomes = Outcomes(engine, transport, state, listener)
        self._bar = bar
        self._listener = listener
        self._options = state.options
        timeout = self._options.timeout
        self._watch = timeout and Watch(timeout, state.in_flight, transport.look, state.needed)
        self._looked_after = monotonic()
        self._pid = os.getpid()
        self._stopped = False
        self._asked = False  # whether a result was asked for
        self._queue: SimpleQueue[tuple[Chunk, Any] | None] = SimpleQueue()

    def stop(self) -> None:
        """End the map soon; called in any thread."""
        self._stopped = True
        self._queue.put(None)  # wakes a thread that waits for an outcome

    def how_far(self) -> str:
        """Return how many items are done, as text; called in any thread."""
        state, done = self._state, self._done()
        if state.total is not None:
            return f"{done:,} of {state.total:,} items done"
        return f"{done:,} of the {state.read:,} items read so far done"

    def _done(self) -> int:
        """Return how many items are done, also of chunks in flight; called in any thread."""
        return self._state.done + sum(map(self._transport.done, list(self._state.in_flight)))

    def run(self, key: Any) -> Generator[list[Any], None, None]:
        """
        Yield an empty list once the first chunks are sent, then the results of chunk after chunk.

        Parameters
        ----------
        key : hashable
            The key under which measurements are kept for the next map of this function.
        """
        begin, failed = monotonic(), None
        if self._watch:
            self._engine.share(self._watch)
        try:
            self._fill()
            self._engine.flush()
            try:
                self._listener.turn("away")
                yield []  # and wait for the first ``next``
                self._asked = True
            except GeneratorExit:  # the results were dropped before the first ``next``
                if not self._stopped and not self._all_ran():
                    warnings.warn(UNREAD, RuntimeWarning, stacklevel=2)
                raise
            self._listener.turn("taking")
            while not self._stopped:
                if not self._state.ready():
                    self._fill()
                    if self._state.in_flight or not self._queue.empty():
                        self._receive()
                    elif not self._state.ready():  # sending may have failed
                        return
                    continue
                found = self._state.take()
                if isinstance(found, Failed):
                    if found.ends:
                        failed = found
                        break
                    self._state.handed_out(1)
                    self._listener.turn("away")
                    yield [found.error]
                    self._listener.turn("taking")
                    continue
                self._fill(result_waits=True)
                began = perf_counter()
                results = self._outcomes.values(found)
                self._state.handed_out(len(results))
                self._state.read_out(found, len(results), perf_counter() - began)
                self._listener.turn("away")
                yield results
                self._listener.turn("taking")
        except KeyboardInterrupt:
            self._engine.end_workers()
            for chunk in self._state.in_flight:  # nobody will say what became of them
                self._transport.landed(chunk, 0.0)
                chunk.back = True
            raise
        finally:
            self._end(key, begin)
        if failed is not None:
            try:
                raise placed(failed.error)
            finally:
                del failed, found  # the error's traceback holds this frame

    def _all_ran(self) -> bool:
        return self._state.exhausted and self._queue.qsize() >= len(self._state.in_flight)

    def _end(
        self, key: Any, begin: float, finalizing: Callable[[], bool] = sys.is_finalizing
    ) -> None:
        # Modules may be gone already as the interpreter shuts down. A forked child has no workers.
        if finalizing() or os.getpid() != self._pid:
            return
        state, engine = self._state, self._engine
        self._listener.ended()
        self._transport.end(state.in_flight)
        if self._watch:
            self._watch.ended = True
            engine.unshare(self._watch)
        engine.release()
        state.clear()
        self._queue = SimpleQueue()  # drops outcomes that come too late
        self._bar.close()
        measured.keep(key, state.measured)
        seconds, short = monotonic() - begin, self._listener.short()
        counts = engine.name, state.read, state.sent, engine.workers, seconds, short
        _log.debug("%s: %d items in %d chunks on %d workers in %.3f s%s", *counts)

    def _fill(self, result_waits: bool = False) -> None:
        """Send chunks until the window is full, the input ends or too many results wait."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                "the results of a map of the parent process cannot be read in a forked child, "
                "because its workers answer only the parent; start another map in the child"
            )
        while not self._stopped and (step := self._todo()) is not None:
            if not isinstance(step, Read):
                self._send(step)
                continue
            if self._input.slow and (result_waits or self._something_came()):
                return  # results are handed out before the next slow item is waited for
            chunk = self._read(step, result_waits)
            if chunk.items and not self._stopped:
                self._send(chunk)
            if self._input.slow and (wait := self._state.patience()):
                self._listener.turn("waiting")
                with suppress(Empty):
                    self._take_in(self._queue.get(timeout=wait))

    def _todo(self) -> Chunk | Read | None:
        state = self._state
        if not state.more():
            return None
        if not (state.measured.largest or self._queue.empty()):
            self._take_in(self._queue.get())  # the first outcome says how long items take
        if not self._asked and state.piled(self._engine.window):
            return None
        return state.todo()

    def _something_came(self) -> bool:
        return self._state.ready() or not self._queue.empty()

    def _read(self, wanted: Read, result_waits: bool) -> Chunk:
        """Read the next chunk from the input; of a slow input, fewer items."""
        self._listener.turn("reading")
        began = monotonic()
        hurry = (lambda: True) if result_waits else self._something_came
        items, over, error = self._input.read(wanted.size, wanted.seconds, hurry)
        return self._state.took(items, monotonic() - began, over, error)

    def _send(self, chunk: Chunk) -> None:
        """Submit a chunk, or the part of it that can be pickled."""
        state, transport, listener = self._state, self._transport, self._listener
        listener.turn("sending")
        began = perf_counter()
        try:
            call = transport.call(chunk, state.pace(chunk))
        except UnpicklableItem as found:
            good, reason = found.args
            index = chunk.first + good
            message = f"item {index} could not be pickled: {line(reason)}"
            if good + 1 < len(chunk.items) and self._options.return_exceptions:
                state.rest(Chunk(index + 1, chunk.items[good + 1 :], chunk.losses))
            state.fail(index, pickle.PicklingError(message), reason)
            if good:
                self._send(Chunk(chunk.first, chunk.items[:good], chunk.losses))
            return
        packed = perf_counter()
        put, landed = self._queue.put, transport.landed
        chunk.sent = monotonic()

        def done(out: Any) -> None:
            landed(chunk, monotonic() - chunk.sent)
            chunk.back = True
            listener.arrived(chunk)
            put((chunk, out))

        state.sending(chunk)
        listener.sending(chunk)
        try:
            self._engine.submit(call, done)
        except Exception as error:
            landed(chunk, 0.0)
            chunk.progress = None  # no worker has begun with it
            self._outcomes.settle(chunk, error)
        chunk.packing, chunk.handled = packed - began, perf_counter() - packed

    def _receive(self) -> None:
        """Wait for an outcome, and handle all that are there."""
        self._listener.turn("waiting")
        self._engine.flush()
        left = self._watch.time_left() if self._watch else WATCH
        wait = max(min(WATCH, self._bar.interval, left), LEAST_WAIT)
        with suppress(Empty):
            self._take_in(self._queue.get(timeout=wait))
        if (now := monotonic()) - self._looked_after >= WATCH:
            self._engine.look_after(self._state.starving(self._transport.look, now - WATCH))
            self._looked_after = now
        self._bar.show(self._done)
        if self._watch and (late := self._watch.late()):
            self._outcomes.give_up(*min(late, key=lambda it: it[0].first))

    def _take_in(self, came: tuple[Chunk, Any] | None) -> None:
        """Handle an outcome, and all others that are there."""
        self._listener.turn("taking")
        while came is not None:
            began = perf_counter()
            self._outcomes.settle(*came)
            came[0].handled += perf_counter() - began
            came = None if self._queue.empty() else self._queue.get()
