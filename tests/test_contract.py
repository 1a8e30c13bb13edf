"""Maps on a joblib whose insides are not as we know them: right, and slower at worst."""

import json
import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
import skew

from phylozoo_parallel._loky import contract

PROBE = Path(__file__).parent / "skew_probe.py"
SOURCES = Path(contract.__file__).parent.parent

STANDARD = {"_is_mine", "_register_atexit", "acquire", "append", "mutex", "queue", "send_bytes"}
"""Names of the standard library's: they do not change with joblib."""


def names(table):
    """Return all parts of the names of a table, and where they are."""
    found = {}
    for what, listed in table.items():
        for alternatives in listed.split():
            for part in alternatives.split("|")[0].split("."):
                if part not in STANDARD:
                    found[part] = what
    return found


NEEDED = names(contract.NEEDED)
OPTIONAL = {name: what for name, what in names(contract.OPTIONAL).items() if name not in NEEDED}
MODULES = [f"joblib.{it}" for it in ("parallel", "executor", "_parallel_backends", "externals")] + [
    f"joblib.externals.{it}"
    for it in (
        "loky",
        "loky.process_executor",
        "loky.reusable_executor",
        "loky.backend",
        "loky.backend.resource_tracker",
        "loky.backend.utils",
    )
]
LEFT_OUT = {"DaskDistributedBackend", "_callbacks", "client"}
"""Names that only a map on Dask comes upon."""

SAMPLE = {"BatchedCalls", "submit", "_pool", "_workers", "_executor", "_call_queue", "_CallItem"}
"""What is renamed in every run of the suite: something of each thing."""

ALL = [name for name in [*MODULES, *NEEDED, *OPTIONAL] if name not in LEFT_OUT]

NEEDLESS = pytest.mark.skipif(
    not contract.LOKY.startswith("joblib"), reason="the copies are made of joblib's own loky"
)


def probed(home):
    """Run the probe on the joblib in a directory; return what was wrong, and what was warned of."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(SOURCES.parent)])}
    process = subprocess.Popen(
        [sys.executable, PROBE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        pytest.fail(f"it hangs:\n{out}\n{err}", pytrace=False)
    assert process.returncode == 0, err
    assert "Error" not in err, err
    found = json.loads(out.splitlines()[-1])
    assert not found["wrong"], "\n".join(found["wrong"].values())
    return found["warnings"]


def one_warning(warned, *words):
    """Tell whether there was the one warning, with these words."""
    begin = f"RuntimeWarning: joblib {joblib.__version__} is not as"
    return len(warned) == 1 and warned[0].startswith(begin) and all(it in warned[0] for it in words)


def whole_run(names):
    """Mark what is not run with the whole suite."""
    return [it if it in SAMPLE else pytest.param(it, marks=pytest.mark.contract) for it in names]


@NEEDLESS
@pytest.mark.parametrize("name", whole_run(ALL))
def test_a_name_that_has_changed(name, tmp_path):
    skew.renamed(tmp_path, name)
    warned = probed(tmp_path)
    if name in NEEDED:
        assert one_warning(warned, name)
    elif name in OPTIONAL:
        assert not warned
    else:
        assert not warned or one_warning(warned)
