"""Coverage of lines that run in worker processes, as writing-functions.md sets it up."""

from __future__ import annotations

import re
import sys

import pytest
from environments import ROOT, run

pytest.importorskip("coverage", minversion="7.10")

PAGE = ROOT / "docs" / "writing-functions.md"

MODULE = """
def shorter(length):
    return length / 2
"""

SCRIPT = """
from lengths import shorter
from phylozoo_parallel import ParallelConfig

print(list(ParallelConfig("multiprocessing", n_jobs=2).get_executor().map(shorter, [1, 3])))
"""


def test_lines_that_run_in_workers_are_measured(tmp_path):
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    (settings,) = (block for block in blocks if "coverage" in block)
    (tmp_path / "pyproject.toml").write_text(settings)
    (tmp_path / "lengths.py").write_text(MODULE)
    (tmp_path / "script.py").write_text(SCRIPT)
    # This test may itself run under coverage.
    apart = {"COVERAGE_FILE": ".coverage", "COVERAGE_PROCESS_CONFIG": "", "COVERAGE_CORE": ""}

    def coverage(*arguments):
        return run([sys.executable, "-m", "coverage", *arguments], tmp_path, variables=apart).stdout

    assert coverage("run", "script.py") == "[0.5, 1.5]\n"
    coverage("combine", "-q")
    assert "100%" in coverage("report", "--include=lengths.py")
