"""DCMTK in both roles: its echoscu calls our node, and our echo calls its storescp."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minipacs import AssociationOutcome, AssociationRecord, EchoResult, Outcome, Peer, VerificationSCP, echo
from minipacs.settings import Timeouts
from tests.peers.dcmtk import ECHOSCU, STORESCP, StoreSCP, echoscu, storescp
from tests.peers.required import required
from tests.raw import asking, raw_peer

pytestmark = required(ECHOSCU, STORESCP)

TIMEOUT = 5.0

# --- it calls us ---------------------------------------------------------------------------------------------------


@pytest.fixture
def node() -> Iterator[VerificationSCP]:
    peers = (
        Peer("workstation", "ECHOSCU"),
        Peer("far", "FAR_AWAY", allow_from=("192.0.2.0/24",)),  # type: ignore[arg-type]
    )
    with VerificationSCP(peers, port=0, timeouts=Timeouts(stop=0.2)) as node:
        yield node


def called(node: VerificationSCP, *options: str | int) -> tuple[int, str, AssociationRecord]:
    """What echoscu exits with and says, and what our node tells of it."""
    run = echoscu("--verbose", *options, "127.0.0.1", node.port)
    [record] = node.wait_for_associations(1)
    return run.returncode, run.stdout + run.stderr, record


def test_its_echo_is_answered(node: VerificationSCP) -> None:
    exit_code, said, record = called(node, "-aec", "MINIPACS")
    assert exit_code == 0
    assert "Association Accepted" in said
    assert "Received Echo Response (Success)" in said
    assert (record.outcome, record.peer, record.echoes) == (AssociationOutcome.RELEASED, "workstation", 1)
    assert (record.observations, record.reason) == ((), None)
    assert str(record.implementation_version).startswith("OFFIS_DCMTK_")


def test_fifty_echoes_share_one_association(node: VerificationSCP) -> None:
    exit_code, said, record = called(node, "-aec", "MINIPACS", "--repeat", 50)
    assert exit_code == 0
    assert said.count("Received Echo Response (Success)") == 50
    assert (record.outcome, record.echoes) == (AssociationOutcome.RELEASED, 50)


@pytest.mark.parametrize("options", [("-pts", 38), ("-ppc", 128), ("-pts", 38, "-ppc", 128), ("-pdu", 4096)], ids=str)
def test_whatever_it_proposes_is_negotiated(options: tuple[str | int, ...], node: VerificationSCP) -> None:
    exit_code, said, record = called(node, "-aec", "MINIPACS", *options)
    assert exit_code == 0
    assert "Received Echo Response (Success)" in said
    assert (record.outcome, record.echoes, record.observations) == (AssociationOutcome.RELEASED, 1, ())


def test_it_may_abort(node: VerificationSCP) -> None:
    _, _, record = called(node, "-aec", "MINIPACS", "--abort")
    assert (record.outcome, record.code, record.echoes) == (AssociationOutcome.ABORTED, "inbound.aborted", 1)


REJECTIONS = {
    "stranger": (("-aet", "STRANGER"), "Calling AE Title Not Recognized", "1/1/3", "admission.calling-ae-title"),
    "small letters": (("-aet", "echoscu"), "Calling AE Title Not Recognized", "1/1/3", "admission.capitals"),
    "address": (("-aet", "FAR_AWAY"), "Calling AE Title Not Recognized", "1/1/3", "admission.address"),
    "called": (("-aec", "ARCHIVE"), "Called AE Title Not Recognized", "1/1/7", "admission.called-ae-title"),
}


@pytest.mark.parametrize("name", REJECTIONS)
def test_it_reports_the_reason_for_which_we_reject_it(name: str, node: VerificationSCP) -> None:
    options, reason, reject, code = REJECTIONS[name]
    exit_code, said, record = called(node, "-aec", "MINIPACS", *options)
    assert exit_code == 1
    assert "Result: Rejected Permanent, Source: Service User" in said
    assert f"Reason: {reason}" in said
    assert (record.outcome, record.reject, record.code) == (AssociationOutcome.REJECTED, reject, code)


# --- we call it ----------------------------------------------------------------------------------------------------


@contextmanager
def listening(folder: Path, *options: str) -> Iterator[StoreSCP]:
    with storescp(folder, ae_title="STORESCP", args=options) as scp:
        yield scp


def call(scp: StoreSCP, ae_title: str = "STORESCP", *, count: int = 1, timeout: float = TIMEOUT) -> EchoResult:
    return echo(Peer("storescp", ae_title, "127.0.0.1", scp.port), count=count, timeout=timeout)


@pytest.mark.parametrize("options", [(), ("--implicit",), ("--prefer-big",), ("--fork",), ("--reject",)], ids=str)
def test_it_answers_our_echo(options: tuple[str, ...], tmp_path: Path) -> None:
    """With --reject it would refuse a request without an implementation class UID."""
    with listening(tmp_path, *options) as scp:
        result = call(scp)
    assert (result.outcome, result.status, result.observations) == (Outcome.SUCCESS, 0, ())
    assert result.release_ms is not None


def test_a_hundred_echoes_do_not_wait_for_delayed_acknowledgements(tmp_path: Path) -> None:
    """It sends header and body of a PDU apart, which may cost 40 ms an echo."""
    with listening(tmp_path) as scp:
        result = call(scp, count=100)
    assert (result.outcome, result.echoes, result.loss) == (Outcome.SUCCESS, 100, 0.0)
    assert result.echo_ms is not None
    assert result.echo_ms < 30


def test_it_refuses_everybody_without_a_reason(tmp_path: Path) -> None:
    with listening(tmp_path, "--refuse") as scp:
        result = call(scp)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "rejected.no-reason")
    assert result.reason == "STORESCP refuses us and gives no reason (rejected 1/1/1)"
    assert result.fix.endswith("ours are MINIPACS and 127.0.0.1")


def test_another_client_blocks_it(tmp_path: Path) -> None:
    """One process, one association at a time."""
    with listening(tmp_path) as scp:
        with raw_peer(scp.port) as other:
            assert other.exchange(asking(called=b"STORESCP"))[:1] == b"\x02"
            result = call(scp, timeout=0.5)
        assert (result.outcome, result.code) == (Outcome.NO_ASSOCIATION, "no-association.silence")
        assert "blocked by another client" in result.fix
        assert call(scp).is_success


def test_it_hangs(tmp_path: Path) -> None:
    with listening(tmp_path) as scp:
        os.kill(scp.child.pid, signal.SIGSTOP)
        try:
            result = call(scp, timeout=0.5)
        finally:
            os.kill(scp.child.pid, signal.SIGCONT)
        assert (result.outcome, result.code) == (Outcome.NO_ASSOCIATION, "no-association.silence")
        assert call(scp).is_success


def test_it_has_gone(tmp_path: Path) -> None:
    with listening(tmp_path) as scp:
        pass
    assert call(scp).code == "unreachable.refused"
