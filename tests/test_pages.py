"""Every block of every page: it runs, from top to bottom, and can be pasted into a prompt."""

from __future__ import annotations

import codeop
import os
import random
import re
import subprocess
import sys

import pytest
from environments import ROOT, page_script

import phylozoo_parallel

pytest.importorskip("numpy")

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(r"^```python *(\S*)\n(.*?)^```$", re.M | re.S)

CHECKS = {
    "README.md": {"gc_contents([": "assert gc_contents(['GCAT'], parallel=config) == [0.5]"},
    "index.md": {"len, [": "assert lengths == [4, 5, 3]"},
    "writing-functions.md": {
        "means = ": "assert len(means) == 100",
        "genes = ": "assert [len(gene) for gene in nested] == [10, 10, 10]",
    },
    "recipes.md": {
        "initargs": "assert lengths == [1, 2]",
        "CREATE TABLE": "assert genera == again == ['Vulpes', 'Canis']",
        "joblib.Memory": "assert squares == [0, 1, 4, 9, 16, 25]",
        "TemporaryDirectory": "assert sizes == [4, 2]",
        "subprocess.run": "assert alignments == ['>A\\nACGT\\n\\n', '>B\\nGGC\\n\\n']",
    },
    "physquirrel.md": {
        "squirrel_from_msa(al": "assert network.taxa == set(alignment.taxa_order)",
        "counts = ": "assert counts['KAL153'] > 50",
    },
    "long-runs.md": {
        "failed = ": "assert list(failed) == [3]",
        "others = ": "assert results == [0.0, 0.1, 0.2, 0.4, 0.4, 0.5]",
        "basicConfig": "assert total == 0.0 + 0.1 + 0.2\nassert '3 of 3' in open('run.log').read()",
    },
    "slow.md": {
        "[0.05] * 20": "assert 'speed-up' in str(run)\nassert run.maps[0].items == 20",
        "harmonic_kept": "assert same_sums == sums",
        "def highest_of_walk": "assert same_highest == highest",
        "def open_and_work": "assert same_results == results == list(range(20))",
        "def work_and_write": "assert written == list(range(30))",
        "same_squares": "assert same_squares == squares",
        "threadpool_limits": "assert numpy.allclose(same_values, values)",
        "def row": "assert same == total",
        "genome.bin": "assert again == counts",
        "taxa.sort": "assert len(means) == 41\nassert run.maps[0].items == 41",
    },
    "errors.md": {
        "rates = []": "assert rates == [3, 4]\nassert 'item 2' in where\nassert failed == 2",
        "rest = ": "assert rest == [12]",
        "everything = ": (
            "assert everything[:2] + everything[3:] == [3, 4, 12]\n"
            "assert type(everything[2]) is ZeroDivisionError"
        ),
        "survivors": "assert survivors == [4, 3]\nassert 'item 2' in told\nassert '3' in told",
        "timeout=0.5": "assert 'item 2' in late",
    },
}
"""What is asserted after blocks of the pages that are run here."""

NEEDED = {"physquirrel.md": "physquirrel", "slow.md": "phylozoo.core"}

ELSEWHERE = {
    "interface.md": "test_documented_page",
    "from-joblib.md": "test_from_joblib",
    "randomness.md": "test_randomness",
    "blas.md": "test_blas",
    "pools.md": "test_pools",
    "clusters.md": "test_dask",
}
"""Who runs the other pages."""


def write_alignment(path):
    """Write six sequences along a caterpillar tree, of which the last is half of another."""
    draw = random.Random(1)

    def child(sites):
        return [draw.choice("ACGT") if draw.random() < 0.1 else site for site in sites]

    tips, inner = [], draw.choices("ACGT", k=600)
    for _ in range(5):
        tips.append(child(inner))
        inner = child(inner)
    tips.append(tips[0][:300] + tips[4][300:])
    names = ["A", "B", "C", "D", "F", "KAL153"]
    records = [f">{name}\n{''.join(tip)}\n" for name, tip in zip(names, tips, strict=True)]
    path.write_text("".join(records))


def pages_with_blocks():
    return {page.name for page in PAGES if BLOCK.search(page.read_text("utf-8"))}


def test_every_page_is_tested():
    assert pages_with_blocks() == CHECKS.keys() | ELSEWHERE.keys()
    for page, module in ELSEWHERE.items():
        text = (ROOT / "tests" / f"{module}.py").read_text("utf-8")
        assert page in text or page == "interface.md", f"{module} does not run {page}"


@pytest.mark.parametrize("name", CHECKS)
def test_the_page_runs_from_top_to_bottom(name, run_script, tmp_path, monkeypatch):
    pytest.importorskip(NEEDED.get(name, "joblib"))
    monkeypatch.chdir(tmp_path)
    write_alignment(tmp_path / "hiv.fasta")
    (page,) = (page for page in PAGES if page.name == name)
    script = page_script(tmp_path, CHECKS[name], page).read_text("utf-8")
    done = run_script(f"{script}\nprint('to the end')", timeout=180)
    assert done.stdout.endswith("to the end\n")
    # What recovers says so in the log, which Python prints where nobody has set it up.
    assert name == "errors.md" or done.stderr == ""


def test_the_example_tests_of_the_page_pass(tmp_path):
    page_script(tmp_path, page=ROOT / "docs" / "writing-functions.md")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_tree_lengths.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("10 passed")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_can_be_pasted_into_the_prompt(page):
    """Before CPython 3.13 the prompt ends a statement at the first blank line, and only there."""
    for file, block in BLOCK.findall(page.read_text("utf-8")):
        if file:
            continue
        pending = []
        for line in [*block.splitlines(), ""]:
            pending.append(line)
            try:
                if codeop.compile_command("\n".join(pending), symbol="single"):
                    pending = []
            except SyntaxError as error:
                pytest.fail(f"{error}: after\n" + "\n".join(pending), pytrace=False)
        assert not any(pending), f"does not end: {pending}"


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    found = re.findall(r"auto(?:class|function|exception):: (\w+)", text)
    assert sorted(found) == sorted(phylozoo_parallel.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_are_named_where_a_reader_sees_it(page):
    """What stands behind the backticks is not shown."""
    text = page.read_text("utf-8")
    for found in BLOCK.finditer(text):
        before = text[: found.start()].split("```\n")[-1]
        assert not found[1] or f"`{found[1]}`" in before, found[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert os.path.exists(page.parent / target), target
