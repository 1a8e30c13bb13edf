"""Every block of the documented page runs as it is printed, in a script without a main guard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from environments import page_script, run

pytestmark = pytest.mark.core

TOTAL = sum(x * x for x in range(1000))

CHECKS = {
    "# Use multiprocessing with 4 cores": f"assert result == {TOTAL}; result = None",
    "# Use all available cores": f"assert result == {TOTAL}; result = None",
    "# Sequential execution": f"assert result == {TOTAL}",
    "config = ParallelConfig(backend=ParallelBackend.SEQUENTIAL)": """
assert repr(config) == "ParallelConfig(backend=sequential, n_jobs=None, chunksize=None)"
""",
    "MULTIPROCESSING,\n    n_jobs=4,\n": """
assert config.backend is ParallelBackend.MULTIPROCESSING
assert config.get_executor().n_jobs == 4
""",
    "MULTIPROCESSING,\n    n_jobs=None,\n": """
from joblib import cpu_count
assert config.get_executor().n_jobs == cpu_count()
""",
    "MULTIPROCESSING,\n    n_jobs=-1,\n": "assert config.get_executor().n_jobs == cpu_count()",
    "THREADING,\n    n_jobs=4,\n": """
assert config.backend is ParallelBackend.THREADING
assert config.get_executor().n_jobs == 4
""",
    '"sequential"': """
assert [config.backend for config in configs] == list(ParallelBackend)
for config in configs:
    assert list(config.get_executor().map(square, data)) == [x * x for x in data]
""",
    '"multithreading"': """
for told in "multithreading", "sequential", "threading", "multiprocessing":
    assert repr(told) in message
""",
    "process_quartet(indices": """
assert len(results) == 4845
assert results == [float(k - j) for i, j, k, l in itertools.combinations(range(20), 4)]
""",
    "pair_distance(a": "assert results == [3.0, 4.0, 3.0]",
    "halves = ": """
assert halves == [0.5, 1.0, 1.5]
assert my_parallel_function([1, 2, 3]) == halves
""",
    "itertools.count()": "assert first == [0, 1, 4, 9, 16]",
    "groupby": "assert sizes == [2, 2]",
    "map_unordered(abs": "assert total == 6",
    "12 / x": """
assert good == [3.0, 4.0]
assert "ZeroDivisionError" in where
assert "item 2" in where
""",
    "timeout=60": "assert squares == [x * x for x in range(10)]",
    "chunksize=100": "assert results == [float(k - j) for i, j, k, l in combinations]",
    "rate=0.5": "assert results == [0.5, 1.0, 1.5]",
    "initargs": "assert models == ['HKY85'] * 3",
    "my_model.scale": "assert results == [0.25, 0.5, 0.75]\nprint('to the end')",
}


def test_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    done = run([sys.executable, page_script(tmp_path, CHECKS)], tmp_path)
    assert done.stdout == "to the end\n"
    assert done.stderr == ""
