"""The page on long runs, where it promises what is left of a program that was killed."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter

import psutil
import pytest
from environments import ROOT
from systems import KILL

PAGE = (ROOT / "docs" / "long-runs.md").read_text("utf-8")
RESUME = re.search(r"^```python resume.py\n(.*?)^```$", PAGE, re.M | re.S)[1]
SLOWER = RESUME.replace(
    "    return seed**2\n", "    import time; time.sleep(0.02)\n    return seed**2\n"
)
ON_DASK = SLOWER.replace(
    "processes = MultiprocessingExecutor(2)\n",
    """
if __name__ == "__main__":
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    joblib.parallel_config("dask", client=Client(cluster))
    processes = MultiprocessingExecutor()
""",
).replace("print(sum(", "    print(sum(")


def stored(folder):
    """Return the seeds whose results are on the disk."""
    found = folder.rglob("output.pkl")
    metadata = [file.with_name("metadata.json") for file in found]
    return {
        int(re.search(r'"seed": "(\d+)"', file.read_text())[1])
        for file in metadata
        if file.exists()
    }


def ran(folder):
    file = folder / "ran.txt"
    return Counter(map(int, file.read_text().split())) if file.exists() else Counter()


@pytest.mark.parametrize("code", [SLOWER, ON_DASK], ids=["processes", "dask"])
@pytest.mark.parametrize("end", [KILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_items_with_stored_results_do_not_run_again(tmp_path, wait_until, code, end):
    if code is ON_DASK:
        pytest.importorskip("distributed")
    script = tmp_path / "resume.py"
    script.write_text(code)
    command = [sys.executable, str(script), "200"]
    program = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        wait_until(lambda: len(ran(tmp_path)) > 20, 60)
        workers = psutil.Process(program.pid).children(recursive=True)
        program.send_signal(end)
        program.wait(20)
        _, alive = psutil.wait_procs(workers, 20)
        assert not alive
    finally:
        program.stderr.close()
        for pid in [program.pid, *(it.pid for it in workers)]:
            try:
                os.kill(pid, KILL)
            except ProcessLookupError:
                continue
    kept = stored(tmp_path)
    assert 0 < len(kept) < 200
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{sum(seed**2 for seed in range(200))}\n", done.stderr
    runs = ran(tmp_path)
    assert set(runs) == set(range(200))
    assert {seed for seed, times in runs.items() if times > 1} <= set(runs) - kept
