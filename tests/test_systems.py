"""What differs from system to system: the rules that can be tried anywhere, and their effects."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from environments import ROOT
from systems import WINDOWS

from phylozoo_parallel._loky import failure, start
from phylozoo_parallel._shipping import memory


def test_windows_has_61_workers_at_most():
    assert start.MOST == 61 if WINDOWS else start.MOST > 1000


def test_a_map_has_no_more_workers_than_the_system_allows(run_script):
    """The second map, too, for which loky resizes what it opened for the first."""
    done = run_script(
        """
        import os, time
        from phylozoo_parallel import MultiprocessingExecutor
        from phylozoo_parallel._loky import start

        start.MOST = 2

        def where(item):
            time.sleep(0.05)
            return os.getpid()

        for n_jobs in 5, 4:
            pids = set(MultiprocessingExecutor(n_jobs).map(where, range(8), 1))
            print(len(pids) <= 2, start.size(start.current()), len(start.pids(start.current())))
        """
    )
    assert done.stdout == 2 * "True 2 2\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (3, "exit code 3"),
        (-15, "exit code -15, SIGTERM"),
        (0xC0000005, "exit code 0xC0000005, access violation"),
        (0xC0000017, "exit code 0xC0000017, no memory"),
        (0xC00000FD, "exit code 0xC00000FD, stack overflow"),
        (0xC0000409, "exit code 0xC0000409, abort"),
        (0xC0000999, "exit code 0xC0000999"),
    ],
)
def test_exit_codes_are_told_with_their_meaning(code, told):
    executor = SimpleNamespace(_processes={5: SimpleNamespace(exitcode=code)})
    assert failure.ended(executor) == {5: told}


def test_loky_stumbles_over_what_frees_it(processes, wait_until, pool_pids):
    """Nothing else tells it of a worker that died while it answered."""
    assert list(processes.map(abs, [-1, 2])) == [1, 2]
    executor, before = start.current(), pool_pids()
    failure.free(executor)
    wait_until(lambda: executor._flags.broken)
    assert list(processes.map(abs, [-1, 2])) == [1, 2]
    assert not pool_pids() & before


def test_a_segment_can_be_let_go_of_while_another_has_it_open(tmp_path):
    """On Windows by those alone who open it with the right to let it be deleted."""
    segment = memory.Segment(str(tmp_path))
    assert segment.write([b"abc", b"de"]) == (3, 2)
    again = memory.opened(segment.name, os.O_RDWR)
    pieces = memory.mapped(segment.name, (3, 2))
    segment.close()
    assert os.read(again, 3) == b"abc"
    os.close(again)
    assert [bytes(piece) for piece in pieces] == [b"abc", b"de"]
    pieces[0][:] = b"xyz"  # private
    del pieces
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_benchmark_of_systems_runs():
    pytest.importorskip("numpy")
    command = [sys.executable, "-m", "benchmarks.systems", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        len(re.findall(r"^\| [^|]+(?:\| [\d,.]+ \([\d,.]+ to [\d,.]+\) ){3}\|$", done.stdout, re.M))
        == 4
    )
