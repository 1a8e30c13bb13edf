"""The engine for a backend of joblib that only takes whole calls: one call for each window."""

from __future__ import annotations

from typing import Any

from phylozoo_parallel._engines import pools
from phylozoo_parallel._engines.base import Done
from phylozoo_parallel._engines.streaming import StreamingEngine
from phylozoo_parallel._transport.base import Call
from phylozoo_parallel._worker.run import Outcome


class ListEngine(StreamingEngine):
    """Collects submitted calls, and runs them in one call of the pool's ``Parallel``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._waiting: list[tuple[Any, Done]] = []

    def submit(self, call: Call, done: Done) -> None:
        """Keep a call for the next :meth:`flush`."""
        self._waiting.append(((*call, {}), done))

    def flush(self) -> None:
        """Run all submitted calls, and wait for all of them."""
        calls, self._waiting = self._waiting, []
        if calls:
            pools.here.busy = True
            try:
                with self._pool.calling:  # a Parallel takes one call at a time
                    outs = self._pool.parallel([call for call, _ in calls])
            finally:
                pools.here.busy = False
            for (_, done), out in zip(calls, outs, strict=True):
                done(out)

    def outcome(self, out: Outcome) -> Outcome:
        """Return the outcome: the call of ``Parallel`` has returned it as it is."""
        return out
