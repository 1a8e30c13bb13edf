"""The report of the benchmark: where it ran, and a table of ratios."""

import os
import platform
from importlib import metadata
from pathlib import Path
from statistics import median

DISTRIBUTIONS = ("phylozoo-parallel", "joblib", "loky", "phylozoo", "mpire", "numpy")


def machine():
    import loky
    import psutil

    return {
        "cores": loky.cpu_count(),
        "cpu": cpu_model(),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
    }


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions():
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def environment():
    """Return the machine, the versions, and how busy the machine was at the start."""
    return {"machine": machine(), "versions": versions(), "load": os.getloadavg()[0]}


def environment_lines(found):
    of = found["machine"]
    yield f"{of['cores']} cores ({of['cpu']}), {of['memory']}, {of['system']}"
    yield ", ".join(f"{name} {version or '-'}" for name, version in found["versions"].items())
    yield f"load at the start {found['load']:.2f}"


def ratios(row, result):
    """Yield (ours, rival, our median, their median, ratio, target or None) of a row."""
    medians = {name: median(seconds) for name, seconds in result.get("seconds", {}).items()}
    for ours, mine in medians.items():
        for rival, theirs in medians.items():
            if ours.startswith("ours") and not rival.startswith("ours"):
                yield ours, rival, mine, theirs, mine / theirs, row.targets.get(rival)


def verdict(value, target):
    return "" if target is None else "met" if value <= target else "missed"


HEADINGS = ("row", "candidate", "rival", "ms", "rival ms", "ratio", "target", "")
MEMORY_HEADINGS = ("row", "process", "MB", "target", "")


def cells(row, result):
    """Yield the lines of the table for one row, each a tuple of strings."""
    if "error" in result:
        yield row.name, result["error"]
    for process, grown in result.get("megabytes", {}).items():
        target = row.targets.get(process)
        yield row.name, process, str(round(grown)), f"{target or ''}", verdict(grown, target)
    for ours, rival, mine, theirs, ratio, target in ratios(row, result):
        told = f"{mine * 1000:.2f}", f"{theirs * 1000:.2f}", f"{ratio:.3f}"
        yield row.name, ours, rival, *told, f"{target or ''}", verdict(ratio, target)
    for rival, why in result.get("missing", {}).items():
        yield row.name, "", rival, why


def table(headings, lines):
    """Return a Markdown table."""
    lines = [headings, *(tuple(line) + ("",) * (len(headings) - len(line)) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)
