"""
Outcomes of chunks: they are passed to the map's state, and read when it is their turn.

::

    outcome ──settle──► results kept in the chunk, what failed, what is left to run ──► state
    chunk ──values──► results, with exceptions in the places of failed items
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines.base import Engine, WorkersLost
from phylozoo_parallel._listener import Listener
from phylozoo_parallel._map.results import rebuilt
from phylozoo_parallel._map.state import State
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._transport.base import Transport
from phylozoo_parallel._worker import notices
from phylozoo_parallel._worker.run import Failure, Took
from phylozoo_parallel.errors import line, placed


class Outcomes:
    """
    Reads the outcomes of one map's engine, and passes them to the map's state.

    Parameters
    ----------
    engine : Engine
    transport : Transport
    state : State
    listener : Listener
        It is told what came, too.
    """

    def __init__(
        self, engine: Engine, transport: Transport, state: State, listener: Listener
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._state = state
        self._listener = listener

    def give_up(self, chunk: Chunk, progress: Progress) -> None:
        """Give up an item of a chunk because it takes too long."""
        if self._engine.give_up(chunk, progress):
            return
        self._state.in_flight.remove(chunk)
        self._listener.failed(chunk, "late")
        self._state.late(chunk, progress)
        failures = [it for it in chunk.failures if it.item < chunk.first + progress.done]
        self._accept(chunk, chunk.results[: progress.done], progress.done, failures)

    def settle(self, chunk: Chunk, out: Any) -> None:
        """Pass the outcome of a chunk to the state: results, an error, and what is left to run."""
        state = self._state
        if chunk not in state.in_flight:
            return
        state.in_flight.remove(chunk)
        try:
            *came, packed, times = self._engine.outcome(out)
        except WorkersLost as loss:
            chunk.close()
            self._listener.failed(chunk, "lost")
            state.lost(chunk, loss)
            return
        except Exception as error:  # an error of a scheduler, which knows nothing of items
            chunk.close()
            self._listener.failed(chunk, "failed")
            if len(chunk.items) > 1 and self._state.options.return_exceptions:
                state.singles(chunk.first, chunk.items)
                return
            if hasattr(error, "add_note"):
                error.add_note(f"{chunk} of the map did not come back")
            state.fail(chunk.first, error)
            return
        self._pass_on(chunk, *came)
        self._listener.came(chunk, came[1], came[2][0], times)
        notices.deliver(packed)

    def _pass_on(
        self,
        chunk: Chunk,
        results: Any,
        done: int,
        took: tuple[float, ...],
        failures: Sequence[Failure],
    ) -> None:
        """Pass what a worker returned of a chunk to the state."""
        state = self._state
        items, first = chunk.items, chunk.first + done
        # A failure that ended the chunk stands for none of its results.
        ended = failures[-1] if failures and failures[-1].item in (-1, first) else None
        try:
            self._accept(chunk, results, done, [it for it in failures if it is not ended])
        except Exception as error:
            self._one_by_one(chunk, error)
            return
        if done:
            state.measured.add(done, Took._make(took), chunk.nbytes, chunk.away)
        if ended is None:
            if not done:
                state.end(first, RuntimeError(f"item {first} did not run: its map was cancelled"))
            elif done < len(items):
                state.rest(Chunk(first, items[done:]))
        elif ended.item >= 0:
            state.end(first, self._rebuilt(ended))
        elif len(items) > 1:
            state.singles(chunk.first, items)  # to find out which item it is
        else:
            state.fail(first, self._rebuilt(ended))

    def _accept(self, chunk: Chunk, results: Any, done: int, failures: Sequence[Failure]) -> None:
        """Keep the results of a chunk until it is their turn."""
        self._transport.accept(chunk, results, done)
        chunk.failures = failures
        if done:
            self._state.came(chunk, done)

    def values(self, chunk: Chunk) -> Any:
        """Return the results of a finished chunk; if they cannot be unpickled, run it again."""
        try:
            results = self._transport.values(chunk)
        except Exception as error:
            self._state.done -= len(chunk.items)
            self._one_by_one(chunk, error)
            return []
        for failure in chunk.failures:
            results[failure.item - chunk.first] = placed(self._rebuilt(failure))
        return results

    def _rebuilt(self, failure: Failure) -> BaseException:
        return rebuilt(failure, self._transport.error(failure.error))

    def _one_by_one(self, chunk: Chunk, error: Exception) -> None:
        """Run the items of a chunk one by one, to find the result that cannot be unpickled."""
        state, whose = self._state, f"the result of item {chunk.first}"
        if len(chunk.items) > 1:
            if state.options.retries:
                state.singles(chunk.first, chunk.items)
                return
            whose = f"the result of one of the {chunk}"  # with retries=0 no item runs twice
        for index in range(chunk.first, chunk.first + len(chunk.items)):
            message = f"{whose} could not be unpickled: {line(error)}"
            state.fail(index, pickle.UnpicklingError(message), error)
            if not state.options.return_exceptions:
                return
