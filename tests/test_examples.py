"""The bootstrap example, run as its users run it."""

import math
import random
import re
import runpy
import subprocess
import sys
import textwrap
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import joblib
import pytest

pytest.importorskip("phylozoo.utils.exceptions")
np = pytest.importorskip("numpy")

SCRIPT = Path(__file__).parents[1] / "examples" / "bootstrap_splits.py"


ESTIMATE = r"one process: about \d+\.\d s for \d+ replicates, estimated from \d+ of them\n"
GAINED = (
    r"(one process: \d+\.\d s|\d+ worker (process(es)?|threads?): \d+\.\d s with their start, "
    r"(\d+|less than 0)\.\d times as fast(: too little work for workers, or the cores are busy)?)\n"
)


def run(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def output(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    # Nothing but the times on standard error: no warning, no traceback, no bar in a file.
    assert re.fullmatch(ESTIMATE + GAINED, done.stderr)
    return done.stdout


def rows(text):
    """Return {split: (support, count, unresolved)} in the order of the table."""
    table = {}
    for line in text.partition("unresolved  split\n")[2].splitlines():
        support, count, unresolved, split = line.split(maxsplit=3)
        left, right = (frozenset(side.split(", ")) for side in split.split(" | "))
        table[frozenset([left, right])] = (support, int(count), int(unresolved))
    return table


def write_fasta(path, sequences):
    path.write_text("".join(f">{name}\n{sites}\n" for name, sites in sequences.items()))
    return path


def independent_counts(sequences, replicates, seed):
    """Do the bootstrap again in plain Python: {split: count}, {quartet: unresolved}."""
    length = len(next(iter(sequences.values())))
    counts, unresolved = {}, {}
    for child in np.random.SeedSequence(seed).spawn(replicates):
        columns = np.random.default_rng(child).integers(0, length, length).tolist()
        distance = {}
        for one, other in combinations(sequences, 2):
            both = [(sequences[one][i].upper(), sequences[other][i].upper()) for i in columns]
            both = [(x, y) for x, y in both if x in "ACGT" and y in "ACGT"]
            differing = sum(x != y for x, y in both)
            if both and 4 * differing < 3 * len(both):
                corrected = -3 / 4 * math.log(1 - 4 / 3 * differing / len(both))
                distance[frozenset([one, other])] = corrected
        for a, b, c, d in combinations(sequences, 4):
            pairs = [((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c))]
            splits = [frozenset(map(frozenset, pair)) for pair in pairs]
            undefined = any(side not in distance for split in splits for side in split)
            sums = [sum(distance.get(side, 0) for side in split) for split in splits]
            ranked = sorted(sums)
            if undefined or ranked[1] - ranked[0] < 1e-9:
                quartet = frozenset([a, b, c, d])
                unresolved[quartet] = unresolved.get(quartet, 0) + 1
            else:
                split = splits[sums.index(ranked[0])]
                counts[split] = counts.get(split, 0) + 1
    return counts, unresolved


@pytest.fixture(scope="module")
def reference():
    return output("--replicates", 30, "--rows", 0, "--backend", "sequential")


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("backend", ["sequential", "threading", "multiprocessing"])
def test_the_output_depends_on_the_seed_alone(reference, backend, workers):
    options = ("--replicates", 30, "--rows", 0, "--backend", backend, "--workers", workers)
    assert output(*options) == reference


def test_a_simulated_alignment_is_analysed(reference):
    assert reference.startswith(
        "an alignment simulated by the Jukes-Cantor model (seed 1): 30 taxa, 4000 sites, "
    )
    assert "Jukes-Cantor distances and the four-point condition" in reference.splitlines()[1]
    table = rows(reference)
    assert len({frozenset.union(*split) for split in table}) == math.comb(30, 4)
    counts = [count for _, count, _ in table.values()]
    assert all(one >= other for one, other in pairwise(counts))
    assert all(support == f"{count / 30:.3f}" for support, count, _ in table.values())


def test_seed_and_rows_can_be_chosen(reference):
    text = output("--replicates", 30, "--rows", 5, "--backend", "sequential", "--seed", 2)
    *lines, last = text.splitlines()
    assert len(lines) == 4 + 5
    assert re.fullmatch(r"\.\.\. and \d+ more splits \(--rows 0 shows all\)", last)
    assert lines[2] != reference.splitlines()[2]


def test_a_split_in_every_replicate_has_support_one(tmp_path):
    one = "ACGT" * 50
    other = "ACGT" * 40 + "CATG" * 10
    sequences = {"dog": one, "wolf": one, "cat": other, "lynx": other}
    counts, unresolved = independent_counts(sequences, 40, seed=1)
    certain = frozenset([frozenset(["dog", "wolf"]), frozenset(["cat", "lynx"])])
    assert (counts, unresolved) == ({certain: 40}, {})
    path = write_fasta(tmp_path / "pets.fasta", sequences)
    assert rows(output(path, "--replicates", 40)) == {certain: ("1.000", 40, 0)}


def test_supports_match_an_independent_computation(tmp_path):
    draw = random.Random(3)
    ancestor = draw.choices("ACGT", k=60)
    sequences = {
        f"taxon {name}": "".join(
            draw.choice("ACGTacgt-NRy") if draw.random() < 0.4 else site for site in ancestor
        )
        for name in "ABCDE"
    }
    # Few sites in common, and in some replicates none: undefined distances.
    sequences["taxon F"] = "-" * 57 + "".join(ancestor[57:])
    sequences["taxon A"] = sequences["taxon A"][:58] + "--"
    counts, unresolved = independent_counts(sequences, 50, seed=7)
    assert unresolved
    assert 1 < max(counts.values()) < 50

    path = write_fasta(tmp_path / "small.fa", sequences)
    text = output(path, "--replicates", 50, "--seed", 7, "--rows", 0)
    assert rows(text) == {
        split: (f"{count / 50:.3f}", count, unresolved.get(frozenset.union(*split), 0))
        for split, count in counts.items()
    }
    assert re.search("undefined distance: taxon A, taxon F in [1-9][0-9]* replicates", text)


def test_a_tie_resolves_no_split(tmp_path):
    path = write_fasta(tmp_path / "same.fasta", dict.fromkeys("ABCD", "ACGUUGCA" * 5))
    text = output(path, "--replicates", 10, "--backend", "sequential")
    assert "0.0% gaps" in text  # RNA counts as known
    assert rows(text) == {}


FASTA = {
    "three taxa": (">A\nACGT\n>B\nACGT\n>C\nACGT\n", "a quartet needs four taxa, and there are 3"),
    "name twice": (">A\nACGT\n>B\nACGT\n>A\nACGA\n", "more than one sequence is named 'A'"),
    "no sequence": (">A\n>B\nACGT\n", "there is no sequence under the name 'A'"),
    "lengths": (">A\nACGT\n>B\nACG\n>C\nACGT\n>D\nACGT\n", "same length"),
    "not FASTA": ("Dear reader,\n", "before first header"),
    "empty": ("", "No sequences found"),
    "protein": (">A\nMKLV\n>B\nMKIV\n>C\nMRLV\n>D\nMKLI\n", "'L' is an amino acid"),
    "not text": (b"\xff\xfe\x00\x01", "decode"),
}


@pytest.fixture(scope="module")
def main():
    return runpy.run_path(str(SCRIPT))["main"]


@pytest.mark.parametrize("wrong", FASTA)
def test_a_wrong_file_is_reported_in_one_line(main, monkeypatch, capsys, tmp_path, wrong):
    content, told = FASTA[wrong]
    path = tmp_path / "wrong.fasta"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(sys, "argv", ["bootstrap_splits.py", str(path)])
    assert main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"bootstrap_splits.py: cannot use {path}: ")
    assert told in err
    assert err.count("\n") == 1


def test_a_missing_file_ends_the_script_with_status_2(tmp_path):
    path = tmp_path / "nowhere.fasta"
    done = run(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bootstrap_splits.py: cannot use {path}: No such file or directory\n"


@pytest.mark.parametrize(
    "option", [("--replicates", "0"), ("--workers", "0"), ("--workers", "-2"), ("--seed", "x")]
)
def test_a_wrong_option_is_reported(main, monkeypatch, capsys, option):
    monkeypatch.setattr(sys, "argv", ["bootstrap_splits.py", *option])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert f"argument {option[0]}: not a whole number from" in err
    assert (", or -1: " in err) == (option[0] == "--workers")


PETS = {"dog": "ACGT" * 20, "wolf": "ACGT" * 20, "cat": "CATG" * 20, "lynx": "CATG" * 20}


def test_n_jobs_may_be_every_core(tmp_path):
    path = write_fasta(tmp_path / "pets.fasta", PETS)
    done = run(path, "--replicates", 9, "--workers", -1)
    assert done.returncode == 0, done.stderr
    assert f"{joblib.cpu_count()} worker process" in done.stderr


def test_the_printed_estimate_and_gain_agree_with_the_clock(main, monkeypatch, capsys, tmp_path):
    """The estimate is the median times the replicates, however busy the machine is."""
    path = write_fasta(tmp_path / "pets.fasta", PETS)
    ticks = iter([0.0, 0.5] * 5 + [0.0, 10.0])  # half a second a replicate; ten for the map
    monkeypatch.setitem(main.__globals__, "time", SimpleNamespace(perf_counter=ticks.__next__))
    monkeypatch.setattr(
        sys, "argv", [str(SCRIPT), str(path), "--backend", "threading", "--replicates", "100"]
    )
    assert main() == 0
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "one process: about 50.0 s for 100 replicates, estimated from 5 of them",
        "1 worker thread: 10.0 s with their start, 5.0 times as fast",
    ]


@pytest.mark.parametrize("wanted", [True, False, None])
def test_the_example_shows_a_bar(wanted, tmp_path):
    """It is shown when asked for, never when refused, and otherwise only in a terminal."""
    pytest.importorskip("tqdm")
    path = write_fasta(tmp_path / "pets.fasta", PETS)
    option = {True: ["--progress"], False: ["--no-progress"], None: []}[wanted]
    done = run(path, "--replicates", 9, "--backend", "threading", *option)
    assert done.returncode == 0, done.stderr
    assert ("replicates: 100%" in done.stderr) is bool(wanted)


def test_the_bar_is_drawn_in_a_terminal(tmp_path):
    pytest.importorskip("tqdm")
    pexpect = pytest.importorskip("pexpect")
    path = write_fasta(tmp_path / "pets.fasta", PETS)
    arguments = [str(SCRIPT), str(path), "--replicates", "9", "--backend", "threading"]
    terminal = pexpect.spawn(sys.executable, arguments, timeout=60, encoding="utf-8")
    terminal.expect("replicates: 100%")
    terminal.expect("times as fast")
    terminal.expect(pexpect.EOF)


def test_a_bar_without_tqdm_is_reported_in_one_line(main, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "argv", ["bootstrap_splits.py", "--progress"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "progress needs tqdm" in capsys.readouterr().err.splitlines()[-1]


class TestPlot:
    @pytest.fixture(autouse=True)
    def _needed(self):
        pytest.importorskip("matplotlib")

    def test_the_plot_shows_the_tree_of_the_simulation(self, tmp_path):
        """Its branches, with the weakest support, for an alignment without doubt."""
        sites = np.random.default_rng(1).integers(0, 4, (1, 400)).repeat(6, axis=0)
        for number, side in enumerate(([0, 1], [0, 1, 2], [4, 5])):
            columns = slice(40 * number, 40 * number + 40)
            sites[side, columns] = (sites[side, columns] + 1) % 4
        sequences = {
            name: "".join("ACGT"[site] for site in row)
            for name, row in zip("ABCDEF", sites, strict=True)
        }
        path = write_fasta(tmp_path / "six.fasta", sequences)
        picture = tmp_path / "tree.svg"
        code = f"""
            import sys
            sys.path.insert(0, {str(SCRIPT.parent)!r})
            from bootstrap_splits import quartet_supports, read_alignment
            from quartet_tree import plot_tree, tree_splits
            supports = quartet_supports(read_alignment({str(path)!r}), 50, 1)
            print(sorted("".join(sorted(min(side, set("ABCDEF") - side, key=sorted)))
                         for side in tree_splits(supports, 50)))
            print(set(tree_splits(supports, 50).values()))
            import matplotlib
            matplotlib.rcParams["svg.fonttype"] = "none"
            plot_tree({str(picture)!r}, supports, 50)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["['AB', 'ABC', 'ABCD']", "{1.0}"]
        words = "".join(ElementTree.parse(picture).getroot().itertext()).split()
        assert set("ABCDEF") <= set(words)
        assert words.count("1.00") == 3

    def test_the_plot_is_written_from_the_command_line(self, tmp_path):
        path = write_fasta(tmp_path / "pets.fasta", PETS)
        picture = tmp_path / "tree.png"
        done = run(path, "--replicates", 9, "--backend", "sequential", "--plot", picture)
        assert done.returncode == 0, done.stderr
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_an_unknown_picture_format_is_reported_before_the_work(self, tmp_path):
        done = run("--plot", tmp_path / "tree.xyz")
        assert (done.returncode, done.stdout) == (2, "")
        assert "tree.xyz': its name has to end as .eps" in done.stderr.splitlines()[-1]

    def test_a_missing_folder_is_reported_in_one_line(self, tmp_path):
        path = write_fasta(tmp_path / "pets.fasta", PETS)
        picture = tmp_path / "nowhere" / "tree.png"
        done = run(path, "--replicates", 9, "--backend", "sequential", "--plot", picture)
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]
        assert last == f"bootstrap_splits.py: cannot write {picture}: No such file or directory"
