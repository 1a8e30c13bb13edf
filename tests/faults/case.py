"""
What a case is, and the kinds of which the table has many.

A case maps its function over ten items, 0 to 9, with two workers; whatever goes wrong goes
wrong with item 7.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from . import actions


class Case(NamedTuple):
    """A line of the table."""

    name: str
    func: Callable[..., Any] = actions.at_seven(actions.nothing)
    items: Callable[[], Any] = actions.numbers
    raises: str | None = None
    """Name of the exception's type."""
    says: tuple[str, ...] = ()
    """Parts of its message."""
    shows: tuple[str, ...] = ()
    """Parts of what Python shows of it, with its causes and the traceback in the worker."""
    explained: bool = False
    """Whether it has a cause of the user's own, which in a thread stays its only one."""
    where: str = ""
    """Item and index, in its note and its cause."""
    length: int | None = None
    """Of the message."""
    results: int | None = 7
    """How many come first: None for any number."""
    ends: bool = False
    """Whether the map ends with ``return_exceptions=True``, too: it is not the fault of an item."""
    spares: bool = True
    """Whether item 7 alone fails then."""
    runs: int | None = None
    """How often item 7 runs."""
    warm: bool = True
    """Whether the workers have to be the same afterwards."""
    backends: tuple[str, ...] = ("multiprocessing",)
    chunksize: int | None = None
    settings: dict[str, Any] = {}
    cold: Callable[[], Any] | None = None
    """Happens before the first map of the program."""
    before: Callable[[], Any] = actions.nothing
    """Happens between its first map and the one of the case."""
    healed: Callable[[], Any] = actions.nothing
    """Happens before the map that comes next, which has to be right."""
    last: Callable[..., Any] | None = None
    """Happens before the program ends."""
    stderr: str = ""
    """What may be printed: a regular expression."""
    alone: bool = False
    """Whether it changes the program for good."""

    def shares(self) -> bool:
        """Return whether other cases may run in the same interpreter, before it and after it."""
        around = self.cold, self.last, self.stderr
        return self.warm and not self.alone and not any(around) and self.before is actions.nothing

    def keeps_going(self) -> bool:
        """Return whether with ``return_exceptions=True`` an exception takes item 7's place."""
        return not self.ends and self.raises not in (None, "KeyboardInterrupt")


BOTH = ("multiprocessing", "threading")
ALL = 10
CRASH = "" if sys.platform == "win32" else r"(?s)Fatal Python error: .*"
"""What a worker prints that dies by a signal it can catch."""


def raising(name, action, raises, *says, shows=("in action",), **more):
    """Return the case of an item that raises."""
    return Case(
        f"item raises: {name}",
        actions.at_seven(action),
        raises=raises,
        says=says,
        shows=shows,
        **{"where": "item 7 = 7, in worker", "backends": BOTH, **more},
    )


def dying(name, action, *says, **more):
    """Return the case of a worker that dies whenever it runs item 7."""
    return Case(
        f"worker dies: {name}",
        actions.at_seven(action),
        **{"raises": "WorkerLostError", "says": ("item 7", *says), "warm": False, **more},
    )


def recovered(name, action, **more):
    """Return the case of a worker that dies once."""
    return dying(
        f"{name}, once", actions.once(action), raises=None, **{"says": (), "runs": 2, **more}
    )


def travelling(name, raises, *says, **more):
    """Return the case of something that acts while it is pickled or unpickled."""
    return Case(name, raises=raises, says=says, **more)


LOST = {"warm": False, "raises": "WorkerLostError"}
LATE = {"warm": False, "raises": "TimeoutError", "settings": {"timeout": 1}}
