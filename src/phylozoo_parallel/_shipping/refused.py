"""Objects that cannot be shipped: which one it is, where it was found, and what to do instead."""

from __future__ import annotations

import gc
import itertools
import types
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from phylozoo_parallel._shipping.identity import by_value, importable, state_of
from phylozoo_parallel.errors import line, short

FAR = 100_000
"""Most objects to search for the one that cannot be pickled."""

MOST = 4
"""Most places to name on the way to it."""

INSIDE = "make it inside the function"
MODULE = "put it into a module and import that"
LOCK = (
    "a lock works within one process only: leave it out, or put it and what it guards into a"
    " module, of which every worker has its own"
)
CONNECTION = f"a connection belongs to the process that opened it: {INSIDE}"
FILE = "an open file belongs to the process that opened it: pass its name and open it inside"
FILE += " the function"
POOL = f"workers belong to the process that started them: {INSIDE}"
CHANNEL = "it connects threads of one process only: pass items, and return results"
SHARED = "it connects only a process and those that inherit it: pass items, and return results"
STREAM = "it goes on in one process only: pass what it is made from, or a list of what it yields"
COROUTINE = "an event loop of one process runs it: run it inside the function, with `asyncio.run`"

REFUSED = {
    "_thread.lock": LOCK,
    "_thread.RLock": LOCK,
    "threading.Condition": LOCK,
    "threading.Semaphore": LOCK,
    "threading.Event": CHANNEL,
    "threading.Barrier": CHANNEL,
    "threading.Thread": POOL,
    "queue.Queue": CHANNEL,
    "_queue.SimpleQueue": CHANNEL,
    "multiprocessing.synchronize.SemLock": LOCK,
    "multiprocessing.synchronize.Condition": LOCK,
    "multiprocessing.synchronize.Event": SHARED,
    "multiprocessing.queues.Queue": SHARED,
    "multiprocessing.queues.SimpleQueue": SHARED,
    "multiprocessing.connection._ConnectionBase": SHARED,
    "multiprocessing.connection.Listener": CONNECTION,
    "multiprocessing.sharedctypes.SynchronizedBase": SHARED,
    "multiprocessing.process.BaseProcess": POOL,
    "multiprocessing.pool.Pool": POOL,
    "concurrent.futures._base.Executor": POOL,
    "concurrent.futures._base.Future": CHANNEL,
    "asyncio.events.AbstractEventLoop": f"an event loop runs in one thread: {INSIDE}",
    "_asyncio.Task": COROUTINE,
    "_asyncio.Future": COROUTINE,
    "subprocess.Popen": f"a program belongs to the process that started it: {INSIDE}",
    "selectors.BaseSelector": CONNECTION,
    "select.epoll": CONNECTION,
    "socket.socket": CONNECTION,
    "_socket.socket": CONNECTION,
    "_ssl._SSLContext": f"it holds secrets of this process: {INSIDE}",
    "sqlite3.Connection": CONNECTION,
    "sqlite3.Cursor": CONNECTION,
    "_io.TextIOWrapper": FILE,
    "_io._IOBase": FILE,
    "mmap.mmap": FILE,
    "shelve.Shelf": FILE,
    "dbm.dumb._Database": FILE,
    "weakref.finalize": "a finalizer belongs to the process that made it: leave it out, as with"
    " `__getstate__`, or " + INSIDE,
    "generator": STREAM,
    "coroutine": COROUTINE,
    "async_generator": STREAM,
    "frame": "a frame belongs to a call that is under way: pass what you need of it",
    "traceback": "a traceback belongs to calls of this process: pass its text",
    "_contextvars.Token": "a token belongs to a change of this process's context: leave it out",
    "_contextvars.Context": "a context belongs to one process: set its variables in the function",
    "logging.Handler": "a handler writes for one process: let the function log, and leave it out",
    "numpy.ufunc": f"numpy does not tell which function it was made from: {INSIDE}, or {MODULE}",
    "ctypes.CDLL": f"a library is loaded into one process: {INSIDE}, or {MODULE}",
    **{f"itertools.{name}": STREAM for name in vars(itertools)},
}
"""What to do instead, for types by name and their subclasses."""

OTHERWISE = f"{MODULE}, or {INSIDE}"
"""What to do instead, for all other types."""


def kind_of(kind: Any) -> str | None:
    """Return the name under which a type, or a base of it, is in the table; None if it is not."""
    for base in kind.__mro__:
        module, name = base.__module__, base.__qualname__
        name = name if module == "builtins" else f"{module}.{name}"
        if name in REFUSED:
            return name
    return None


def explain(root: Any, seen: Any, error: BaseException) -> str:
    """
    Return the message that says which object cannot be pickled, where it is, and what to do.

    Parameters
    ----------
    root
        The value that was to be pickled.
    seen
        The object in it that was being pickled when it failed.
    error
        The error of pickling.
    """
    route = _route(root, seen)
    objects = [obj for obj, _ in route]
    for position, obj in enumerate(objects):  # a condition is named, and not the lock in it
        if kind_of(type(obj)) is not None:
            route = route[: position + 1]
            break
    culprit = route[-1][0] if route else seen
    kind = kind_of(type(culprit))
    reason = "" if kind else f" ({line(error)})"
    places = [place for _, place in route if place]
    if len(places) > MOST:
        places = [*places[: MOST - 2], "...", places[-1]]
    where = ", in ".join(reversed(places))
    what = f"`{_name(type(culprit))}`"
    what = f"{where}, of type {what}" if where else f"a {what}"
    return f"cannot pickle {what}{reason}: {REFUSED[kind] if kind else OTHERWISE}"


def _name(kind: type) -> str:
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def _route(root: Any, target: Any) -> list[tuple[Any, str]]:
    """Return the objects from `root` to `target`, each with its place in the one before it."""
    found: dict[int, tuple[Any, str, int | None]] = {id(root): (root, "", None)}
    waiting = deque([root])
    while waiting and len(found) < FAR:
        holder = waiting.popleft()
        if holder is target:
            break
        with suppress(Exception):  # methods of a user's class may fail
            for place, obj in _held(holder):
                if id(obj) not in found:
                    found[id(obj)] = obj, place, id(holder)
                    waiting.append(obj)
    route = []
    key: int | None = id(target)
    while key is not None and key in found:
        obj, place, key = found[key]
        route.append((obj, place))
    return route[::-1]


def _held(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield the objects that are pickled along with an object, each with its place in it."""
    if isinstance(obj, types.FunctionType):
        if not importable(obj):
            yield from _held_by_function(obj)
    elif isinstance(obj, type):
        if not importable(obj):
            for name, value in vars(obj).items():
                yield f"attribute `{name}` of class `{obj.__qualname__}`", value
            yield from (("", base) for base in (*obj.__bases__, type(obj)))
    elif isinstance(obj, types.ModuleType):
        if type(obj) is types.ModuleType and by_value(obj.__name__):
            for name, value in vars(obj).items():
                yield f"`{name}` of module `{obj.__name__}`", value
    elif isinstance(obj, types.MethodType):
        yield from (("", obj.__func__), ("", obj.__self__))
    elif isinstance(obj, dict):
        for key, value in obj.items():
            yield f"entry {short(key)} of a dictionary", value
            yield "a key of a dictionary", key
    elif isinstance(obj, (list, tuple, set, frozenset, deque)):
        for position, value in enumerate(obj):
            yield f"element {position} of a {type(obj).__name__}", value
    else:
        for name, value in state_of(obj).items():
            yield f"attribute `{name}` of a `{_name(type(obj))}`", value
        for value in gc.get_referents(obj):
            if not isinstance(value, type):
                yield f"part of a `{_name(type(obj))}`", value
        yield "", type(obj)


def _held_by_function(obj: types.FunctionType) -> Iterator[tuple[str, Any]]:
    of = f"of function `{obj.__qualname__}`"
    for name in _names(obj.__code__):
        if name in obj.__globals__:
            yield f"global `{name}` {of}", obj.__globals__[name]
    for name, cell in zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True):
        with suppress(ValueError):  # the cell is empty
            yield f"variable `{name}` {of}", cell.cell_contents
    for value in (*(obj.__defaults__ or ()), *(obj.__kwdefaults__ or {}).values()):
        yield f"a default {of}", value
    for name, value in vars(obj).items():
        yield f"attribute `{name}` {of}", value
    for name, value in obj.__annotations__.items():
        yield f"annotation of `{name}` {of}", value


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
