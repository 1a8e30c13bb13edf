"""The benchmark runs: every row once, at a tiny size. What it measures is not tested."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

for needed in ("phylozoo.utils.exceptions", "mpire", "matplotlib", "numpy", "psutil"):
    pytest.importorskip(needed)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory rows need Linux")

ROOT = Path(__file__).parents[1]


def benchmarks(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def listed():
    return [line.split()[0] for line in benchmarks("--list").stdout.splitlines()]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Run all rows; return what was printed, and the two files."""
    folder = tmp_path_factory.mktemp("benchmarks")
    files = folder / "results.json", folder / "ratios.svg"
    done = benchmarks("--quick", "--json", files[0], "--svg", files[1])
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout, *files


def test_every_row_runs_with_every_candidate(quick, listed):
    found = json.loads(quick[1].read_text())
    assert list(found["rows"]) == listed
    for name, row in found["rows"].items():
        candidates = row.get("seconds") or row["megabytes"]
        assert not row.get("missing"), name
        assert set(row["targets"]) <= set(candidates), name
        assert all(len(seconds) == 1 for seconds in row.get("seconds", {}).values()), name


def test_the_table_has_every_row_and_tells_the_machine_and_the_versions(quick, listed):
    printed = quick[0]
    assert all(f"\n| {name} " in printed for name in listed)
    machine, versions = printed.splitlines()[:2]
    assert " cores (" in machine
    assert all(f"{name} " in versions for name in ("python", "phylozoo-parallel", "joblib"))


def test_the_chart_is_an_svg_of_the_timed_rows(quick):
    rows = json.loads(quick[1].read_text())["rows"]
    text = "".join(ElementTree.parse(quick[2]).getroot().itertext())
    assert {name for name in rows if name in text} == {
        name for name, row in rows.items() if "seconds" in row
    }


def test_one_row_alone_with_so_many_repetitions(tmp_path):
    file = tmp_path / "results.json"
    done = benchmarks("two-threads", "--quick", "--repeat", 3, "--json", file)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert list(rows) == ["two-threads"]
    assert {len(seconds) for seconds in rows["two-threads"]["seconds"].values()} == {3}


def test_an_unknown_row_is_refused():
    done = benchmarks("two-threads", "no-such-row")
    assert done.returncode == 2
    assert "no-such-row" in done.stderr
