"""
What goes wrong: functions, inputs and actions.

Each case has them from here. They travel to workers as those of a user's script do, by value:
``__main__.py`` runs this file as a part of ``__main__``.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import sys
import threading
import time
from pathlib import Path

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
    """Can be pickled but not unpickled, like many exceptions that are written in practice."""

    def __init__(self, site, reason):
        super().__init__(f"site {site}: {reason}")


class WithLock(Exception):
    """Cannot be pickled whole."""

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
    """Abort, as C++ does when nobody catches its std::bad_alloc."""
    try:
        run_out_of_memory()
    except MemoryError:
        os.abort()


def kill():
    os.kill(os.getpid(), KILL)
    time.sleep(FOREVER)


def crash():
    if sys.platform == "win32":  # where ctypes makes an exception of it
        ctypes.windll.kernel32.TerminateProcess(ctypes.c_void_p(-1), 0xC0000005)
    ctypes.string_at(0)


def leave(status=3):
    os._exit(status)


def leave_well():
    leave(0)


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
    """A second from now, interrupt this process and, as a terminal does, the workers."""
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
    """Return a large result for a large item, and use a large captured object."""
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
    """Return a function that does something at item 7, whose result is what this returns."""

    def func(item):
        with open(Path(os.environ["FAULTS"], "runs"), "a") as runs:
            runs.write(f"{item}\n")
        if item == 7:
            result = action()
            return item if result is None else result
        return item

    return func


class Traveller:
    """Does something while it is pickled, or while it is unpickled into what it `becomes`."""

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
    """Return a function whose seventh result acts when it is pickled or unpickled."""
    return at_seven(lambda: Traveller(7, **actions))


def function(**actions):
    """Return a function that acts when it is pickled or unpickled."""
    return Traveller(identity, **actions)


# Inputs


def numbers():
    return range(10)


def item(**actions):
    """Return an input whose seventh item acts when it is pickled or unpickled."""
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
    """Ten items, with a wrong length."""

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
    """Return large items; print between them to streams that are closed."""
    close_streams()
    for large in lumps():
        with contextlib.suppress(OSError):
            os.write(1, b"to nobody\n")
        yield large


def no_temporary_directory():
    os.environ["TMPDIR"] = os.environ["JOBLIB_TEMP_FOLDER"] = os.path.join(os.devnull, "nowhere")


def no_room():
    """Limit files, in memory too, to a megabyte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))


def more_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (resource.RLIM_INFINITY,))


def no_more_room():
    """Let no file, in memory or elsewhere, take another byte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def no_shared_memory():
    """Make files take the place of nameless memory."""
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
    """Return an action that leaves only so many file descriptors."""

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
    """Return an action that kills one of two idle workers: one of them holds the queue's lock."""

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
