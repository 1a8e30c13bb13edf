"""Workers end with the program that is killed, whatever they run, and no file of it stays."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest
from systems import forks, needs_posix


def runs(pid):
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows forks no processes")

KILLED = """
import ctypes, os, sys, tempfile, time

import numpy as np

from phylozoo_parallel import MultiprocessingExecutor

lump = np.zeros(1 << 18)


def hold(item):
    "Hold the interpreter's lock, in C."
    lump[item] = 1
    with open(os.path.join(sys.argv[1], str(os.getpid())), "w"):
        pass
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(60_000)
    else:
        ctypes.PyDLL(None).sleep(60)


executor = MultiprocessingExecutor(2)
results = executor.map(hold, range(2), chunksize=1)
while len(os.listdir(sys.argv[1])) < 2:
    time.sleep(0.01)
{before}
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def killed(tmp_path, wait_until):
    """Run a program until its workers are attached, kill it, and return the workers' pids."""

    def run(before=""):
        script, held, temporary = (tmp_path / name for name in ("it.py", "held", "temporary"))
        held.mkdir()
        temporary.mkdir()
        script.write_text(textwrap.dedent(KILLED).replace("{before}", before), "utf-8")
        names = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
        with subprocess.Popen(
            [sys.executable, script, held],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **names},
        ) as program:
            assert program.stdout.readline() == "held\n"
            workers = [int(name) for name in os.listdir(held)]
            assert len(workers) == 2
            assert all(map(runs, workers))
            program.kill()
            program.wait()
            wait_until(lambda: not any(map(runs, workers)), 20)
            return temporary

    return run


def test_a_worker_that_holds_the_gil_ends_with_a_killed_program(killed, wait_until):
    temporary = killed()
    wait_until(lambda: not [it for it in os.listdir(temporary) if it.startswith("phylozoo")])


@forks
def test_a_forked_child_that_lives_on_keeps_no_worker_alive(killed, tmp_path):
    pid = tmp_path / "pid"
    killed(
        "child = os.fork()\n"
        "if not child:\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        f"open({str(pid)!r}, 'w').write(str(child))"
    )
    os.kill(int(pid.read_text()), signal.SIGKILL)


@needs_posix("reaper")
class TestReaper:
    CODE = """
    import os, signal, subprocess, sys, tempfile, time

    from phylozoo_parallel._worker import reaper

    sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    null = subprocess.DEVNULL
    ours, others = (subprocess.Popen(sleeper, stdout=null, stderr=null) for _ in range(2))
    folder = tempfile.mkdtemp()
    open(os.path.join(folder, "0"), "w").close()
    reaper.guard([ours.pid], [])
    {code}
    reaper.guard([ours.pid], [folder])
    print([ours.pid, others.pid, folder], flush=True)
    {after}
    os.write(reaper._pipe, b'[[[%d, %d]], []]' % (others.pid, os.getpgrp()))
    os.kill(os.getpid(), signal.SIGKILL)
    """

    @pytest.fixture
    def ended(self, tmp_path, wait_until):
        def run(code="", after=""):
            script = tmp_path / "script.py"
            text = textwrap.dedent(self.CODE).replace("{code}", code).replace("{after}", after)
            script.write_text(text, "utf-8")
            done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True)
            ours, others, folder = json.loads(done.stdout.replace("'", '"'))
            try:
                wait_until(lambda: not os.path.exists(folder), 20)
                wait_until(lambda: not runs(ours) or after, 20)
                return runs(ours), runs(others)
            finally:
                for pid in filter(runs, (ours, others)):
                    os.kill(pid, signal.SIGKILL)

        return run

    def test_the_reaper_ends_workers_and_removes_files_and_ignores_half_a_line(self, ended):
        assert ended() == (False, True)

    def test_a_killed_reaper_is_replaced(self, ended):
        code = (
            "import psutil\n"
            "last = [it for it in psutil.Process().children() if 'reaper' in str(it.cmdline())]\n"
            "for it in last: it.kill(); it.wait()"
        )
        assert ended(code) == (False, True)

    def test_the_reaper_spares_a_process_that_got_a_workers_number(self, ended):
        line = "f'[[[{ours.pid}, 1]], [\"{folder}\"]]\\n'"  # of group 1, it says
        assert ended(after=f"os.write(reaper._pipe, {line}.encode())") == (True, True)
