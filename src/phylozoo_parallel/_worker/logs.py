"""
Log records of a worker, for the caller's loggers.

A worker's loggers have the caller's levels while it runs a chunk. The records that pass go to the
caller's handlers, and to handlers that only the worker has. A handler that is in both processes (a
module adds it when it is imported, say) gets each record only in the caller: it must not write it
twice.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from phylozoo_parallel._worker import notices
from phylozoo_parallel.errors import short

Known = tuple[str, str, str | None]
"""What identifies a handler in both processes: its logger, its class, and its file if any."""

_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}

_formatter = logging.Formatter()
_call_handlers = logging.Logger.callHandlers
_callers: frozenset[Known] = frozenset()
"""The handlers of the caller."""


class Levels(NamedTuple):
    """What decides which records pass in a process, and the handlers that it has."""

    disabled: int
    """The level of ``logging.disable``."""
    own: tuple[tuple[str, int], ...]
    """Names and levels of the loggers that have a level of their own."""
    handlers: frozenset[Known]


class Record(NamedTuple):
    """A log record's attributes, with its message and its traceback as text."""

    attributes: dict[str, Any]

    def plain(self) -> Record:
        """Return the record with short texts in the place of attributes that cannot be pickled."""
        added = self.attributes.keys() - _STANDARD
        return Record(self.attributes | {name: _plain(self.attributes[name]) for name in added})

    def repeat(self) -> None:
        """Handle the record with the caller's logger of the same name."""
        record = logging.makeLogRecord(self.attributes)
        record.levelname = logging.getLevelName(record.levelno)  # the caller may have named it
        logging.getLogger(record.name).handle(record)


def levels() -> Levels:
    """Return the levels and handlers of this process."""
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
    """Set the caller's levels here; return a function that ends that."""
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
        logging.disable(caller.disabled)  # it also clears what loggers have cached of levels

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
    """Send a record to the caller, and give it to the handlers that the caller does not have."""
    current = notices.current()
    if current is None:
        _call_handlers(logger, record)
        return
    try:
        current.append(_record(record))
    except Exception:  # the arguments do not fit the message
        logging.Handler().handleError(record)
    owner: logging.Logger | None = logger
    while owner is not None:
        for handler in owner.handlers:
            if record.levelno >= handler.level and _known(owner, handler) not in _callers:
                handler.handle(record)
        owner = owner.parent if owner.propagate else None


def _record(record: logging.LogRecord) -> Record:
    text = record.exc_text
    if record.exc_info and not text:
        text = _formatter.formatException(record.exc_info)
    ready = {"msg": record.getMessage(), "args": None, "exc_info": None, "exc_text": text}
    return Record(record.__dict__ | ready)
