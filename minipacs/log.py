"""Logging as the command line sets it up: text for people, JSON for machines. The library configures none."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import msgspec

from minipacs.escape import escape
from minipacs.timestamp import rfc3339

_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}


class TextFormatter(logging.Formatter):
    """One line a record: local time, level, text; coloured by level on a terminal.

    What a record has besides, such as a traceback, stands in lines behind it that begin with two spaces.
    """

    def __init__(self, *, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        colour = _COLOURS.get(record.levelno) if self._colour else None
        return f"{colour}{line}\x1b[0m" if colour else line

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is that of logging
        """Return the traceback, whose lines cannot be taken for records."""
        return "\n".join(f"  {line}" for line in _escaped(super().formatException(ei)))


class JSONFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (RFC 3339, UTC), ``level``, ``event``, and what the event carries.

    A record that was logged with ``extra={"event": …, "fields": …}`` carries its fields; any other is a ``message``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
        }
        fields = getattr(record, "fields", None)
        if fields is None:
            line["message"] = record.getMessage()
            if record.exc_info:
                line["exception"] = "\n".join(_escaped(self.formatException(record.exc_info)))
        else:
            line |= fields
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:  # the name of a file is no text: a lone surrogate is written as an escape
            import json

            return json.dumps(line, separators=(",", ":"))


def _escaped(traceback: str) -> list[str]:
    """Return its lines, safe to show: an exception may hold in its words what a peer sent."""
    return [escape(line) for line in traceback.split("\n")]


def configure(log_format: str, *, debug: bool) -> None:
    """Send what minipacs logs to standard error.

    Args:
        log_format: ``text`` or ``json``.
        debug: whether debug records are shown.
    """
    handler = logging.NullHandler() if sys.stderr is None else logging.StreamHandler(sys.stderr)  # None: closed
    colour = sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter(colour=colour))
    logger = logging.getLogger("minipacs")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False
