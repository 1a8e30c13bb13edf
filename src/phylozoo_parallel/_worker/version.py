"""Checks that a worker on another machine has the caller's version of this library."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def own() -> str:
    """Return the version that is installed here."""
    from importlib import metadata  # slow to import, and not needed on this machine

    try:
        return metadata.version("phylozoo-parallel")
    except metadata.PackageNotFoundError:  # it is in sys.path without having been installed
        return "unknown"


def checked(version: str, *arguments: Any) -> Any:
    """
    Run a chunk, if this machine has the caller's version of this library.

    This function is also sent as its source text (see :mod:`.guard`), so it must not use anything
    else of this module. Its name and its first argument must be the same in every version.

    Raises
    ------
    ImportError
        This machine has another version of this library, or none.
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
