"""``python -m benchmarks``: run the rows, print the table, write JSON and a chart."""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

from benchmarks import report
from benchmarks.rows import ROWS, MemoryRow

SECONDS = 600
"""Seconds after which a row is taken to hang."""


def options():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to run; all of them")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--quick", action="store_true", help="try every row once, at a tiny size")
    parser.add_argument("--repeat", type=int, default=0, metavar="N", help="runs of a candidate")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row is named {', '.join(unknown)}; --list lists them")
    return chosen


def measure(row, chosen):
    """Measure a row in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.measure", row.name]
    command += [str(chosen.quick), str(chosen.repeat)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=SECONDS)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return {"error": f"not done within {SECONDS} s"}
    if process.returncode:
        return {"error": f"exit status {process.returncode}"}
    return json.loads(out.splitlines()[-1])


def main():
    chosen = options()
    rows = [ROWS[name] for name in chosen.rows or ROWS]
    if chosen.list:
        for row in rows:
            print(f"{row.name:20}{row.what}")
        return 0
    found = report.environment()
    print(*report.environment_lines(found), sep="\n", flush=True)
    results = {}
    for row in rows:
        start = monotonic()
        results[row.name] = {"what": row.what, "targets": row.targets, **measure(row, chosen)}
        print(f"{row.name}: {monotonic() - start:.0f} s", file=sys.stderr)
    for kind, headings in (False, report.HEADINGS), (True, report.MEMORY_HEADINGS):
        these = [row for row in rows if isinstance(row, MemoryRow) is kind]
        lines = [line for row in these for line in report.cells(row, results[row.name])]
        if lines:
            print(f"\n{report.table(headings, lines)}")
    if chosen.json:
        everything = {**found, "quick": chosen.quick, "rows": results}
        chosen.json.write_text(json.dumps(everything, indent=1))
    if chosen.svg:
        from benchmarks import chart

        chart.draw(chosen.svg, rows, results)
    return int(any("error" in result for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
