"""The benchmark runs: every row once, at a tiny size. What it measures is not tested."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

for needed in (
    "phylozoo.utils.exceptions",
    "mpire",
    "physquirrel",
    "matplotlib",
    "numpy",
    "psutil",
):
    pytest.importorskip(needed)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory rows need Linux")

from benchmarks import chart  # noqa: E402
from benchmarks.row import MemoryRow, Row  # noqa: E402

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


def test_the_table_has_every_row_with_machine_and_versions(quick, listed):
    printed = quick[0]
    assert all(f"\n| {name} " in printed for name in listed)
    machine, versions = printed.splitlines()[:2]
    assert " cores (" in machine
    assert all(f"{name} " in versions for name in ("python", "phylozoo-parallel", "joblib"))


def words(file):
    """Return the text of a picture, without spaces: long lines are broken."""
    return "".join("".join(ElementTree.parse(file).getroot().itertext()).split())


def test_the_chart_names_the_timed_rows_in_words(quick):
    rows = json.loads(quick[1].read_text())["rows"]
    shown = words(quick[2])
    assert {name for name, row in rows.items() if "".join(row["what"].split()) in shown} == {
        name for name, row in rows.items() if "seconds" in row
    }


class TestChart:
    """Drawn from figures that are made up: rivals that are equally fast, and rows without any."""

    ROWS = [
        Row("same", "all at once", None, None, {}, {"a": 0.9}, 1, 1, 1),
        Row("none", "nobody to compare with", None, None, {}, {}, 1, 1, 1),
        MemoryRow("memory", "for how much", None, {}, 1, 1),
    ]
    RESULTS = {
        "same": {"seconds": {"ours": [1.0], "a": [1.0], "b": [1.0], "c": [1.0]}},
        "none": {"seconds": {"ours": [1.0]}},
        "memory": {"megabytes": {"parent": 3}},
    }

    @pytest.fixture
    def drawn(self, tmp_path):
        chart.draw(tmp_path / "ratios.svg", self.ROWS, self.RESULTS)
        return tmp_path / "ratios.svg"

    def test_the_chart_leaves_out_rows_without_a_point(self, drawn):
        shown = words(drawn)
        assert "allatonce" in shown
        assert "nobody" not in shown
        assert "howmuch" not in shown

    def test_equal_points_of_the_chart_lie_side_by_side(self, drawn):
        svg = drawn.read_text()
        shapes = dict(re.findall(r'<path id="(m\w+)" d="([^"]*)"', svg))
        marks = re.findall(r'<use xlink:href="#(m\w+)" x="([\d.]+)" y="([\d.]+)"', svg)
        middle = [(shapes[name], y) for name, x, y in marks if marks.count((name, x, y)) == 1]
        colours = {colour for _, colour in chart.STYLES[:3]}
        placed = [(d, y) for d, y in middle if len(d) > 40]
        assert len({y for _, y in placed}) >= 3
        assert all(colour in svg for colour in colours)
        assert len({shape for shape, _ in chart.STYLES}) == len(chart.STYLES)

    def test_the_chart_is_dark_where_the_system_is(self, drawn):
        svg = drawn.read_text()
        assert "prefers-color-scheme: dark" in svg
        for light, dark in chart.DARK.items():
            assert svg.count(f"{light}") > 2, f"{light} is not used"
            assert dark in svg


def test_one_row_can_be_run_alone(tmp_path):
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
