"""Runs cases: one here, all of them for the table; and says what of one is not as promised."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from . import actions
from .case import ALL, Case
from .cases import RUNS

AROUND = 10.0
"""Seconds for pickling and the like, instead of a minute, in a map with a time limit."""

LIMIT = 120
"""Seconds that a case may take."""


def wrong(case: Case, told: dict[str, Any]) -> list[str]:
    """Return what in the record of a run is not as the case promises."""
    results = list(range(len(told["results"]) if case.results is None else case.results))
    checks = {
        "results": told["results"] == results,
        "runs": case.runs in (None, told["runs"]),
        "logged": case.runs is None or told["logged"] >= case.runs - 1,
        "workers": told["same_workers"] or not case.warm,
        "next": told["next"] is True,
    }
    found = _wrong_error(case, told["error"])
    found += [name for name, right in checks.items() if not right]
    if case.raises is not None:
        found += [f"{name}, going on" for name in _wrong_going_on(case, told["going_on"])]
    return found


def _wrong_error(case: Case, error: dict[str, Any]) -> list[str]:
    places = [] if case.explained else [error["cause"]]
    if sys.version_info >= (3, 11):
        places.append("".join(error["notes"]))
    checks = {
        "type": error["type"] == case.raises,
        "message": all(part in error["message"] for part in case.says),
        "length": case.length in (None, error["length"]),
        "cause": all(part in error["shown"] for part in case.shows),
        "where": all(case.where in text for text in places),
    }
    return [name for name, right in checks.items() if not right]


def _wrong_going_on(case: Case, told: dict[str, Any]) -> list[str]:
    """Return what is wrong about the map with ``return_exceptions=True``."""
    results, kept = told["results"], told["kept"]
    places = [None if str(index) in kept else index for index in range(len(results))]
    found = [] if results == places else ["results"]
    if not case.keeps_going():
        if kept or case.results not in (None, len(results)):
            found.append("where it ends")
        return found + _wrong_error(case, told["error"])
    if told["error"]["type"] is not None:
        found.append(f"ends with {told['error']['type']}")
    if len(results) != ALL:
        found.append("number of results")
    if case.spares and list(kept) != ["7"]:
        found.append("neighbours")
    for index, error in kept.items():
        if index != "7" and error["type"] != case.raises:
            found.append(f"item {index}")
    return found + _wrong_error(case, kept.get("7", told["error"]))


def _causes(error):
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
        yield error


def _shown(error: BaseException | None) -> dict[str, Any]:
    message = "" if error is None else str(error)
    cause = "".join(map(str, _causes(error)))
    shown = "" if error is None else "".join(traceback.format_exception(error))
    return {
        "type": error and type(error).__name__,
        "message": message[:2000],
        "length": len(message),
        "notes": [note[:2000] for note in getattr(error, "__notes__", ())],
        "cause": cause[:10_000] + cause[10_000:][-10_000:],
        "shown": shown[:10_000] + shown[10_000:][-10_000:],
    }


def pool(backend: str) -> set[Any]:
    """Return the ids of the workers."""
    if backend == "multiprocessing":
        return {process.pid for process in actions.workers()}
    return {thread.ident for thread in threading.enumerate() if thread.daemon}


def run(case: Case, backend: str) -> None:
    """Run a case here and print the record of it."""
    out = os.dup(1)  # the case may close the first
    folder = Path(os.environ["FAULTS"])
    logged: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = logged.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)

    for left in folder.iterdir():
        left.unlink()
    if case.cold is not None:
        case.cold()
    from phylozoo_parallel import ParallelConfig
    from phylozoo_parallel._engines import limits

    limits.LEAST = AROUND
    executor = ParallelConfig(backend, n_jobs=2, **case.settings).get_executor()
    before = set()
    if case.cold is None:
        assert list(executor.map(actions.slow, range(4), 1)) == [0, 1, 2, 3]
        before = pool(backend)
    case.before()

    begin = time.monotonic()
    told = {"case": case.name, **_told(case, executor)}
    told["seconds"] = round(time.monotonic() - begin, 2)
    runs = folder / "runs"
    told["runs"] = runs.read_text().splitlines().count("7") if runs.exists() else 0
    told["logged"] = len(logged)
    if case.raises is not None:
        case.before()
        told["going_on"] = _told(case, executor, return_exceptions=True)
    case.healed()
    try:
        told["next"] = list(executor.map(abs, range(-50, 0))) == list(range(50, 0, -1))
    except BaseException as error:
        told["next"] = repr(error)
    told["same_workers"] = before <= pool(backend)
    os.write(out, (json.dumps(told) + "\n").encode())
    os.close(out)
    logging.getLogger().removeHandler(handler)
    if case.last is not None:
        case.last(executor)


def _told(case: Case, executor, **options) -> dict[str, Any]:
    """Run the map of a case, and return its results, what it raised, and what it went past."""
    results, kept, raised = [], {}, None
    try:
        for value in executor.map(case.func, case.items(), case.chunksize, **options):
            if isinstance(value, BaseException):
                kept[len(results)] = _shown(value)
                value = None
            results.append(value[0] if isinstance(value, tuple) else value)
    except BaseException as caught:
        raised = caught
    return {"results": results, "error": _shown(raised), "kept": kept}


def table() -> None:
    """Run every case and print the table."""
    print("| case | backend | raised | results | seconds | same workers | next map | amiss |")
    print("|---|---|---|---|---|---|---|---|")
    for case, backend in RUNS:
        told, amiss = _alone(case, backend)
        cells = 5 * [""]
        if told is not None:
            amiss += wrong(case, told)
            cells = [
                told["error"]["type"] or "",
                str(len(told["results"])),
                f"{told['seconds']:.1f}",
                "yes" if told["same_workers"] else "no",
                "right" if told["next"] is True else re.sub(r"\s+", " ", str(told["next"]))[:60],
            ]
        print("|", " | ".join([case.name, backend, *cells, ", ".join(amiss)]), "|", flush=True)


def _alone(case: Case, backend: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Run a case in an interpreter of its own; return its record, and how it failed to end."""
    amiss = []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", str(__package__), case.name, backend],
            stdout=out,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "FAULTS": folder},
            start_new_session=True,
        )
        try:
            if process.wait(LIMIT):
                amiss.append(f"status {process.returncode}")
        except subprocess.TimeoutExpired:
            amiss.append(f"still running after {LIMIT} s")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        out.seek(0)
        lines = [line for line in out.read().splitlines() if line.startswith("{")]
    return json.loads(lines[0]) if lines else None, amiss


def main(name: str = "", backend: str = "") -> None:
    """Run the table, a case, or those that share an interpreter."""
    if not name:
        table()
    for case, its in RUNS:
        if its == backend and (case.shares() if name == "shared" else case.name == name):
            run(case, backend)
