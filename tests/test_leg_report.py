"""Echoes and round trips as scripts, CI servers and monitoring systems read them."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from minipacs import EchoResult, Outcome, Peer
from minipacs.leg import Leg, Standing
from minipacs.leg_report import (
    as_junit,
    leg_as_text,
    leg_of_echo,
    nagios_line,
    nagios_of_echoes,
    nagios_of_round_trip,
    round_trip_as_json,
)
from minipacs.roundtrip import RoundTrip
from minipacs.verdict import Verdict

from .fakes import answers_with_status, behaves, faking, rejects
from .peers.node import run_minipacs, table

PEER = Peer("orthanc", "ORTHANC", "127.0.0.1", 4242)
OUT = Leg(leg="out", outcome="success", standing=Standing.PASSED, reason="ORTHANC answered", ms=1.23456)
STRANGER = Leg(leg="stranger", outcome="admitted", standing=Standing.WARNED, code="stranger.admitted", reason="x", ms=2)
REGISTERED = Leg(leg="registered", outcome="skipped", standing=Standing.SKIPPED, reason="without --orthanc")
IN = Leg(leg="in", outcome="rejected", standing=Standing.FAILED, code="a.b", reason="not there", fix="add it", ms=3.0)

FAILED = frozenset({Standing.FAILED})


def round_trip(verdict: Verdict, *legs: Leg, enforced: bool | None = True) -> RoundTrip:
    return RoundTrip(peer=PEER, verdict=verdict, enforced=enforced, legs=legs, duration_ms=7.5)


# --- text and JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leg", "text"),
    [
        (OUT, "  out         success          1.2 ms  ORTHANC answered"),
        (REGISTERED, "  registered  skipped                  without --orthanc"),
        (IN, "  in          rejected         3.0 ms  not there [a.b]\n    fix: add it"),
    ],
)
def test_a_leg_is_a_line_and_a_fix(leg: Leg, text: str) -> None:
    assert leg_as_text(leg, leg.outcome) == text


def test_a_coloured_outcome_takes_no_more_room() -> None:
    coloured = leg_as_text(OUT, "\x1b[32msuccess\x1b[0m")
    assert re.sub(r"\x1b\[\d+m", "", coloured) == leg_as_text(OUT, "success")


def test_a_round_trip_is_one_object() -> None:
    result = round_trip(Verdict.WE_DO_NOT_ADMIT_THEM, OUT, REGISTERED, IN)
    assert json.loads(round_trip_as_json(result)) == {
        "peer": "orthanc",
        "verdict": "one-way: we do not admit them",
        "enforced": True,
        "legs": [
            {"leg": "out", "outcome": "success", "reason": "ORTHANC answered", "fix": None, "ms": 1.235},
            {"leg": "registered", "outcome": "skipped", "reason": "without --orthanc", "fix": None, "ms": None},
            {"leg": "in", "outcome": "rejected", "reason": "not there", "fix": "add it", "ms": 3.0},
        ],
        "duration_ms": 7.5,
    }


def test_a_peer_without_a_name_is_called_by_its_address() -> None:
    result = replace(round_trip(Verdict.UNREACHABLE, OUT), peer=Peer("", "A", "::1", 104))
    assert json.loads(round_trip_as_json(result))["peer"] == "A@[::1]:104"


# --- JUnit -----------------------------------------------------------------------------------------------------------


def test_a_leg_is_a_test_case() -> None:
    suites = ElementTree.fromstring(as_junit("minipacs roundtrip orthanc", [OUT, STRANGER, REGISTERED, IN], FAILED))
    assert suites.tag == "testsuites"
    [suite] = suites
    assert {name: suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "minipacs roundtrip orthanc",
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    assert [case.get("name") for case in suite] == ["out", "stranger", "registered", "in"]
    assert {case.get("classname") for case in suite} == {"minipacs.roundtrip.orthanc"}
    assert [case.get("time") for case in suite] == ["0.001235", "0.002", "0.0", "0.003"]
    [failure] = suite[3]
    assert (failure.tag, failure.get("message"), failure.get("type")) == ("failure", "rejected: not there", "a.b")
    assert failure.text == "fix: add it"
    [skip] = suite[2]
    assert (skip.tag, skip.get("message")) == ("skipped", "without --orthanc")
    assert suite[0].findtext("system-out") == "success: ORTHANC answered"


def test_what_warns_fails_when_nothing_is_proved() -> None:
    text = as_junit("s", [STRANGER], FAILED | {Standing.WARNED})
    assert ElementTree.fromstring(text).get("failures") == "1"
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ')


def test_what_is_special_in_xml_is_escaped() -> None:
    leg = replace(IN, reason='<a> & "b" \\x1b')
    [[case]] = ElementTree.fromstring(as_junit("s", [leg], FAILED))
    assert case[0].get("message") == 'rejected: <a> & "b" \\x1b'


# --- monitoring ------------------------------------------------------------------------------------------------------

# Monitoring Plugins Development Guidelines: one line, text, a bar, 'label'=value[UOM];[warn];[crit];[min];[max].
NAGIOS = re.compile(r"[A-Z]+ (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \|( '[^'=|]+'=\d+\.\d{3}ms;;;0)+)?")


def test_a_line_with_performance_data() -> None:
    line = nagios_line("ECHO", 0, "a | b", [("it's=", 1.0), ("b", None), ("c|d", 2.5)])
    assert line == "ECHO OK - a / b | 'its'=1.000ms;;;0 'c/d'=2.500ms;;;0"
    assert NAGIOS.fullmatch(line)


@pytest.mark.parametrize(
    ("result", "code", "line"),
    [
        (
            round_trip(Verdict.MUTUAL, OUT),
            0,
            "ROUNDTRIP OK - orthanc: mutual | 'out'=1.235ms;;;0 'total'=7.500ms;;;0",
        ),
        (
            round_trip(Verdict.MUTUAL, OUT, STRANGER, enforced=False),
            0,
            "ROUNDTRIP OK - orthanc: mutual; ORTHANC lets anybody echo; that it knows us is shown by what it has "
            "registered | 'out'=1.235ms;;;0 'stranger'=2.000ms;;;0 'total'=7.500ms;;;0",
        ),
        (
            round_trip(Verdict.OPEN, OUT, STRANGER, REGISTERED),
            1,
            "ROUNDTRIP WARNING - orthanc: open: the peer admits anybody | "
            "'out'=1.235ms;;;0 'stranger'=2.000ms;;;0 'total'=7.500ms;;;0",
        ),
        (
            round_trip(Verdict.WE_DO_NOT_ADMIT_THEM, OUT, IN),
            2,
            "ROUNDTRIP CRITICAL - orthanc: one-way: we do not admit them; in: rejected: not there; fix: add it | "
            "'out'=1.235ms;;;0 'in'=3.000ms;;;0 'total'=7.500ms;;;0",
        ),
    ],
)
def test_a_round_trip_is_one_line(result: RoundTrip, code: int, line: str) -> None:
    assert nagios_of_round_trip(result) == (code, line)
    assert NAGIOS.fullmatch(line)


def echo(outcome: Outcome, **changes: object) -> EchoResult:
    return replace(EchoResult(peer=PEER, outcome=outcome, total_ms=1.0), **changes)


@pytest.mark.parametrize(
    ("results", "code", "line"),
    [
        (
            [echo(Outcome.SUCCESS), echo(Outcome.SUCCESS, peer=Peer("", "A", "h", 1))],
            0,
            "ECHO OK - 2 of 2 answered | 'orthanc'=1.000ms;;;0 'A@h:1'=1.000ms;;;0",
        ),
        (
            [echo(Outcome.FAILURE, reason="status", fix="mend", echoes=1, requested=2)],
            1,
            "ECHO WARNING - orthanc: failure: status; fix: mend | 'orthanc'=1.000ms;;;0",
        ),
        (
            [echo(Outcome.FAILURE, reason="status", requested=1)],
            2,
            "ECHO CRITICAL - orthanc: failure: status | 'orthanc'=1.000ms;;;0",
        ),
        (
            [echo(Outcome.SUCCESS), echo(Outcome.FAILURE, reason="s", echoes=1), echo(Outcome.UNREACHABLE, reason="r")],
            2,
            "ECHO CRITICAL - orthanc: failure: s; orthanc: unreachable: r | "
            "'orthanc'=1.000ms;;;0 'orthanc'=1.000ms;;;0 'orthanc'=1.000ms;;;0",
        ),
    ],
)
def test_echoes_are_one_line(results: list[EchoResult], code: int, line: str) -> None:
    assert nagios_of_echoes(results) == (code, line)
    assert NAGIOS.fullmatch(line)


def test_an_echo_is_one_leg() -> None:
    leg = leg_of_echo(echo(Outcome.SUCCESS, observations=("a", "b")))
    assert (leg.leg, leg.outcome, leg.standing, leg.reason) == ("orthanc", "success", Standing.PASSED, "a; b")


# --- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "peers.toml").write_text(table())
    return tmp_path


@pytest.mark.parametrize(
    ("form", "codes"),
    [("text", (0, 1)), ("json", (0, 1)), ("junit", (0, 1)), ("nagios", (0, 2))],
)
@pytest.mark.parametrize("command", ["echo", "roundtrip"])
def test_every_format_tells_the_truth_in_its_exit_code(
    folder: Path, form: str, codes: tuple[int, int], command: str
) -> None:
    with faking(behaves) as good, faking(rejects(1, 1, 3)) as bad:
        target = str(good.peer)
        if command == "roundtrip":  # which a peer that lets anybody echo does not pass
            done = run_minipacs(folder, command, target, "--format", form)
            assert done.returncode == 1
        else:
            assert run_minipacs(folder, command, target, "--format", form).returncode == codes[0]
        done = run_minipacs(folder, command, str(bad.peer), "--format", form)
    assert (done.returncode, done.stderr) == (codes[1], "")
    if form == "json":
        assert json.loads(done.stdout)["peer"] in {None, str(bad.peer)}
    elif form == "junit":
        assert ElementTree.fromstring(done.stdout).get("failures") == "1"
    elif form == "nagios":
        assert NAGIOS.fullmatch(done.stdout.removesuffix("\n"))
    assert "FAKE does not know our AE title MINIPACS" in done.stdout


def test_several_echoes_are_one_document(folder: Path) -> None:
    with faking(behaves) as good, faking(answers_with_status(0x0122)) as bad:
        done = run_minipacs(folder, "echo", str(good.peer), str(bad.peer), "--format", "junit")
    [suite] = ElementTree.fromstring(done.stdout)
    assert [case.get("name") for case in suite] == [str(good.peer), str(bad.peer)]
    assert (suite.get("failures"), done.returncode) == ("1", 1)


@pytest.mark.parametrize("command", ["echo", "roundtrip"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no peer is called nobody in conf/peers.toml; it has no peers"),
        (["no|total=1ms"], "no peer is called no/total=1ms in conf/peers.toml; it has no peers"),
        (["A@h:1", "--nosuch"], "No such option '--nosuch'."),
        (["A@h:1", "--peers", "none.toml", "--config", "none.toml"], "none.toml: file: must be readable"),
    ],
)
def test_what_cannot_be_checked_is_unknown_to_monitoring(
    folder: Path, command: str, arguments: list[str], said: str
) -> None:
    """It reads standard output, and would take exit code 2 for a peer that is down."""
    for form in (["--format", "nagios"], ["--format=nagios"]):
        done = run_minipacs(folder, command, *arguments, *form)
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout.startswith(f"MINIPACS UNKNOWN - {said}")
        assert done.stdout.count("\n") == 1
