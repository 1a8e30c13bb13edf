"""Which version of this library this is."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata


@lru_cache(maxsize=1)
def own() -> str:
    """Return the version that is installed here."""
    try:
        return metadata.version("phylozoo-parallel")
    except metadata.PackageNotFoundError:  # it is on the path, and was never installed
        return "unknown"
