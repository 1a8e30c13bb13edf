"""What the test modules share: executors, a script runner with a time limit, the pool's pids."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from tempfile import TemporaryFile

import pytest
from environments import ROOT, page_script

from phylozoo_parallel import (
    MultiprocessingExecutor,
    ParallelConfig,
    SequentialExecutor,
    ThreadingExecutor,
)
from phylozoo_parallel._loky.start import current

collect_ignore = ["client"]  # a package with tests of its own: test_types.py

BACKENDS = ["sequential", "threading", "multiprocessing"]


@pytest.fixture(scope="session", params=BACKENDS)
def executor(request):
    """An executor of every backend, with two workers where it has any."""
    return ParallelConfig(request.param, n_jobs=2).get_executor()


@pytest.fixture(scope="session", params=BACKENDS[1:])
def workers(request):
    """An executor of every backend that has workers, with two of them."""
    return ParallelConfig(request.param, n_jobs=2).get_executor()


@pytest.fixture(scope="session")
def sequential():
    return SequentialExecutor()


@pytest.fixture(scope="session")
def threads():
    return ThreadingExecutor(2)


@pytest.fixture(scope="session")
def processes():
    return MultiprocessingExecutor(2)


@pytest.fixture(scope="session")
def pool_pids():
    """Return the process ids of joblib's pool."""
    return lambda: set(current()._processes if current() else ())


@pytest.fixture(scope="session")
def wait_until():
    """Wait for a condition that is expected soon; fail after a time far beyond that."""

    def wait(condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not so within {seconds} s"
            time.sleep(0.005)

    return wait


@pytest.fixture(autouse=True)
def idle_pool(wait_until):
    """Start each test after the chunks of maps that the test before has left."""
    executor = current()
    wait_until(lambda: executor is None or not executor._pending_work_items)


@pytest.fixture
def run_script(tmp_path):
    """Run code as a script of its own, with a time limit; fail on a nonzero exit status."""

    def run(code, *args, timeout=60):
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(code), encoding="utf-8")
        return run_python(script, *args, timeout=timeout)

    return run


@pytest.fixture
def run_page(run_script, tmp_path):
    """Run a page as a script, with `checks` after some of its blocks and `more` at its end."""

    def run(name, checks, more=""):
        script = page_script(tmp_path, checks, ROOT / "docs" / name).read_text("utf-8")
        done = run_script(f"{script}\n{more}\nprint('to the end')")
        assert (done.stdout, done.stderr) == ("to the end\n", "")

    return run


def run_python(*args, timeout=60, stdin="", folder=None, variables=None):
    """Run the interpreter, with a time limit that its workers cannot hold up."""
    command = [sys.executable, "-X", "faulthandler", *map(str, args)]
    with TemporaryFile("w+") as given, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=folder,
            env={**os.environ, **(variables or {})},
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            if sys.platform == "win32":
                process.kill()
            else:
                process.send_signal(signal.SIGABRT)  # prints the stack of every thread
            with contextlib.suppress(subprocess.TimeoutExpired):  # nobody reads its stderr
                process.wait(10)
            status = f"none within {timeout} s"
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # whatever it left behind
        texts = []
        for file in out, err:
            file.seek(0)
            texts.append(file.read())
    if status:
        pytest.fail(f"exit status: {status}\n{texts[0]}\n{texts[1]}", pytrace=False)
    return subprocess.CompletedProcess(command, status, *texts)
