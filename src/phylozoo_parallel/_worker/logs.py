"""
Log records of a worker, for the caller's loggers.

A worker's loggers have the caller's levels while they run its chunk. What they let pass goes to
the caller's handlers, and to those that only this worker has: a handler that a module adds when
it is imported is in both, and would write everything twice.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from phylozoo_parallel._worker import told
from phylozoo_parallel.errors import short

Known = tuple[str, str, str | None]
"""What a handler is known by: its logger, its class, and its file if it has one."""

_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}

_formatter = logging.Formatter()
_call_handlers = logging.Logger.callHandlers
_callers: frozenset[Known] = frozenset()
"""The handlers of the caller."""


class Levels(NamedTuple):
    """What decides which records a process lets pass, and who takes them there."""

    disabled: int
    """Everything up to this level is, by ``logging.disable``."""
    own: tuple[tuple[str, int], ...]
    """Of the loggers that have a level of their own."""
    handlers: frozenset[Known]


class Record(NamedTuple):
    """A log record's attributes, with its message and its traceback as text."""

    attributes: dict[str, Any]

    def plain(self) -> Record:
        """Return it with short texts for what the user added to it and cannot be pickled."""
        added = self.attributes.keys() - _STANDARD
        return Record(self.attributes | {name: _plain(self.attributes[name]) for name in added})

    def repeat(self) -> None:
        """Have the caller's logger of the same name handle it."""
        record = logging.makeLogRecord(self.attributes)
        record.levelname = logging.getLevelName(record.levelno)  # the caller may have named it
        logging.getLogger(record.name).handle(record)


def levels() -> Levels:
    """Return what this process lets pass."""
    root = logging.root
    nobody = logging.PlaceHolder
    loggers: list[Any] = [root, *root.manager.loggerDict.values()]
    own = [it for it in loggers if it.__class__ is not nobody and (it.level or it.handlers)]
    return Levels(
        root.manager.disable,
        tuple((it.name, it.level) for it in own if it.level),
        frozenset(_known(it, handler) for it in own for handler in it.handlers),
    )


def enter(caller: Levels) -> Callable[[], None]:
    """Let pass here what the caller does; return what ends that."""
    global _callers
    logging.Logger.callHandlers = _call  # type: ignore[assignment, method-assign]
    _callers = caller.handlers
    disabled = logging.root.manager.disable
    loggers = ((logging.getLogger(name), level) for name, level in caller.own)
    changed = [(logger, logger.level, level) for logger, level in loggers if logger.level != level]
    for logger, _, level in changed:
        logger.level = level
    anew = changed or disabled != caller.disabled
    if anew:
        logging.disable(caller.disabled)  # which has all loggers look at their levels again

    def leave() -> None:
        for logger, level, _ in changed:
            logger.level = level
        if anew:
            logging.disable(disabled)

    return leave


def _plain(value: Any) -> Any:
    try:
        pickle.dumps(value)
    except Exception:
        return short(value)
    return value


def _known(logger: logging.Logger, handler: logging.Handler) -> Known:
    file = getattr(handler, "baseFilename", None)
    return logger.name, f"{type(handler).__module__}.{type(handler).__qualname__}", file


def _call(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Hand a record to the caller, and to the handlers that the caller does not have."""
    here = told.listener()
    if here is None:
        _call_handlers(logger, record)
        return
    try:
        here.append(_record(record))
    except Exception:  # the arguments do not fit the message
        logging.Handler().handleError(record)
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if record.levelno >= handler.level and _known(at, handler) not in _callers:
                handler.handle(record)
        at = at.parent if at.propagate else None


def _record(record: logging.LogRecord) -> Record:
    text = record.exc_text
    if record.exc_info and not text:
        text = _formatter.formatException(record.exc_info)
    ready = {"msg": record.getMessage(), "args": None, "exc_info": None, "exc_text": text}
    return Record(record.__dict__ | ready)
