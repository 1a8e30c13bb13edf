"""
Install the oldest release that ``pyproject.toml`` allows of everything it names, extras included.

::

    python tests/oldest.py

The bounds are read from the installed package, so that they are kept in one place only. Only
what it names is old: pip takes the newest of what those packages need in turn. Where an extra
names a package with two bounds, the higher one counts, as pip would have it.
"""

import re
import subprocess
import sys
from importlib.metadata import requires

BOUND = re.compile(r"([\w.-]+)>=([\w.]+)(?:; (.*))?")
"""What a requirement of ours looks like: its name, its lower bound, where it holds."""


def oldest(requirements: list[str]) -> list[str]:
    """Pin every requirement to its lower bound, whichever extra it belongs to."""
    pins: dict[str, tuple[tuple[int, ...], str]] = {}
    for requirement in requirements:
        found = BOUND.fullmatch(requirement)
        if found is None:
            raise ValueError(f"{requirement!r} should have a lower bound, and nothing else")
        name, version, where = found.groups()
        where = re.sub(r"(?: and )?extra == .\w+.", "", where or "")
        release = tuple(map(int, version.split(".")))
        pin = f"{name}=={version}" + (f"; {where}" if where else "")
        pins[name] = max(pins.get(name, (release, pin)), (release, pin))
    return [pin for _, pin in pins.values()]


if __name__ == "__main__":
    pins = oldest(requires("phylozoo-parallel") or [])
    print(*pins)
    sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "-q", *pins]))
