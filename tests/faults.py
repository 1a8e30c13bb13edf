"""
The fault table: what may go wrong, and what the caller is promised then.

::

    python tests/faults.py                 run every case; print a table in Markdown
    python tests/faults.py CASE BACKEND    run one; print what came of it as a line of JSON
    python tests/faults.py shared BACKEND  run those that leave everything as it was, one by one

A case maps its function over ten items, 0 to 9, with two workers; whatever goes wrong goes
wrong with item 7. It runs in an interpreter where everything in this file lives in
``__main__``, as in a user's script: its own, or one that it shares with cases that, as it
promises itself, leave the workers and the program as they were.
"""

import contextlib
import ctypes
import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

with contextlib.suppress(ImportError):  # Windows limits no resources
    import resource

FOREVER = 600
"""Seconds that nobody waits for."""

KILL = 9
"""The number of SIGKILL; Windows ends a process with any, and with that as its exit code."""

KILLED, CRASHED = "SIGKILL", "SIGSEGV"
if sys.platform == "win32":
    KILLED, CRASHED = "exit code 9", "0xC0000005, access violation"

LUMP = 3_000_000
"""Bytes of a value that is too large for a message."""


def nothing():
    pass


# What goes wrong: actions of item 7, of something that is pickled, of the program.


class TwoArguments(Exception):
    """Pickles, and cannot be unpickled: as many exceptions in the wild."""

    def __init__(self, site, reason):
        super().__init__(f"site {site}: {reason}")


class WithLock(Exception):
    """Cannot be pickled."""

    def __init__(self, *args):
        super().__init__(*args)
        self.lock = threading.Lock()


def throw(error):
    """Return an action that raises."""

    def action():
        raise error

    return action


def throw_two_arguments():
    raise TwoArguments(7, "too many gaps")


def throw_with_lock():
    raise WithLock("too many gaps")


def throw_chained():
    try:
        raise KeyError("deep down")
    except KeyError as error:
        raise ValueError("on top") from error


def throw_long_chain():
    error = None
    for depth in range(3000):
        link = ValueError(depth)
        link.__cause__ = error
        error = link
    raise error


def throw_nested():
    nest = ()
    for _ in range(100_000):
        nest = (nest,)
    raise ValueError("nested", nest)


def throw_enormous():
    raise ValueError("x" * 100_000_000)


def throw_group():
    raise ExceptionGroup("two of them", [ValueError("one"), KeyError("two")])  # noqa: F821


def recurse():
    recurse()


def run_out_of_memory():
    """Ask for more than a limit allows."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), limits[1]))
    try:
        bytearray(4 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def run_out_of_memory_and_abort():
    """As C++ does when nobody catches its std::bad_alloc."""
    try:
        run_out_of_memory()
    except MemoryError:
        os.abort()


def kill():
    os.kill(os.getpid(), KILL)
    time.sleep(FOREVER)


def crash():
    ctypes.string_at(0)


def leave(status=3):
    os._exit(status)


def hang():
    time.sleep(FOREVER)


def complain():
    raise ValueError("these words")


def complain_by_leaving():
    raise SystemExit("these words")


def kill_while_a_large_result_is_sent():
    threading.Timer(0.02, kill).start()
    return 7, bytes(100_000_000)


def kill_while_a_message_is_sent():
    """Die with half of the answer in the pipe."""
    from multiprocessing.connection import Connection

    def send(self, message):
        os.write(self._handle, message[: len(message) // 2])
        kill()

    Connection._send = send
    return 7, os.urandom(500_000)


def kill_after_the_others():
    time.sleep(1)
    kill()


def once(action):
    """Return an action that happens the first time only, in whichever process."""

    def first_time():
        mark = Path(os.environ["FAULTS"], "once")
        if not mark.exists():
            mark.touch()
            return action()
        return None

    return first_time


def press_ctrl_c():
    """A second from now, in this process and, as a terminal does it, in the workers."""
    timer = threading.Timer(1, os.killpg, (0, signal.SIGINT))
    timer.daemon = True
    timer.start()


def interrupted():
    """Hang in the caller until Ctrl-C."""
    press_ctrl_c()
    hang()


def alarmed():
    """Hang in the caller until a signal handler raises."""
    signal.signal(signal.SIGALRM, lambda *_: complain())
    signal.alarm(1)
    hang()


# Functions


def identity(item):
    return item


def lump(item):
    """Return a large result for a large item, and use up a large function."""
    return item[0], item[1] + LUMPS[0][: len(item[1])]


LUMPS = [b"x" * LUMP]


def talk(item):
    print("a line of", item, flush=True)
    print("another", file=sys.stderr, flush=True)
    return item


def slow(item):
    time.sleep(0.3)
    return item


def at_seven(action):
    """Return a function that does something at item 7; what it returns is the result."""

    def func(item):
        with open(Path(os.environ["FAULTS"], "runs"), "a") as runs:
            runs.write(f"{item}\n")
        if item == 7:
            result = action()
            return item if result is None else result
        return item

    return func


class Traveller:
    """Does something while it is pickled, or while it is unpickled to what it `becomes`."""

    def __init__(self, becomes, pickling=nothing, unpickling=nothing):
        self.becomes, self.pickling, self.unpickling = becomes, pickling, unpickling

    def __call__(self, item):
        return item

    def __reduce__(self):
        self.pickling()
        return arrive, (self.becomes, self.unpickling)


def arrive(becomes, action):
    action()
    return becomes


def result(**actions):
    """Return a function whose seventh result acts as it travels."""
    return at_seven(lambda: Traveller(7, **actions))


def function(**actions):
    """Return a function that acts as it travels."""
    return Traveller(identity, **actions)


# Inputs


def numbers():
    return range(10)


def item(**actions):
    """Return an input whose seventh item acts as it travels."""
    return lambda: [Traveller(7, **actions) if i == 7 else i for i in range(10)]


def lumps():
    return ((i, b"y" * LUMP) for i in range(10))


def numbers_until(index, action):
    """Return an input that acts in place of an item."""

    def items():
        for i in range(10):
            if i == index:
                action()
            yield i
        if index == 10:
            action()

    return items


class Lying:
    """Ten items, and a length that has nothing to do with it."""

    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return iter(range(10))

    def __len__(self):
        if isinstance(self.length, Exception):
            raise self.length
        return self.length


def lying(length):
    return lambda: Lying(length)


# Troubles of the whole program, before its first map or between two


def close_streams():
    os.close(1)
    os.close(2)


def closing_streams():
    """Return large items; print between them to what is no longer there."""
    close_streams()
    for large in lumps():
        with contextlib.suppress(OSError):
            os.write(1, b"to nobody\n")
        yield large


def no_temporary_directory():
    os.environ["TMPDIR"] = os.environ["JOBLIB_TEMP_FOLDER"] = os.path.join(os.devnull, "nowhere")


def no_room():
    """Files, in memory too, end at a megabyte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))


def more_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (resource.RLIM_INFINITY,))


def no_more_room():
    """No file, in memory or elsewhere, takes another byte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def no_shared_memory():
    """Where there is memory without a name, files take its place."""
    from phylozoo_parallel._shipping import memory

    made = memory.made

    def refuse(folder):
        if folder is None:
            raise OSError(38, "Function not implemented")
        return made(folder)

    memory.made = refuse


def no_memory_at_all():
    no_shared_memory()
    no_temporary_directory()


def more_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, 2 * resource.getrlimit(resource.RLIMIT_NOFILE)[1:])


def descriptors(spare):
    """Return an action that leaves so many file descriptors."""

    def limit():
        highest = max(int(name) for name in os.listdir("/dev/fd"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))
        with contextlib.suppress(OSError):
            held.extend(iter(lambda: os.dup(0), None))  # fills the gaps
        for fd in held[len(held) - spare :]:
            os.close(fd)

    held: list[int] = []
    return limit


def workers():
    """Return the worker processes that are up."""
    from phylozoo_parallel._loky.start import current

    return list(current()._processes.values())


def kill_worker(which):
    """Return an action that kills one of two idle workers: one of them has the queue's lock."""

    def action():
        time.sleep(0.5)  # both are waiting for work
        os.kill(workers()[which].pid, KILL)

    return action


def kill_worker_and_wait():
    (victim, *_) = processes = workers()
    os.kill(victim.pid, KILL)
    for process in processes:  # joblib ends the others when it notices
        process.join(30)


def kill_worker_at_exit(which):
    """Return an action that kills one of two idle workers after the program has begun to end."""

    def action(_):
        time.sleep(0.5)
        victim = workers()[which].pid
        os.kill(victim, signal.SIGSTOP)  # it cannot leave, as it will be asked to
        os.system(f"(sleep 1; kill -9 {victim}) &")

    return action


def leave_a_map(executor):
    global left
    left = executor.map(hang_after_the_first, itertools.count(), 1)
    next(left)


def hang_after_the_first(item):
    if item:
        hang()


class Case(NamedTuple):
    """A line of the table."""

    name: str
    func: Callable[..., Any] = at_seven(nothing)
    items: Callable[[], Any] = numbers
    raises: str | None = None
    """Name of the exception's type."""
    says: tuple[str, ...] = ()
    """Parts of its message."""
    shows: tuple[str, ...] = ()
    """Parts of its causes, the last of which is the traceback in the worker."""
    where: str = ""
    """Item and index, in its note and its cause."""
    length: int | None = None
    """Of the message."""
    results: int | None = 7
    """How many come first: None for any number."""
    runs: int | None = None
    """How often item 7 runs."""
    warm: bool = True
    """Whether the workers have to be the same afterwards."""
    backends: tuple[str, ...] = ("multiprocessing",)
    chunksize: int | None = None
    settings: dict[str, Any] = {}
    cold: Callable[[], Any] | None = None
    """Happens before the first map of the program."""
    before: Callable[[], Any] = nothing
    """Happens between its first map and the one of the case."""
    healed: Callable[[], Any] = nothing
    """Happens before the map that comes next, which has to be right."""
    last: Callable[..., Any] | None = None
    """Happens before the program ends."""
    stderr: str = ""
    """What may be printed: a regular expression."""
    alone: bool = False
    """Whether it changes the program for good."""

    def shares(self) -> bool:
        """Tell whether other cases may go before it, and after it."""
        around = self.cold, self.last, self.stderr
        return self.warm and not self.alone and not any(around) and self.before is nothing


BOTH = ("multiprocessing", "threading")
ALL = 10
CRASH = r"(?s)(Fatal Python error|Windows fatal exception): .*"
"""What a worker prints that dies by a signal it can catch."""


def raising(name, action, raises, *says, shows=("in action",), **more):
    """Return the case of an item that raises."""
    return Case(
        f"item raises: {name}",
        at_seven(action),
        raises=raises,
        says=says,
        shows=shows,
        **{"where": "item 7 = 7, in worker", "backends": BOTH, **more},
    )


def dying(name, action, *says, **more):
    """Return the case of a worker that dies whenever it runs item 7."""
    return Case(
        f"worker dies: {name}",
        at_seven(action),
        **{"raises": "WorkerLostError", "says": ("item 7", *says), "warm": False, **more},
    )


def recovered(name, action, **more):
    """Return the case of a worker that dies once."""
    return dying(f"{name}, once", once(action), raises=None, **{"says": (), "runs": 2, **more})


def travelling(name, raises, *says, **more):
    """Return the case of something that acts while it is pickled or unpickled."""
    return Case(name, raises=raises, says=says, **more)


LOST = {"warm": False, "raises": "WorkerLostError"}
LATE = {"warm": False, "raises": "TimeoutError", "settings": {"timeout": 1}}

CASES = [
    # The item raises
    raising("an error", throw(ValueError("wrong", 7)), "ValueError", "('wrong', 7)"),
    raising(
        "a chained error",
        throw_chained,
        "ValueError",
        "on top",
        shows=("KeyError: 'deep down'", "direct cause", "in throw_chained"),
    ),
    raising("a chain of 3000", throw_long_chain, "ValueError", "2999", shows=()),
    raising(
        "a class of two arguments",
        throw_two_arguments,
        "RuntimeError",
        "TwoArguments",
        "site 7: too many gaps",
        shows=("in throw_two_arguments",),
        backends=BOTH[:1],
    ),
    raising(
        "a class of two arguments in a thread",
        throw_two_arguments,
        "TwoArguments",
        "site 7: too many gaps",
        shows=("in throw_two_arguments",),
        backends=BOTH[1:],
    ),
    raising(
        "one that holds a lock",
        throw_with_lock,
        "RuntimeError",
        "WithLock",
        "too many gaps",
        shows=("in throw_with_lock",),
        backends=BOTH[:1],
    ),
    raising("endless recursion", recurse, "RecursionError", shows=("in recurse",)),
    raising(
        "arguments too deep to be pickled",
        throw_nested,
        "RuntimeError",
        "ValueError",
        shows=("in throw_nested",),
        backends=BOTH[:1],
    ),
    raising(
        "a message of 100 MB",
        throw_enormous,
        "ValueError",
        "xxx",
        length=100_000_000,
        shows=("in throw_enormous",),
    ),
    raising("MemoryError", throw(MemoryError("no room")), "MemoryError", "no room"),
    raising(
        "StopIteration",
        throw(StopIteration(7)),
        "RuntimeError",
        "StopIteration",
        shows=("in action", "item 7 = 7, in worker"),
        where="",
    ),
    raising("SystemExit", throw(SystemExit(3)), "SystemExit", "3"),
    raising("KeyboardInterrupt", throw(KeyboardInterrupt()), "KeyboardInterrupt"),
    raising("GeneratorExit", throw(GeneratorExit("over")), "GeneratorExit", "over"),
    raising(
        "more memory than allowed",
        run_out_of_memory,
        "MemoryError",
        shows=("in run_out_of_memory",),
        backends=BOTH[:1],
    ),
    # The worker dies
    dying("SIGKILL", kill, KILLED, runs=2),
    dying("SIGKILL among five items", kill, KILLED, runs=2, chunksize=5),
    dying("SIGKILL among ten", kill, KILLED, runs=2, chunksize=10),
    dying("SIGSEGV", crash, CRASHED, stderr=CRASH),
    dying("os._exit(3)", leave, "3"),
    dying("os._exit(0)", lambda: leave(0), "exit code 0"),
    dying("SIGABRT out of memory", run_out_of_memory_and_abort, "SIGABRT", stderr=CRASH),
    dying("100 MB half sent", kill_while_a_large_result_is_sent, KILLED, chunksize=1),
    dying("half an answer sent", kill_while_a_message_is_sent, KILLED, chunksize=1),
    dying("retries=3", kill, KILLED, runs=4, settings={"retries": 3}),
    dying(
        "retries=0",
        kill_after_the_others,
        KILLED,
        runs=1,
        chunksize=1,
        settings={"retries": 0},
    ),
    dying(
        "retries=0 among ten",
        kill,
        runs=1,
        chunksize=10,
        says=(KILLED,),
        results=None,
        settings={"retries": 0},
    ),
    recovered("SIGKILL", kill),
    recovered("SIGKILL among ten items", kill, chunksize=10),
    recovered("SIGSEGV", crash, stderr=CRASH),
    recovered("os._exit(3)", leave),
    recovered("100 MB half sent", kill_while_a_large_result_is_sent, chunksize=1),
    recovered("half an answer sent", kill_while_a_message_is_sent, chunksize=1),
    Case("worker dies: idle, the next map starts at once", before=kill_worker(0), warm=False),
    Case("worker dies: idle, the other one", before=kill_worker(1), warm=False),
    Case("worker dies: idle, and joblib has noticed", before=kill_worker_and_wait, warm=False),
    Case(
        "worker dies: idle and noticed, retries=0",
        before=kill_worker_and_wait,
        warm=False,
        settings={"retries": 0},
    ),
    Case("worker dies: while the program ends", last=kill_worker_at_exit(0)),
    Case("worker dies: while the program ends, the other one", last=kill_worker_at_exit(1)),
    Case("worker dies: just before the program ends", last=lambda _: kill_worker(0)()),
    Case("worker dies: just before the program ends, the other", last=lambda _: kill_worker(1)()),
    Case("the program ends in the middle of a map", last=leave_a_map, backends=BOTH),
    Case(
        "the program ends in the middle of a map, after a loss",
        at_seven(once(kill)),
        last=leave_a_map,
        warm=False,
    ),
    # The item takes too long
    Case(
        "item hangs, until Ctrl-C",
        at_seven(hang),
        before=press_ctrl_c,
        raises="KeyboardInterrupt",
        results=None,
        warm=False,
        backends=BOTH,
    ),
    Case(
        "item hangs",
        at_seven(hang),
        says=("item 7",),
        runs=1,
        backends=BOTH,
        chunksize=1,
        **LATE,
    ),
    Case("item hangs among ten", at_seven(hang), says=("item 7",), chunksize=10, **LATE),
    Case(
        "only together items take longer than one may",
        slow,
        settings={"timeout": 2},
        chunksize=10,
        backends=BOTH,
    ),
    # The item travels
    travelling(
        "item fails to pickle",
        "PicklingError",
        "item 7",
        "these words",
        items=item(pickling=complain),
    ),
    travelling(
        "item hangs as it is pickled, until Ctrl-C",
        "KeyboardInterrupt",
        items=item(pickling=interrupted),
        results=None,
        warm=False,
    ),
    travelling(
        "item fails to unpickle",
        "UnpicklingError",
        "item 7",
        "these words",
        items=item(unpickling=complain),
    ),
    travelling(
        "item exits as it is unpickled",
        "UnpicklingError",
        "item 7",
        "these words",
        items=item(unpickling=complain_by_leaving),
    ),
    Case(
        "item ends the worker as it is unpickled",
        items=item(unpickling=leave),
        says=("item 7", "3"),
        **LOST,
    ),
    Case(
        "item crashes as it is unpickled",
        items=item(unpickling=crash),
        says=("item 7", CRASHED),
        chunksize=5,
        stderr=CRASH,
        **LOST,
    ),
    Case("item hangs as it is unpickled", items=item(unpickling=hang), says=("item 7",), **LATE),
    # The result travels
    travelling(
        "result fails to pickle",
        "PicklingError",
        "item 7",
        "these words",
        func=result(pickling=complain),
    ),
    travelling(
        "result fails to pickle among ten",
        "PicklingError",
        "item 7",
        "these words",
        func=result(pickling=complain),
        chunksize=10,
    ),
    Case(
        "result ends the worker as it is pickled",
        result(pickling=leave),
        says=("item 7", "3"),
        **LOST,
    ),
    Case(
        "result crashes as it is pickled",
        result(pickling=crash),
        says=("item 7", CRASHED),
        chunksize=5,
        stderr=CRASH,
        **LOST,
    ),
    Case("result hangs as it is pickled", result(pickling=hang), says=("item 7",), **LATE),
    travelling(
        "result fails to unpickle",
        "UnpicklingError",
        "item 7",
        "these words",
        func=result(unpickling=complain),
    ),
    travelling(
        "result hangs as it is unpickled, until Ctrl-C",
        "KeyboardInterrupt",
        func=result(unpickling=interrupted),
        results=None,
        warm=False,
    ),
    # The function travels
    travelling(
        "function fails to pickle",
        "PicklingError",
        "func = ",
        "these words",
        func=function(pickling=complain),
        results=0,
    ),
    travelling(
        "function hangs as it is pickled, until Ctrl-C",
        "KeyboardInterrupt",
        func=function(pickling=interrupted),
        results=0,
        warm=False,
    ),
    travelling(
        "function fails to unpickle",
        "UnpicklingError",
        "these words",
        func=function(unpickling=complain),
        results=0,
    ),
    Case(
        "function ends the worker as it is unpickled",
        function(unpickling=leave),
        says=("item 0", "3"),
        results=0,
        **LOST,
    ),
    Case(
        "function crashes as it is unpickled",
        function(unpickling=crash),
        says=("item 0", CRASHED),
        results=0,
        stderr=CRASH,
        **LOST,
    ),
    Case(
        "function hangs as it is unpickled",
        function(unpickling=hang),
        says=("item 0",),
        results=0,
        **LATE,
    ),
    # The input
    *(
        Case(
            f"input raises instead of item {index}",
            items=numbers_until(index, complain),
            raises="ValueError",
            says=("these words",),
            results=index,
            chunksize=chunksize,
            backends=BOTH,
        )
        for index, chunksize in [(0, None), (5, 3), (10, None)]
    ),
    Case(
        "input hangs, until Ctrl-C",
        items=numbers_until(7, interrupted),
        raises="KeyboardInterrupt",
        results=None,
        warm=False,
        backends=BOTH,
    ),
    Case(
        "input hangs, until a signal",
        items=numbers_until(7, alarmed),
        raises="ValueError",
        says=("these words",),
        backends=BOTH,
    ),
    *(
        Case(f"input with a length of {length!r:.20}", items=lying(length))
        for length in (0, 3, 1000, -1, 2**100, ValueError("none"))
    ),
    # The program
    Case("stdout and stderr closed before the first map", talk, cold=close_streams),
    Case("stdout and stderr closed during the map", lump, closing_streams, alone=True),
    Case("no temporary directory", lump, lumps, cold=no_temporary_directory),
    Case("no room in files or memory", lump, lumps, cold=no_room),
    Case("no shared memory", lump, lumps, cold=no_shared_memory),
    Case("neither shared memory nor a directory", lump, lumps, cold=no_memory_at_all),
    Case("no room at all during the map", lump, lumps, before=no_more_room, healed=more_room),
    Case("no file descriptor left", lump, lumps, before=descriptors(0)),
    Case(
        "no file descriptor for workers",
        cold=descriptors(6),
        healed=more_descriptors,
        raises="OSError",
        says=("Too many open files",),
        results=0,
    ),
]
CASES = [case._replace(results=ALL) if case.raises is None else case for case in CASES]
"""The table; a case that raises nothing has all its results."""
if sys.version_info >= (3, 11):
    CASES.insert(
        7,
        raising(
            "a group",
            throw_group,
            "ExceptionGroup",
            "two of them",
            shows=("ValueError: one", "KeyError: 'two'", "in throw_group"),
        ),
    )


RUNS = [(case, backend) for case in CASES for backend in case.backends]


def wrong(case: Case, told: dict[str, Any]) -> list[str]:
    """Return what of that which is `told` about a run is not as the case promises."""
    count = case.results
    results = list(range(len(told["results"]) if count is None else count))
    notes = [told["cause"], *(["".join(told["notes"])] if sys.version_info >= (3, 11) else [])]
    checks = {
        "type": told["raises"] == case.raises,
        "message": all(part in told["message"] for part in case.says),
        "length": case.length in (None, told["length"]),
        "cause": all(part in told["cause"] for part in case.shows),
        "where": all(case.where in text for text in notes),
        "results": told["results"] == results,
        "runs": case.runs in (None, told["runs"]),
        "logged": case.runs is None or told["logged"] >= case.runs - 1,
        "workers": told["same_workers"] or not case.warm,
        "next": told["next"] is True,
    }
    return [name for name, right in checks.items() if not right]


def causes(error):
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
        yield error


def pool(backend):
    """Return the ids of the workers."""
    if backend == "multiprocessing":
        return {process.pid for process in workers()}
    return {thread.ident for thread in threading.enumerate() if thread.daemon}


def run(case: Case, backend: str) -> None:
    """Run a case here and print what came of it."""
    out = os.dup(1)  # the case may close the first
    folder = Path(os.environ["FAULTS"])
    logged = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = logged.append
    logging.getLogger().addHandler(handler)

    for left in folder.iterdir():
        left.unlink()
    if case.cold is not None:
        case.cold()
    from phylozoo_parallel import ParallelConfig

    executor = ParallelConfig(backend, n_jobs=2, **case.settings).get_executor()
    before = set()
    if case.cold is None:
        assert list(executor.map(slow, range(4), 1)) == [0, 1, 2, 3]
        before = pool(backend)
    case.before()

    results, error = [], None
    begin = time.monotonic()
    try:
        for value in executor.map(case.func, case.items(), case.chunksize):
            results.append(value[0] if isinstance(value, tuple) else value)
    except BaseException as caught:
        error = caught
    seconds = time.monotonic() - begin
    case.healed()
    try:
        right = list(executor.map(abs, range(-50, 0))) == list(range(50, 0, -1))
    except BaseException as wrong:
        right = repr(wrong)
    runs = folder / "runs"
    message = "" if error is None else str(error)
    cause = "".join(map(str, causes(error)))
    told = {
        "case": case.name,
        "results": results,
        "raises": error and type(error).__name__,
        "message": message[:2000],
        "length": len(message),
        "notes": [note[:2000] for note in getattr(error, "__notes__", ())],
        "cause": cause[:10_000] + cause[10_000:][-10_000:],
        "seconds": round(seconds, 2),
        "same_workers": before <= pool(backend),
        "next": right,
        "runs": runs.read_text().splitlines().count("7") if runs.exists() else 0,
        "logged": len(logged),
    }
    os.write(out, (json.dumps(told) + "\n").encode())
    os.close(out)
    logging.getLogger().removeHandler(handler)
    if case.last is not None:
        case.last(executor)


def table() -> None:
    """Run every case and print the table."""
    print("| case | backend | raised | results | seconds | same workers | next map | amiss |")
    print("|---|---|---|---|---|---|---|---|")
    for case, backend in RUNS:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as out:
            process = subprocess.Popen(
                [sys.executable, __file__, case.name, backend],
                stdout=out,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "FAULTS": folder},
                start_new_session=True,
            )
            amiss = []
            try:
                if process.wait(60):
                    amiss.append(f"status {process.returncode}")
            except subprocess.TimeoutExpired:
                amiss.append("still running after 60 s")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            out.seek(0)
            lines = [line for line in out.read().splitlines() if line.startswith("{")]
        cells = 5 * [""]
        if lines:
            told = json.loads(lines[0])
            amiss += wrong(case, told)
            cells = [
                told["raises"] or "",
                str(len(told["results"])),
                f"{told['seconds']:.1f}",
                "yes" if told["same_workers"] else "no",
                "right" if told["next"] is True else re.sub(r"\s+", " ", str(told["next"]))[:60],
            ]
        print("|", " | ".join([case.name, backend, *cells, ", ".join(amiss)]), "|", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        table()
    else:
        for case, backend in RUNS:
            if backend == sys.argv[2] and (
                case.shares() if sys.argv[1] == "shared" else case.name == sys.argv[1]
            ):
                run(case, backend)
