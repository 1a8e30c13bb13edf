"""
How a worker process pickles the outcome of a chunk: by pickle alone.

loky makes a new cloudpickle pickler for every result. That takes longer than all else that it does
for a task, and our outcomes are packed already: they hold numbers, text and bytes.

It is optional. Results of the user's own tasks go loky's way, as do all with a loky that pickles
in another place.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from importlib import import_module
from typing import Any

ours: Any = None
"""The latest result of a chunk in this worker, until it is sent."""


def pickle_fast() -> None:
    """Have this worker pickle such results by itself."""
    from phylozoo_parallel._loky import contract

    queues: Any = None
    with suppress(ImportError):
        queues = import_module(f"{contract.LOKY}.backend.queues")
    if not contract.optional("a worker's loky.backend.queues", queues):
        return
    lokys = queues.dumps

    def dumps(item: Any, *args: Any, **kwargs: Any) -> Any:
        global ours
        result, ours = ours, None
        if result is not None and getattr(item, "result", None) is result:
            with suppress(Exception):
                return pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        return lokys(item, *args, **kwargs)

    queues.dumps = dumps
