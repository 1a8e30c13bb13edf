"""What these pages link to in the documentation of others, from the list in `inventories.txt`.

The inventories that Python, joblib, NumPy and PhyloZoo publish are large and need a network.
"""

from __future__ import annotations

import zlib
from pathlib import Path

HEADER = """\
# Sphinx inventory version 2
# Project: {}
# Version: 0
# The remainder is compressed using zlib.
"""


def written(listed: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory for each project of the list; return Sphinx's `intersphinx_mapping`."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for part in listed.read_text(encoding="utf-8").split("\n\n"):
        (project, address), *entries = (line.split() for line in part.strip().splitlines())
        lines = [f"{name} {kind} 1 {where} -\n" for kind, name, where in entries]
        file = folder / f"{project}.inv"
        packed = zlib.compress("".join(lines).encode())
        file.write_bytes(HEADER.format(project).encode() + packed)
        mapping[project] = (address, str(file))
    return mapping
