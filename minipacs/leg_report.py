"""Legs as a person, a script, a CI server or a monitoring system reads them. It prints nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.echo_result import Outcome
from minipacs.leg import Leg, Standing
from minipacs.report import as_json, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minipacs.echo_result import EchoResult
    from minipacs.roundtrip import RoundTrip

NAGIOS_OK, NAGIOS_WARNING, NAGIOS_CRITICAL, NAGIOS_UNKNOWN = range(4)
"""The exit codes of a monitoring plugin."""

_NAGIOS_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def leg_as_text(leg: Leg, outcome: str) -> str:
    """Return a leg in one line, and what to change in another; *outcome* is its own word for it, perhaps coloured."""
    time = "" if leg.ms is None else f"{leg.ms:.1f} ms"
    code = f" [{leg.code}]" if leg.code and leg.standing is not Standing.PASSED else ""
    padding = " " * (11 - len(leg.outcome))
    lines = [f"  {leg.leg:10}  {outcome}{padding}  {time:>10}  {leg.reason}{code}".rstrip()]
    if leg.fix:
        lines.append(f"    fix: {leg.fix}")
    return "\n".join(lines)


def round_trip_as_json(result: RoundTrip) -> str:
    """Return a round trip as one JSON object; what there is nothing to say of is null."""
    return as_json(
        {
            "peer": result.peer.label,
            "verdict": result.verdict,
            "enforced": result.enforced,
            "legs": [
                {
                    "leg": leg.leg,
                    "outcome": leg.outcome,
                    "reason": leg.reason or None,
                    "fix": leg.fix or None,
                    "ms": rounded(leg.ms),
                }
                for leg in result.legs
            ],
            "duration_ms": rounded(result.duration_ms),
        }
    )


def leg_of_echo(result: EchoResult) -> Leg:
    """Return an echo as the one leg that it is, called as its target."""
    reason = result.reason or "; ".join(result.observations)
    if result.is_success:
        standing = Standing.PASSED
    elif result.outcome is Outcome.FAILURE and result.echoes:
        standing = Standing.WARNED  # some were answered
    else:
        standing = Standing.FAILED
    return Leg(
        leg=result.peer.label,
        outcome=result.outcome,
        standing=standing,
        code=result.code,
        reason=reason,
        fix=result.fix,
        ms=result.total_ms,
    )


def junit_of_echoes(results: Iterable[EchoResult]) -> str:
    """Return echoes as the XML that CI servers read: a test case a target, which fails when one echo did."""
    failing = frozenset({Standing.FAILED, Standing.WARNED})
    return as_junit("minipacs echo", map(leg_of_echo, results), failing)


def junit_of_round_trip(result: RoundTrip) -> str:
    """Return a round trip as the XML that CI servers read: what only warns fails where it is not mutual."""
    failing = {Standing.FAILED} if result.is_mutual else {Standing.FAILED, Standing.WARNED}
    return as_junit(f"minipacs roundtrip {result.peer.label}", result.legs, frozenset(failing))


def as_junit(suite: str, legs: Iterable[Leg], failing: frozenset[Standing]) -> str:
    """Return the XML that CI servers read: a test case a leg.

    Args:
        suite: its name.
        legs: the test cases.
        failing: of which standing a leg fails.
    """
    from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

    cases = TestSuite(suite)
    for leg in legs:
        case = TestCase(leg.leg, suite.replace(" ", "."), round((leg.ms or 0.0) / 1000, 6))
        if leg.standing in failing:
            failure = Failure(f"{leg.outcome}: {leg.reason}", leg.code or None)
            failure.text = f"fix: {leg.fix}" if leg.fix else ""
            case.result = [failure]
        elif leg.standing is Standing.SKIPPED:
            case.result = [Skipped(leg.reason)]
        else:
            case.system_out = f"{leg.outcome}: {leg.reason}" if leg.reason else leg.outcome
        cases.add_testcase(case)
    document = JUnitXml(suite)
    document.add_testsuite(cases)
    document.update_statistics()  # type: ignore[no-untyped-call]
    xml: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml.decode()}'


def nagios_line(service: str, code: int, text: str, times: Sequence[tuple[str, float | None]]) -> str:
    """Return the one line of a monitoring plugin.

    Args:
        service: what was checked.
        code: the exit code.
        text: what came of it.
        times: what took how many milliseconds; None is left out.
    """
    data = " ".join(f"{_label(name)}={ms:.3f}ms;;;0" for name, ms in times if ms is not None)
    line = f"{service} {_NAGIOS_WORDS[code]} - {text.replace('|', '/')}"
    return f"{line} | {data}" if data else line


def nagios_of_echoes(results: Sequence[EchoResult]) -> tuple[int, str]:
    """Return exit code and line for echoes."""
    legs = [leg_of_echo(result) for result in results]
    bad = [leg for leg in legs if leg.standing is not Standing.PASSED]
    code = NAGIOS_OK
    if bad:
        warns = all(leg.standing is Standing.WARNED for leg in bad)
        code = NAGIOS_WARNING if warns else NAGIOS_CRITICAL
    text = "; ".join(_complaint(leg) for leg in bad) or f"{len(legs)} of {len(legs)} answered"
    return code, nagios_line("ECHO", code, text, [(leg.leg, leg.ms) for leg in legs])


def nagios_of_round_trip(result: RoundTrip) -> tuple[int, str]:
    """Return exit code and line for a round trip: a warning where nothing fails and not all is proved."""
    bad = [leg for leg in result.legs if leg.standing is Standing.FAILED]
    proved_nothing = NAGIOS_CRITICAL if bad else NAGIOS_WARNING
    code = NAGIOS_OK if result.is_mutual else proved_nothing
    text = f"{result.peer.label}: {result.verdict}"
    details = [_complaint(leg) for leg in bad] if code == NAGIOS_CRITICAL else [result.warning]
    text = "; ".join(filter(None, (text, *details)))
    times = [*((leg.leg, leg.ms) for leg in result.legs), ("total", result.duration_ms)]
    return code, nagios_line("ROUNDTRIP", code, text, times)


def _complaint(leg: Leg) -> str:
    fix = f"; fix: {leg.fix}" if leg.fix else ""
    return f"{leg.leg}: {leg.outcome}: {leg.reason}{fix}"


def _label(name: str) -> str:
    """Return a label of performance data: in quotes, without what may not stand in them."""
    return "'" + name.replace("'", "").replace("=", "").replace("|", "/") + "'"
