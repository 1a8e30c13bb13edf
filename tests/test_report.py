"""``python -m phylozoo_parallel`` tells the truth about the environment it runs in."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import pytest
from environments import (
    Environment,
    only_ours,
    phylozoo_elsewhere,
    phylozoo_version,
    run,
    with_phylozoo,
)
from joblib._parallel_backends import LokyBackend

from phylozoo_parallel import __main__ as report


def told(environment: Environment, directory: Path, status: int, *path: Path) -> dict[str, Any]:
    """Run the report as text and as JSON; check that they agree, and return the JSON."""
    command = [environment.python, "-m", "phylozoo_parallel"]
    text = run(command, directory, path, status).stdout
    answer: dict[str, Any] = json.loads(run([*command, "--json"], directory, path, status).stdout)
    parts = [answer["versions"], answer["cores"].pop("limits"), *answer.values()]
    for value in [value for part in parts for value in part.values() if value is not None]:
        assert str(value) in text
    missing = [name for name, found in answer["versions"].items() if found is None]
    assert [line.split()[0] for line in text.splitlines() if line.endswith("installed")] == missing
    return answer


def test_the_import_path_is_ours_beside_phylozoo(tmp_path: Path) -> None:
    newest = phylozoo_version("newest")
    environment = with_phylozoo(newest)
    answer = told(environment, tmp_path, 0)
    whose = answer["phylozoo.utils.parallel"]
    assert whose["in_charge"] == "ours"
    assert Path(whose["file"]).parts[-4:] == ("phylozoo", "utils", "parallel", "__init__.py")
    assert Path(whose["file"]).parents[2] == Path(whose["phylozoo"]).parent
    assert "beside" in whose["why"]
    assert whose["remedy"] == "Nothing to do."
    assert answer["versions"]["phylozoo"] == newest
    assert answer["versions"]["python"] == platform.python_version()


def test_the_import_path_is_ours_without_phylozoo(tmp_path: Path) -> None:
    answer = told(only_ours(), tmp_path, 0)
    whose = answer["phylozoo.utils.parallel"]
    assert whose["in_charge"] == "ours"
    assert whose["phylozoo"] is None
    assert "not installed" in whose["why"]
    assert answer["versions"]["phylozoo"] is answer["versions"]["numpy"] is None


def test_the_import_path_may_be_phylozoos_own(tmp_path: Path) -> None:
    newest = phylozoo_version("newest")
    site = phylozoo_elsewhere(newest)
    answer = told(only_ours(), tmp_path, 1, site)
    whose = answer["phylozoo.utils.parallel"]
    assert whose["in_charge"] == "PhyloZoo's"
    assert Path(whose["file"]) == site / "phylozoo" / "utils" / "parallel.py"
    assert str(site) in whose["why"]
    assert "phylozoo_parallel" in whose["remedy"]
    assert answer["versions"]["phylozoo"] == newest


BROKEN = {
    "a wrong line": ("parallel = = 1", "SyntaxError"),
    "a missing package": ("import no_such_package", "no_such_package"),
    "another's module": ("class Parallel: pass", "ParallelConfig"),
    "an interpreter that dies": ("import os; os._exit(3)", "status 3"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_import_path_is_reported(case: str, tmp_path: Path) -> None:
    code, reason = BROKEN[case]
    utils = tmp_path / "phylozoo" / "utils"
    utils.mkdir(parents=True)
    for package in utils.parent, utils:
        (package / "__init__.py").touch()
    (utils / "parallel.py").write_text(code)
    whose = told(only_ours(), tmp_path, 2, tmp_path)["phylozoo.utils.parallel"]
    assert whose["in_charge"] == "broken"
    assert reason in whose["why"]
    assert "phylozoo_parallel" in whose["remedy"]
    if whose["file"] is not None:
        assert Path(whose["file"]) == utils / "parallel.py"
        assert whose["file"] in whose["remedy"]


def test_a_missing_shim_is_reported(tmp_path: Path) -> None:
    environment = Environment("loky")
    source = Path(report.__file__).parent
    (tmp_path / "phylozoo_parallel").symlink_to(source, target_is_directory=True)
    answer = told(environment, tmp_path, 2)
    assert "No module named 'phylozoo'" in answer["phylozoo.utils.parallel"]["why"]
    assert "install phylozoo-parallel" in answer["phylozoo.utils.parallel"]["remedy"]
    assert answer["versions"]["phylozoo-parallel"] is None


def test_the_report_lists_versions() -> None:
    found = report.versions()
    assert found["joblib"] == joblib.__version__
    assert found["loky"] == version("loky")
    assert found["phylozoo-parallel"] == version("phylozoo-parallel")


def cores_with(directory: Path, **variables: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "phylozoo_parallel", "--json"]
    cores: dict[str, Any] = json.loads(run(command, directory, (), 0, variables).stdout)["cores"]
    return cores


def test_the_report_counts_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    cores = cores_with(tmp_path)
    assert cores["available"] == joblib.cpu_count()
    assert cores["limits"]["logical cores"] == os.cpu_count()
    assert cores["limits"]["LOKY_MAX_CPU_COUNT"] is None


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_the_report_says_what_limits_the_cores(tmp_path: Path) -> None:
    cores = cores_with(tmp_path, LOKY_MAX_CPU_COUNT="1")
    assert (cores["available"], cores["limits"]["LOKY_MAX_CPU_COUNT"]) == (1, 1)
    assert "LOKY_MAX_CPU_COUNT" in cores["why"]
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            cores = cores_with(tmp_path)
        finally:
            os.sched_setaffinity(0, before)
        assert (cores["available"], cores["limits"]["CPU affinity"]) == (1, 1)
        assert "CPU affinity" in cores["why"]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_the_report_names_a_container_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A quota needs a container: here loky counts as it would in one. In a process of its own,
    # since importing loky changes which of the two lokys starts joblib's workers.
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    code = (
        "import json, os, loky; from phylozoo_parallel.__main__ import cores; "
        "loky.cpu_count = lambda: 1; os.sched_getaffinity = lambda _: range(os.cpu_count()); "
        "print(json.dumps(cores()))"
    )
    cores = json.loads(run([sys.executable, "-c", code], tmp_path).stdout)
    assert cores["limits"]["container quota"] == 1
    assert cores["why"] == "container quota"


def test_a_wrong_limit_of_cores_is_reported(tmp_path: Path) -> None:
    cores = cores_with(tmp_path, LOKY_MAX_CPU_COUNT="four")
    assert cores["available"] is None
    assert "four" in cores["why"]


def test_the_report_lists_threads_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LokyBackend.MAX_NUM_THREADS_VARS:
        monkeypatch.delenv(name, raising=False)
    assert report.threads(1) == report.threads(2) == {"n_jobs=-1": 1}
    told = {"n_jobs=2": 6, "n_jobs=4": 3, "n_jobs=8": 1, "n_jobs=-1": 1}
    assert report.threads(12) == told
    for name in LokyBackend.MAX_NUM_THREADS_VARS:
        monkeypatch.setenv(name, "5")
        told[name] = "5"
    assert report.threads(12) == told


def test_the_report_does_not_import_what_it_reports(tmp_path: Path) -> None:
    code = (
        "import sys, phylozoo_parallel.__main__ as report; status = report.main([]); "
        "assert not sys.modules.keys() & {'joblib', 'numpy', 'phylozoo'}; sys.exit(status)"
    )
    run([only_ours().python, "-c", code], tmp_path)
