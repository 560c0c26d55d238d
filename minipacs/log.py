"""Logging as the command line sets it up: text for people, JSON for machines. The library configures none.

Who logs never waits until it is read: that is the matter of a thread (minipacs.outlet).
"""

from __future__ import annotations

import logging
import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from minipacs.escape import escape
from minipacs.flood_log import AT_ONCE, FloodLog
from minipacs.outlet import Outlet
from minipacs.timestamp import rfc3339

if TYPE_CHECKING:
    from typing import TextIO

_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}
_MOST_LINES = 100  # of a traceback
_PATIENCE = 1.0  # seconds, in which at the end all is to be read

_outlets: list[Outlet] = []


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
    """Return its lines, safe to show: an exception may hold in its words what a peer sent, however long."""
    lines = traceback.split("\n")
    if (left_out := len(lines) - _MOST_LINES) > 0:
        half = _MOST_LINES // 2
        lines[half:-half] = [f"...(+{left_out} lines)"]
    return [escape(line) for line in lines]


def configure(log_format: str, *, debug: bool) -> None:
    """Send what minipacs logs to standard error, and what the libraries have to say.

    Args:
        log_format: ``text`` or ``json``.
        debug: whether debug records are shown.
    """
    colour = sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    formatter = JSONFormatter() if log_format == "json" else TextFormatter(colour=colour)
    handler = _handler(sys.stderr, formatter)
    logger = logging.getLogger("minipacs")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False
    logging.lastResort = _OfLibraries(handler)
    logging.captureWarnings(True)


def say(line: str) -> None:
    """Write *line* to standard output, and wait a moment at most until it is read.

    Raises:
        OSError: it cannot be written.
    """
    if (descriptor := _descriptor(sys.stdout)) is None:  # it is in memory, where nothing waits
        print(line)
        return
    outlet = Outlet(descriptor, lambda _: b"")
    outlet.put(f"{line}\n".encode(sys.stdout.encoding, "backslashreplace"))
    outlet.end()
    outlet.wait(monotonic() + _PATIENCE)
    if outlet.error is not None:
        raise outlet.error


def close() -> None:
    """Wait a moment for what was said to be read; the rest is given up."""
    deadline = monotonic() + _PATIENCE
    for outlet in _outlets:
        outlet.end()
    while _outlets:
        _outlets.pop().wait(deadline)


class _Handler(logging.Handler):
    """Hands lines to an outlet."""

    def __init__(self, outlet: Outlet, encoding: str) -> None:
        super().__init__()
        self._outlet = outlet
        self._encoding = encoding

    def emit(self, record: logging.LogRecord) -> None:
        """Have it written."""
        self._outlet.put(f"{self.format(record)}\n".encode(self._encoding, "backslashreplace"))

    def close(self) -> None:
        """Take no more."""
        super().close()
        self._outlet.end()


class _OfLibraries(logging.Handler):
    """Logs what libraries warn of and nothing else is told: in our format, and no more often than all else."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__(logging.WARNING)
        self._handler = handler
        self._log = FloodLog()

    def emit(self, record: logging.LogRecord) -> None:
        """Log it."""
        text = f"{record.name}: {escape(record.getMessage().strip())}"
        if (before := self._log.passed_over((record.name, record.lineno), text, AT_ONCE)) is not None:
            record.msg, record.args = f"{text}{before}", None
            self._handler.handle(record)


def _handler(stream: TextIO | None, formatter: logging.Formatter) -> logging.Handler:
    """Return what writes to *stream*; None: it was closed before we began."""
    handler: logging.Handler
    if stream is None:
        handler = logging.NullHandler()
    elif (descriptor := _descriptor(stream)) is None:  # it is in memory, where nothing waits
        handler = logging.StreamHandler(stream)
    else:
        _outlets.append(Outlet(descriptor, lambda count: _dropped(formatter, count)))
        handler = _Handler(_outlets[-1], stream.encoding)
    handler.setFormatter(formatter)
    return handler


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _dropped(formatter: logging.Formatter, count: int) -> bytes:
    """The line for what was dropped."""
    text = f"{count} lines of the log are missing here: they were not read in time"
    fields = {"levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
    event = {"event": "log-dropped", "fields": {"count": count}}
    return f"{formatter.format(logging.makeLogRecord(fields | event))}\n".encode()
