"""The error of a lost worker; in a module of its own, because its base class is slow to import."""

from concurrent.futures.process import BrokenProcessPool


class WorkerLostError(BrokenProcessPool):
    """
    A worker process died while it ran an item, and it was one time more than `retries` allows.

    It is a ``RuntimeError`` and a ``concurrent.futures.process.BrokenProcessPool``.
    """
