"""The log: a line a record, for people or for machines, on standard error and nowhere else."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs.log import JSONFormatter, TextFormatter, configure

from .wire.exchange import bounded

logger = logging.getLogger("minipacs")

LOCAL_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
UTC = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def record(level: int, message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logger.makeRecord("minipacs", level, __file__, 1, message, args, None, extra=extra)


def in_json(made: logging.LogRecord) -> dict[str, object]:
    line = JSONFormatter().format(made)
    assert "\n" not in line
    read: dict[str, object] = json.loads(line)
    assert re.fullmatch(UTC, str(read.pop("time")))
    return read


@pytest.fixture
def _restored() -> Iterator[None]:
    """The logger is afterwards as it was."""
    before = logger.handlers, logger.level, logger.propagate, logging.lastResort
    yield
    logger.handlers, logger.level, logger.propagate, logging.lastResort = before
    logging.captureWarnings(False)


class Terminal(io.StringIO):
    """Standard error, if it says so."""

    def isatty(self) -> bool:
        return True


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.DEBUG, "DEBUG  "),
        (logging.INFO, "INFO   "),
        (logging.WARNING, "WARNING"),
        (logging.ERROR, "ERROR  "),
    ],
)
def test_a_text_line_is_local_time_level_and_message(level: int, word: str) -> None:
    line = TextFormatter(colour=False).format(record(level, "peers: %s", "+ct1"))
    assert re.fullmatch(rf"{LOCAL_TIME} {word} peers: \+ct1", line)


@pytest.mark.parametrize(
    ("level", "colour"), [(logging.DEBUG, ""), (logging.INFO, ""), (logging.WARNING, "33"), (logging.ERROR, "31")]
)
def test_warnings_and_errors_are_coloured(level: int, colour: str) -> None:
    line = TextFormatter(colour=True).format(record(level, "x"))
    assert re.findall(r"\x1b\[(\d+)m", line) == ([colour, "0"] if colour else [])
    assert not colour or (line.startswith("\x1b") and line.endswith("\x1b[0m"))


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_a_json_line_carries_the_fields_of_its_event() -> None:
    fields: dict[str, object] = {"added": ("ct1",), "removed": [], "peer": None, "count": 1, "duration_ms": 1.5}
    assert in_json(record(logging.INFO, "peers: +ct1", event="peers-reloaded", fields=fields)) == {
        "level": "info",
        "event": "peers-reloaded",
        "added": ["ct1"],
        "removed": [],
        "peer": None,
        "count": 1,
        "duration_ms": 1.5,
    }


def test_an_event_without_fields_is_time_level_and_event() -> None:
    assert in_json(record(logging.INFO, "stopped", event="stopped", fields={})) == {"level": "info", "event": "stopped"}


def test_any_other_record_is_a_message() -> None:
    assert in_json(record(logging.WARNING, "%d files", 3)) == {
        "level": "warning",
        "event": "message",
        "message": "3 files",
    }


def test_the_time_is_that_of_the_record_in_utc() -> None:
    made = record(logging.INFO, "x")
    made.created = 1_000_000_000.5
    assert json.loads(JSONFormatter().format(made))["time"] == "2001-09-09T01:46:40.500Z"


def test_an_exception_is_one_line_of_json() -> None:
    made = record(logging.ERROR, "an admission rule failed")
    try:
        raise RuntimeError("broken\nrule")
    except RuntimeError:
        made.exc_info = sys.exc_info()
    read = in_json(made)
    assert read["message"] == "an admission rule failed"
    assert str(read["exception"]).endswith("RuntimeError: broken\nrule")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_cannot_look_like_another_record(form: str) -> None:
    made = record(logging.ERROR, "an admission rule failed")
    try:
        raise RuntimeError("broken\n2026-01-01 00:00:00,000 INFO    forged\x1b[2J\u202e")
    except RuntimeError:
        made.exc_info = sys.exc_info()
    shown = TextFormatter(colour=False).format(made) if form == "text" else str(in_json(made)["exception"])
    assert shown.isascii()
    assert all(line.isprintable() for line in shown.split("\n"))
    assert r"forged\x1b[2J\u202e" in shown
    assert form == "json" or all(line.startswith("  ") for line in shown.split("\n")[1:])


@bounded
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_one_line_of_json_and_read_back(text: str) -> None:
    assert in_json(record(logging.INFO, "%s", text))["message"] == text
    assert in_json(record(logging.INFO, "", event="x", fields={"text": text}))["text"] == text


# --- where to --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_restored")
def test_text_goes_to_standard_error_without_colours_when_that_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("text", debug=False)
    logger.warning("x")
    captured = capsys.readouterr()
    assert re.fullmatch(rf"{LOCAL_TIME} WARNING x\n", captured.err)
    assert not captured.out


@pytest.mark.usefixtures("_restored")
def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure("text", debug=False)
    logger.error("x")
    assert re.fullmatch(r"\x1b\[31m.* ERROR   x\x1b\[0m\n", terminal.getvalue())


@pytest.mark.usefixtures("_restored")
def test_json_on_a_terminal_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure("json", debug=False)
    logger.error("x")
    assert json.loads(terminal.getvalue())["level"] == "error"


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize(("debug", "lines"), [(False, 1), (True, 2)])
def test_debug_records_are_shown_when_asked_for(debug: bool, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", debug=debug)
    logger.debug("x")
    logger.info("x")
    assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.usefixtures("_restored")
def test_configured_twice_each_line_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", debug=True)
    configure("text", debug=False)
    logger.info("x")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.usefixtures("_restored")
def test_the_root_logger_is_left_alone() -> None:
    before = list(logging.getLogger().handlers)
    configure("text", debug=False)
    assert logging.getLogger().handlers == before
    assert logger.propagate is False


def test_the_library_configures_no_logging() -> None:
    assert not logger.handlers
    assert logger.level == logging.NOTSET
    assert logger.propagate
