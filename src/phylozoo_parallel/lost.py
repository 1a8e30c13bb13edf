"""The error that a lost worker ends a map with; apart, because its base class loads slowly."""

from concurrent.futures.process import BrokenProcessPool


class WorkerLostError(BrokenProcessPool):
    """
    A worker process died while it ran an item, more often than `retries` allows.

    It is a ``RuntimeError`` and a ``concurrent.futures.process.BrokenProcessPool``.
    """
