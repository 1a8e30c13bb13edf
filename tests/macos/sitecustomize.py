"""
A Mac on Linux, as far as CPython's own modules show one: with this folder on PYTHONPATH, in any
program and in all its worker processes.

::

    PYTHONPATH=tests/macos python -m pytest        (or: tox run -e macos)

What macOS has not got is taken away: memory without a name, O_TMPFILE, /proc and /dev/shm, the
affinity of processes, F_SETSIG, sizes of pipes, epoll, pidfd, eventfd, pipe2, prctl and more. What
it has is made as it is there: semaphores without a value and with CPython's polling for a time
limit; pipes of 16 KB and PIPE_BUF of 512; pages of 16 KB; 256 file descriptors; POSIX shared
memory that is sized once, never read or written, never mapped privately; no write over 2 GB at a
place of a file; new processes spawned. ``sys.platform`` is "darwin" for what the tests are about
(joblib, loky, multiprocessing, this library, its tests) and "linux" for all others, which would
look for files that are not here.

Not simulated: APFS, launchd, the order of writes on arm64, SIGIO ignored by default, kqueue,
paths without regard to case. ``python -I``, ``-E`` and ``-S`` escape.

psutil may look into /proc, as it has system calls for it there.
"""

import errno
import os
import re
import sys

DARWIN = (
    "joblib|loky|multiprocessing|concurrent|phylozoo_parallel|phylozoo.utils|subprocess|selectors|"
    "tempfile|shutil|socket|threading|asyncio|tqdm|test|conftest|systems|faults|programs|"
    "environments|endurance|soak|kinds|main_|skew|__main__|__mp_main__"
)
"""Beginnings of the names of modules that find themselves on macOS."""

GONE = {
    "os": "memfd_create O_TMPFILE O_PATH O_DIRECT O_NOATIME O_RSYNC O_LARGEFILE pidfd_open "
    "PIDFD_NONBLOCK sched_getaffinity sched_setaffinity sched_setscheduler sched_getscheduler "
    "sched_setparam sched_getparam sched_rr_get_interval sched_param posix_fallocate "
    "posix_fadvise pipe2 eventfd eventfd_read eventfd_write timerfd_create timerfd_settime "
    "timerfd_gettime timerfd_settime_ns timerfd_gettime_ns splice copy_file_range getrandom "
    "fdatasync unshare setns waitid getresuid getresgid setresuid setresgid",
    "fcntl": "F_SETSIG F_GETSIG F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS F_NOTIFY "
    "F_SETLEASE F_GETLEASE F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW",
    "select": "epoll EPOLLIN EPOLLOUT EPOLL_CLOEXEC",
    "signal": "pidfd_send_signal sigtimedwait sigwaitinfo SIGRTMIN SIGRTMAX SIGPWR SIGPOLL "
    "SIGSTKFLT SIGCLD",
    "resource": "prlimit RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING",
    "time": "pthread_getcpuclockid CLOCK_BOOTTIME CLOCK_TAI",
    "mmap": "MAP_POPULATE MAP_STACK MAP_DENYWRITE MAP_EXECUTABLE",
}
"""Names that are not there, by module."""

SYMBOLS = {"prctl", "memfd_create", "syscall", "pidfd_open", "eventfd", "ppoll"}
"""Functions that ctypes does not find."""

PSUTIL = "cpu_affinity", "io_counters", "memory_maps", "rlimit", "ionice"
"""Methods that psutil's processes have not got."""

PAGE, PIPE, PIPE_BUF, FILES = 16384, 16384, 512, 256
MOST = 2**31 - 1
"""Bytes that one write at a place of a file takes."""


def fail(number, *path):
    raise OSError(number, os.strerror(number), *path)


class Platform(str):
    """``sys.platform``, which depends on who asks."""

    __slots__ = ()

    def _seen(self):
        name = sys._getframe(2).f_globals.get("__name__") or ""
        return "darwin" if re.match(DARWIN, name) else "linux"

    def __eq__(self, other):
        return self._seen() == other

    def __ne__(self, other):
        return self._seen() != other

    def __hash__(self):
        return hash(self._seen())

    def __contains__(self, part):
        return part in self._seen()

    def __reduce__(self):
        return str, ("linux",)

    def startswith(self, *args):
        return self._seen().startswith(*args)


class Plain:
    """A function that does not become a method, as built-in ones do not: pathlib counts on it."""

    def __init__(self, call, name):
        self._call, self.__name__ = call, name

    def __call__(self, *args, **kwargs):
        return self._call(*args, **kwargs)


def put(name, call):
    """Put a function in the place of one of :mod:`os`."""
    import posix

    real, call = getattr(os, name), Plain(call, name)
    for group in os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks:
        if real in group:
            group.add(call)
    setattr(os, name, call)
    setattr(posix, name, call)


def take_away():
    """Take away what is not there."""
    import posix

    for module, names in GONE.items():
        for where in [__import__(module)] + [posix] * (module == "os"):
            for name in names.split():
                if hasattr(where, name):
                    delattr(where, name)
    if hasattr(os, "process_cpu_count"):
        os.process_cpu_count = os.cpu_count


def limit():
    """Give pages, pipes and descriptors the sizes that they have there."""
    import fcntl
    import mmap
    import resource
    import select

    select.PIPE_BUF = PIPE_BUF
    mmap.PAGESIZE = mmap.ALLOCATIONGRANULARITY = max(PAGE, mmap.PAGESIZE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))

    pipe, control = os.pipe, fcntl.fcntl

    def small_pipe():
        ends = pipe()
        control(ends[1], 1031, PIPE)  # F_SETPIPE_SZ
        return ends

    def checked(fd, command, argument=0):
        # Locks of open files, signals, leases and sizes of pipes: Linux's alone.
        if command in (10, 11, 36, 37, 38, *range(1024, 1035)) and command != 1030:
            fail(errno.EINVAL)
        return control(fd, command, argument)

    put("pipe", small_pipe)
    fcntl.fcntl = checked


def weaken_semaphores():
    """Have semaphores without a value, that are polled where there is a time limit."""
    import _multiprocessing
    import time

    class SemLock(_multiprocessing.SemLock):
        def _get_value(self):
            raise NotImplementedError

        def acquire(self, block=True, timeout=None):
            if not block or timeout is None:
                return super().acquire(block, timeout)
            end, delay = time.monotonic() + max(timeout, 0), 0.0
            while not super().acquire(False):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                time.sleep(min(delay, 0.02, left))
                delay += 0.001
            return True

        def __enter__(self):
            return self.acquire()

    _multiprocessing.SemLock = SemLock


def weaken_shared_memory():
    """Have POSIX shared memory with short names, sized once, in whole pages, mapped shared."""
    import _posixshmem
    import mmap

    device = os.stat("/dev/shm").st_dev
    shm_open, ftruncate, fstat = _posixshmem.shm_open, os.ftruncate, os.fstat

    def is_shared(fd):
        try:
            return fstat(fd if isinstance(fd, int) else fd.fileno()).st_dev == device
        except (OSError, AttributeError, ValueError):
            return False

    def short_shm_open(path, flags, mode=0o777):
        if len(os.fsencode(path)) > 31:
            fail(errno.ENAMETOOLONG, path)
        return shm_open(path, flags, mode=mode)

    def truncate_once(fd, length):
        if is_shared(fd):
            if fstat(fd).st_size:
                fail(errno.EINVAL)
            length = -(-length // PAGE) * PAGE
        return ftruncate(fd, length)

    def refuse(name):
        real = getattr(os, name)

        def checked(fd, data, *args, **kwargs):
            if is_shared(fd):
                fail(errno.ENXIO)
            if name == "pwrite" and len(data) > MOST:
                fail(errno.EINVAL)
            return real(fd, data, *args, **kwargs)

        put(name, checked)

    class Mmap(mmap.mmap):
        def __new__(cls, fileno, length, *args, **kwargs):
            flags = args[0] if args else kwargs.get("flags", mmap.MAP_SHARED)
            private = kwargs.get("access") == mmap.ACCESS_COPY or not flags & mmap.MAP_SHARED
            if private and fileno != -1 and is_shared(fileno):
                fail(errno.EINVAL)
            return super().__new__(cls, fileno, length, *args, **kwargs)

    for name in "pread", "pwrite", "preadv", "pwritev", "readv", "writev":
        refuse(name)
    put("ftruncate", truncate_once)
    _posixshmem.shm_open, mmap.mmap = short_shm_open, Mmap


def hide_paths():
    """Hide /proc and /dev/shm from all but psutil."""
    library = os.path.dirname(os.__file__)

    def may_look():
        """Tell whether the first caller outside the standard library is psutil."""
        frame = sys._getframe(2)
        while frame is not None:
            name, file = frame.f_globals.get("__name__") or "", frame.f_code.co_filename
            if name.startswith("psutil"):
                return True
            standard = file.startswith((library, "<froz")) and "site-packages" not in file
            if not standard and file != __file__:
                return False
            frame = frame.f_back
        return False

    def hidden(path):
        if path is None or isinstance(path, int):
            return False
        try:
            path = os.fsdecode(path)
        except TypeError:
            return False
        return path == "/proc" or path.startswith(("/proc/", "/dev/shm"))

    def hook(event, args):
        looks = event in ("open", "os.listdir", "os.scandir", "os.mkdir", "os.chdir")
        if looks and args and hidden(args[0]) and not may_look():
            fail(errno.ENOENT, args[0])

    def hide(name):
        real = getattr(os, name)

        def checked(path, *args, **kwargs):
            if hidden(path) and not may_look():
                return False if name == "access" else fail(errno.ENOENT, path)
            return real(path, *args, **kwargs)

        put(name, checked)

    for name in "stat", "lstat", "readlink", "access", "statvfs":
        hide(name)
    sys.addaudithook(hook)


class Later:
    """Finds no module; has some changed when they have been imported."""

    def __init__(self):
        self.changes = {"ctypes": self.ctypes, "psutil": self.psutil}

    def find_spec(self, name, path=None, target=None):
        change = self.changes.pop(name, None)
        if change is None:
            return None
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), change(module))
        return spec

    @staticmethod
    def ctypes(module):
        find = module.CDLL.__getattr__

        def checked(self, name):
            if name in SYMBOLS:
                raise AttributeError(f"dlsym(RTLD_DEFAULT, {name}): symbol not found")
            return find(self, name)

        module.CDLL.__getattr__ = checked

    @staticmethod
    def psutil(module):
        for name in PSUTIL:
            if hasattr(module.Process, name):
                delattr(module.Process, name)


sys.platform = Platform("linux")
sys.meta_path.insert(0, Later())
for _step in take_away, limit, weaken_semaphores, weaken_shared_memory, hide_paths:
    _step()
_tools = os.path.join(os.path.dirname(__file__), "bin")
if _tools not in os.environ.get("PATH", ""):
    os.environ["PATH"] = os.pathsep.join((_tools, os.environ.get("PATH", os.defpath)))
