"""Large functions, items and results: shipped once, shared, writable, private, and let go of."""

import functools
import itertools
import os
import shutil
import sys
import time

import joblib
import psutil
import pytest
from systems import WINDOWS, needs_linux, needs_posix

from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor
from phylozoo_parallel._shipping import memory, pickles
from phylozoo_parallel._transport import processes as transport

if sys.platform == "linux":
    from phylozoo_parallel._shipping import memory_linux

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.core

MEGABYTE = 1 << 20
nameless = needs_linux("has memory without a name")


class Counted:
    """Writes a line to a file whenever it is unpickled."""

    def __init__(self, file, size):
        self.file = file
        self.ballast = os.urandom(size)

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(self.file, "a") as file:
            file.write(f"{os.getpid()}\n")

    def __call__(self, item):
        time.sleep(0.01)
        return os.getpid()


def shared_by(pid):
    """Return the bytes of nameless memory that a process maps."""
    with open(f"/proc/{pid}/maps") as maps:
        return [line for line in maps if "memfd:phylozoo-parallel" in line and " rw-p " in line]


def open_files():
    """Return how many files, pipes and the like this process has open."""
    me = psutil.Process()
    return me.num_handles() if WINDOWS else me.num_fds()


@pytest.mark.parametrize("size", [10, 5 * MEGABYTE], ids=["small", "large"])
def test_a_worker_unpickles_a_function_once(processes, tmp_path, size):
    log = tmp_path / "log"
    pids = set(processes.map(Counted(log, size), range(40), 1))
    assert sorted(log.read_text().split()) == sorted(map(str, pids))


@pytest.mark.parametrize(
    "layout", ["C", "F", "strided", "reversed", "empty", "objects", "read-only"]
)
def test_arrays_arrive_as_they_left(processes, layout):
    whole = np.arange(2.0 * MEGABYTE).reshape(1024, -1)
    array = {
        "C": whole,
        "F": np.asfortranarray(whole),
        "strided": whole[::2, ::3],
        "reversed": whole[::-1],
        "empty": whole[:0],
        "objects": np.array([{"a": 1}, None, whole[:2]], dtype=object),
        "read-only": np.frombuffer(whole.tobytes()),
    }[layout]
    for back in (
        *processes.map(lambda item: item, [array]),
        *processes.map(functools.partial(lambda captured, _: captured, array), [None]),
    ):
        assert back.dtype == array.dtype
        if layout == "objects":
            assert back[:2].tolist() == array[:2].tolist()
        else:
            np.testing.assert_array_equal(back, array)


def test_arrays_are_writable_and_private(processes):
    """Captured or in items: neither another worker nor the caller sees what a worker writes."""
    captured = np.zeros(MEGABYTE)

    def write(captured, item):
        captured[0] += 1
        item[0] += 1
        time.sleep(0.02)
        return os.getpid(), captured[0], item[0]

    items = [np.zeros(MEGABYTE) for _ in range(12)]
    seen = list(processes.map(functools.partial(write, captured), items, 1))
    assert captured[0] == 0
    assert not any(item[0] for item in items)
    assert {item for _, _, item in seen} == {1.0}
    for worker in {pid for pid, _, _ in seen}:
        mine = [count for pid, count, _ in seen if pid == worker]
        assert mine == list(range(1, len(mine) + 1))


def test_results_are_writable_and_hold_no_files(processes):
    list(processes.map(abs, range(50)))
    before = open_files()
    results = list(processes.map(lambda n: np.full(MEGABYTE, n, float), range(24), 2))
    assert [result[-1] for result in results] == list(range(24))
    results[0][0] = 7
    assert open_files() <= before + 2 * 2


@nameless
class TestRelease:
    def test_shared_memory_is_released_when_the_map_ends(self, processes, wait_until):
        captured = np.ones(4 * MEGABYTE)
        func = functools.partial(lambda captured, _: (time.sleep(0.02), os.getpid())[1], captured)
        pids = set(processes.map(func, range(8), 1))
        assert not shared_by(os.getpid())
        wait_until(lambda: not any(shared_by(pid) for pid in pids))

    def test_shared_memory_is_released_when_the_iterator_is_dropped(self, processes, wait_until):
        captured = np.ones(4 * MEGABYTE)
        func = functools.partial(lambda captured, _: (time.sleep(0.02), os.getpid())[1], captured)
        results = processes.map(func, itertools.count(), 1)
        pids = set(itertools.islice(results, 8))
        assert any(shared_by(pid) for pid in pids)
        del results
        wait_until(lambda: not any(shared_by(pid) for pid in pids))

    def test_shared_memory_is_released_when_the_program_is_killed(self, run_script):
        """The workers end too, and no file of this library stays behind."""
        run_script(
            """
            import os, signal, subprocess, sys, time

            program = '''
            import functools, itertools, os, time
            from phylozoo_parallel import MultiprocessingExecutor
            def func(captured, item):
                time.sleep(0.01)
                return os.getpid()
            captured = bytearray(os.urandom(1 << 23))
            results = MultiprocessingExecutor(2).map(
                functools.partial(func, captured), itertools.count(), 1
            )
            print(*{next(results) for _ in range(20)}, flush=True)
            while True:
                next(results)
            '''
            import textwrap
            command = [sys.executable, "-c", textwrap.dedent(program)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            pids = [int(pid) for pid in child.stdout.readline().split()]
            assert pids and all(os.path.exists(f"/proc/{pid}") for pid in pids)
            before = set(os.listdir("/dev/shm")) | set(os.listdir("/tmp"))
            child.kill()
            child.wait()

            def alive(pid):
                try:
                    with open(f"/proc/{pid}/stat") as stat:
                        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
                except OSError:
                    return False

            end = time.monotonic() + 50
            while any(map(alive, pids)):
                assert time.monotonic() < end, "workers outlive their program"
                time.sleep(0.1)
            left = (set(os.listdir("/dev/shm")) | set(os.listdir("/tmp"))) - before
            assert not [name for name in left if "phylozoo" in name], left
            """,
            timeout=90,
        )


class TestWithoutSharedMemory:
    """Maps are slower, and right."""

    SCRIPT = """
        import functools, os, sys
        import numpy as np

        def none(*args):
            raise OSError(28, "No space left on device")

        {how}
        from phylozoo_parallel import MultiprocessingExecutor
        executor = MultiprocessingExecutor(2)
        captured = np.ones(1 << 20)
        func = functools.partial(lambda a, b: a + b, captured)
        results = executor.map(func, [captured * i for i in range(6)])
        for i, result in enumerate(results):
            assert (result == i + 1).all() and result.flags.writeable
        """

    NO_ROOM = "from phylozoo_parallel._shipping import memory; memory._write = none"

    @pytest.mark.parametrize(
        "how",
        [
            pytest.param("os.memfd_create = none", marks=nameless),
            pytest.param("os.memfd_create = none; os.O_TMPFILE = 0", marks=nameless),
            NO_ROOM,
        ],
        ids=["files instead", "no files either", "no room"],
    )
    def test_results_are_right_without_shared_memory(self, run_script, how):
        run_script(self.SCRIPT.replace("{how}", how))

    def test_results_are_right_when_a_worker_finds_no_room(self, processes):
        """It puts the result into the message."""

        def full(item):
            from phylozoo_parallel._shipping import memory

            def none(*args):
                raise OSError(28, "No space left on device")

            before, memory._write = memory._write, none
            try:
                return np.full(MEGABYTE, item, float)
            finally:
                # Put back once the result is on its way, for the tests that follow.
                import threading

                threading.Timer(0.5, setattr, (memory, "_write", before)).start()

        for number, array in enumerate(processes.map(full, [0.0, 1.0], 1)):
            assert array[-1] == number


def test_segments_go_to_joblibs_temp_folder(tmp_path, monkeypatch, wait_until):
    made = []
    real = memory.Segment.__init__

    def watch(self, folder=None):
        made.append(folder)
        real(self, folder)

    monkeypatch.setattr(memory.Segment, "__init__", watch)
    captured = np.ones(MEGABYTE)
    with joblib.parallel_config(backend="loky", temp_folder=str(tmp_path)):
        func = functools.partial(lambda a, b: a[0] + b, captured)
        assert list(MultiprocessingExecutor(2).map(func, range(4))) == [1, 2, 3, 4]
    assert str(tmp_path) in made

    def nothing_left():
        ours = [path for path in tmp_path.iterdir() if "joblib" not in path.name]
        return all(path.is_dir() and not list(path.iterdir()) for path in ours)

    wait_until(nothing_left)  # on Windows a file is seen until the workers let go of it, too


def test_a_small_function_takes_no_segment(processes, monkeypatch):
    list(processes.map(abs, range(4)))
    transport._replies.extend(memory.Segment() for _ in range(8))  # for large results

    def refuse(self, folder=None):
        raise AssertionError("a segment for a small function")

    monkeypatch.setattr(memory.Segment, "__init__", refuse)
    assert list(processes.map(functools.partial(pow, 2), range(100))) == [2**n for n in range(100)]


def test_other_machines_get_large_values_in_the_message():
    """A backend whose workers may be on other machines gets no segments."""
    pieces = pickles.parts(np.ones(MEGABYTE), __import__("pickle").dumps)
    packed = pickles.in_message(pieces)
    assert isinstance(packed, list)
    back = pickles.unpack(packed)
    assert back.flags.writeable
    assert (back == 1).all()


def test_a_segment_that_became_something_else_is_not_opened(tmp_path):
    segment = memory.Segment()
    path, device, inode = segment.name
    with pytest.raises(FileNotFoundError, match="another file has its name"):
        memory.opened((path, device, inode + 1), os.O_RDONLY)
    segment.close()
    with pytest.raises(FileNotFoundError):
        memory.opened((path, device, inode), os.O_RDONLY)


def test_threads_share_items_without_packing_them():
    """The result is the very object of the caller."""
    item = np.ones(MEGABYTE)
    assert next(ThreadingExecutor(2).map(lambda array: array, [item])) is item


def test_many_maps_at_once_leave_few_files_open(processes):
    list(processes.map(abs, range(50)))
    before = open_files()
    maps = [processes.map(abs, range(50)) for _ in range(30)]
    assert [list(one) for one in maps] == [list(range(50))] * 30
    assert open_files() <= before + transport.KEPT_REPLIES + 8


@nameless
def test_segments_are_the_users_alone_and_have_no_name(tmp_path):
    for folder in None, str(tmp_path):
        segment = memory.Segment(folder)
        found = os.fstat(segment.fd)
        assert found.st_mode & 0o777 == 0o600
        assert found.st_nlink == 0
        assert not os.get_inheritable(segment.fd)
        assert list(tmp_path.iterdir()) == []
        segment.close()


@nameless
def test_a_link_in_the_place_of_a_segment_is_not_followed(tmp_path):
    segment = memory.Segment()
    segment.write([b"ours"])
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    link = tmp_path / "link"
    link.symlink_to(theirs)
    with pytest.raises(FileNotFoundError, match="another file has its name"):
        memory.opened((str(link), *segment.name[1:]), os.O_RDONLY)
    segment.close()


@nameless
def test_a_python_built_for_an_older_system_has_nameless_memory(monkeypatch):
    """The Pythons of conda and uv have neither of the two names."""
    monkeypatch.delattr(os, "memfd_create")
    fd, path = memory_linux.made(None)
    assert os.readlink(path).startswith("/memfd:phylozoo-parallel")
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    os.close(fd)


@needs_posix("folder of ours: its files vanish by themselves")
class TestFiles:
    """Segments where memory needs a name, as on macOS."""

    @pytest.fixture
    def files(self, monkeypatch):
        from phylozoo_parallel._shipping import memory_files

        monkeypatch.setattr(memory_files, "folders", {})
        yield memory_files
        memory_files._leave()

    def test_files_can_be_opened_by_the_user_alone(self, files, tmp_path):
        fd, path = files.made(str(tmp_path))
        assert os.fstat(fd).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
        assert not os.get_inheritable(fd)
        os.close(fd)
        files.removed(path)
        assert not os.path.exists(path)
        files._leave()
        assert list(tmp_path.iterdir()) == []

    def test_a_removed_folder_of_files_is_made_again(self, files, tmp_path):
        fd, path = files.made(str(tmp_path))
        os.close(fd)
        shutil.rmtree(os.path.dirname(path))
        files.removed(path)
        fd, path = files.made(str(tmp_path))
        assert os.path.exists(path)
        os.close(fd)

    def test_a_forked_child_leaves_its_parents_files_alone(self, files, tmp_path):
        fd, path = files.made(str(tmp_path))
        child = os.fork()
        if not child:
            files.removed(path)
            files._leave()
            os._exit(0)
        os.waitpid(child, 0)
        assert os.path.exists(path)
        os.close(fd)

    def test_files_are_removed_when_the_program_ends(self, run_script, tmp_path):
        """Also if the program is a worker process of multiprocessing of another program."""
        folder = str(tmp_path / "temporary")
        os.mkdir(folder)
        run_script(
            f"""
            import multiprocessing, os, sys, tempfile
            import numpy as np
            import phylozoo_parallel._shipping.memory as memory
            from phylozoo_parallel._shipping import memory_files as files

            memory.made, memory.removed = files.made, files.removed
            tempfile.tempdir = {folder!r}

            def run():
                from phylozoo_parallel import MultiprocessingExecutor
                executor = MultiprocessingExecutor(2)
                lump = np.ones(1 << 20)
                for _ in range(3):
                    for number, it in enumerate(executor.map(lambda i: lump * i, range(6), 1)):
                        assert (it == number).all() and it.flags.writeable
                if sys.platform == "linux":  # elsewhere all of them are there
                    assert next(iter(files.folders)) == {folder!r}
                left = executor.map(lambda i: lump * i, range(600), 1)
                next(left)
                return left

            if __name__ == "__main__":
                child = multiprocessing.get_context("fork").Process(target=run)
                child.start()
                child.join()
                assert child.exitcode == 0
                assert os.listdir({folder!r}) == []
                left = run()
            """
        )
        assert not [name for name in os.listdir(folder) if name.startswith("phylozoo")]
