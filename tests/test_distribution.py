"""What is uploaded and cited: sdist, wheel, long description, version, workflows."""

from __future__ import annotations

import configparser
import datetime
import email
import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from environments import ROOT, run

import phylozoo_parallel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build sdist and wheel twice, from copies of the sources whose files have other dates."""
    pytest.importorskip("hatchling")
    folders = []
    for year in 1990, 2030:
        copy = tmp_path_factory.mktemp("copy") / "sources"
        skip = shutil.ignore_patterns(".*", "dist", "build", "__pycache__", "_build")
        shutil.copytree(ROOT, copy, ignore=skip)
        date = datetime.datetime(year, 1, 1).timestamp()
        for file in copy.rglob("*"):
            os.utime(file, (date, date))
        run([sys.executable, "-m", "hatchling", "build", "-d", "out"], copy)
        folders.append(copy / "out")
    return folders


def test_sdist_and_wheel_are_the_same_whenever_they_are_built(built: list[Path]) -> None:
    one, other = ({file.name: file.read_bytes() for file in out.iterdir()} for out in built)
    assert len(one) == 2
    assert one == other


def test_twine_finds_nothing_to_complain_of(built: list[Path]) -> None:
    pytest.importorskip("twine")
    files = sorted(built[0].iterdir())
    done = run([sys.executable, "-m", "twine", "check", "--strict", *files], ROOT)
    assert done.stdout.count("PASSED") == 2


def test_the_long_description_has_no_dead_links(built: list[Path]) -> None:
    (wheel,) = built[0].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(file))
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\[[^\]]*\]\(([^)]*)\)", text)
    assert links
    assert all(link.startswith("https://") and link in readme for link in links)
    assert "## How to use it" in text
    assert not metadata.get_all("Project-URL")


def test_the_sdist_builds_the_same_wheel(built: list[Path], tmp_path: Path) -> None:
    (sdist,) = built[0].glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path)
    (sources,) = tmp_path.iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"], sources)
    (wheel,) = (sources / "out").iterdir()
    assert wheel.read_bytes() == (built[0] / wheel.name).read_bytes()


def test_all_files_name_the_same_version() -> None:
    version = re.search('^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert phylozoo_parallel.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_version_is_looked_up_only_when_asked_for(tmp_path: Path) -> None:
    code = "import phylozoo_parallel, sys; assert 'importlib.metadata' not in sys.modules"
    run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"], tmp_path)


def test_ci_names_only_environments_of_tox() -> None:
    workflows = "".join(file.read_text() for file in (ROOT / ".github" / "workflows").glob("*.yml"))
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    named = {name.removeprefix("testenv:") for name in tox.sections()}
    core = re.compile(r"py3\d+t?-(phylozoo|alone)")
    jobs = set(re.findall(r"tox: ([\w-]+)\}", workflows))
    assert len(jobs) > 10
    assert not [job for job in jobs if job not in named and not core.fullmatch(job)]
