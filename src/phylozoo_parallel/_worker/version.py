"""Which version of this library this is, and whether it is the caller's."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from typing import Any


@lru_cache(maxsize=1)
def own() -> str:
    """Return the version that is installed here."""
    try:
        return metadata.version("phylozoo-parallel")
    except metadata.PackageNotFoundError:  # it is on the path, and was never installed
        return "unknown"


def checked(version: str, *arguments: Any) -> Any:
    """
    Run a chunk where this library has the caller's version.

    It also travels as its own text, and so leans on nothing above; its name and its first
    argument stay as they are in every version.

    Raises
    ------
    ImportError
        It has another one here, or none.
    """
    try:
        from phylozoo_parallel._worker import version as installed

        found = installed.own()
        if found == version:
            from phylozoo_parallel._worker.process import run_in_process

            return run_in_process(*arguments)
    except ImportError as error:
        from importlib import metadata

        found = "none"
        if error.name != "phylozoo_parallel":
            found = metadata.version("phylozoo-parallel")
    import platform

    raise ImportError(
        f"the worker on {platform.node()} has phylozoo-parallel {found}, and the program that "
        f"started the map {version}; install the same version on both"
    )
