"""Results as they are printed: what was not reached is null or left out, and what a user needs is there."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from minipacs import EchoResult, Outcome, Peer
from minipacs.report import echo_as_json, echo_as_text, peer_as_json

ORTHANC = Peer("orthanc", "ORTHANC", "127.0.0.1", 4242)

SUCCESS = EchoResult(
    peer=ORTHANC,
    outcome=Outcome.SUCCESS,
    status=0,
    echoes=1,
    connect_ms=0.1234,
    associate_ms=0.5,
    echo_times_ms=(0.25,),
    release_ms=0.125,
    total_ms=1.23456,
)
UNREACHABLE = EchoResult(
    peer=ORTHANC,
    outcome=Outcome.UNREACHABLE,
    code="unreachable.refused",
    reason="nothing listens",
    fix="start it",
    total_ms=0.5,
)
FAILURE = replace(
    SUCCESS,
    outcome=Outcome.FAILURE,
    code="failure.other",
    reason="status 0x0122",
    fix="enable it",
    status=0x122,
    echoes=0,
)
THREE = replace(SUCCESS, requested=3, echoes=3, echo_times_ms=(3.0, 1.0, 2.0))


def keys(line: str) -> list[str]:
    return list(json.loads(line))


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (
            Peer("orthanc", "ORTHANC", "127.0.0.1", 4242, ("127.0.0.1", "fd00::/8")),  # type: ignore[arg-type]
            '{"name":"orthanc","ae_title":"ORTHANC","host":"127.0.0.1","port":4242,"allow_from":["127.0.0.1","fd00::/8"],"tls":false,"tls_name":null,"certificate":[]}',
        ),
        (
            Peer("ws", 'A"B'),
            r'{"name":"ws","ae_title":"A\"B","host":null,"port":null,"allow_from":[],"tls":false,"tls_name":null,"certificate":[]}',
        ),
    ],
)
def test_a_peer_is_one_object(peer: Peer, line: str) -> None:
    assert peer_as_json(peer) == line


def test_a_success_is_one_object() -> None:
    assert json.loads(echo_as_json(SUCCESS)) == {
        "peer": "orthanc",
        "ae_title": "ORTHANC",
        "host": "127.0.0.1",
        "port": 4242,
        "outcome": "success",
        "status": "0x0000",
        "reason": None,
        "fix": None,
        "observations": [],
        "connect_ms": 0.123,
        "associate_ms": 0.5,
        "echo_ms": 0.25,
        "release_ms": 0.125,
        "total_ms": 1.235,
        "echoes": 1,
    }


@pytest.mark.parametrize("result", [UNREACHABLE, FAILURE, THREE])
def test_every_object_has_the_same_keys_in_the_same_order(result: EchoResult) -> None:
    assert keys(echo_as_json(result)) == keys(echo_as_json(SUCCESS))


@pytest.mark.parametrize(
    ("result", "fields"),
    [
        (
            UNREACHABLE,
            {"outcome": "unreachable", "status": None, "reason": "nothing listens", "fix": "start it", "echoes": 0},
        ),
        (UNREACHABLE, {"connect_ms": None, "associate_ms": None, "echo_ms": None, "release_ms": None, "total_ms": 0.5}),
        (FAILURE, {"outcome": "failure", "status": "0x0122", "echoes": 0}),
        (replace(FAILURE, status=0xC001), {"status": "0xC001"}),
        (THREE, {"echo_ms": 2.0, "echoes": 3}),
        (replace(SUCCESS, peer=Peer("", "ORTHANC", "::1", 4242)), {"peer": None, "host": "::1"}),
        (
            replace(SUCCESS, observations=("unknown item 0x77 ignored",)),
            {"observations": ["unknown item 0x77 ignored"]},
        ),
    ],
)
def test_what_was_not_reached_is_null(result: EchoResult, fields: dict[str, Any]) -> None:
    read = json.loads(echo_as_json(result))
    assert {name: read[name] for name in fields} == fields


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_written_as_it_is_called(outcome: Outcome) -> None:
    assert json.loads(echo_as_json(replace(UNREACHABLE, outcome=outcome)))["outcome"] == outcome.value


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (SUCCESS, "1.2 ms (connect 0.1, associate 0.5, echo 0.2, release 0.1)"),
        (replace(SUCCESS, release_ms=None), "1.2 ms (connect 0.1, associate 0.5, echo 0.2)"),
        (
            THREE,
            "1.2 ms (connect 0.1, associate 0.5, release 0.1); 3 of 3 answered, 0% lost, "
            "1.00 / 2.00 / 3.00 ms (minimum / median / maximum)",
        ),
        (
            replace(SUCCESS, observations=("a", "b")),
            "1.2 ms (connect 0.1, associate 0.5, echo 0.2, release 0.1)\nobserved: a; b",
        ),
        (UNREACHABLE, "nothing listens [unreachable.refused]\nfix: start it"),
        (replace(UNREACHABLE, fix=""), "nothing listens [unreachable.refused]"),
        (replace(UNREACHABLE, requested=3), "nothing listens [unreachable.refused]\nfix: start it"),
        (
            replace(FAILURE, requested=3, echoes=1, echo_times_ms=(1.0, 2.0), observations=("a",)),
            "status 0x0122 [failure.other]\n"
            "echoes: 1 of 3 answered, 67% lost, 1.00 / 1.50 / 2.00 ms (minimum / median / maximum)\n"
            "fix: enable it\n"
            "observed: a",
        ),
    ],
)
def test_a_result_reads_as_times_or_as_reason_and_fix(result: EchoResult, text: str) -> None:
    assert echo_as_text(result) == text
