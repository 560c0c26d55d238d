"""What an echo tells while it goes on, and the sample that prints it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from minipacs import EchoCallbacks, EchoResult, Outcome, Peer, VerificationSCP, echo
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.association import Direction
from tests import fakes
from tests.fakes import Behaviour, faking
from tests.peers.node import environment
from tests.peers.orthanc import ORTHANC, Orthanc
from tests.peers.ports import free_port
from tests.peers.required import required
from tests.wire.exchange import ABORT_0_0, ABORT_2_6, RELEASE_RP, RELEASE_RQ

SAMPLE = Path(__file__).parents[1] / "samples" / "echo.py"
TIMEOUT = 10.0  # no peer here is silent


class Diary(EchoCallbacks):
    """Writes down what it is told, and raises an exception at one step if it is to."""

    def __init__(self, raises_at: str = "") -> None:
        self.steps: list[str] = []
        self.pdus: list[tuple[Direction, float, bytes]] = []
        self._raises_at = raises_at

    def _note(self, step: str) -> None:
        self.steps.append(step)
        if step.split(" ", maxsplit=1)[0] == self._raises_at:
            raise RuntimeError(step)

    def requesting(self, request: AssociateRQ) -> None:
        self._note(f"requesting {request.called_ae_title}")

    def accepted(self, answer: AssociateAC) -> None:
        self._note(f"accepted {answer.user_information.maximum_length}")

    def rejected(self, rejection: AssociateRJ) -> None:
        self._note(f"rejected {rejection}")

    def sending(self, message_id: int) -> None:
        self._note(f"sending {message_id}")

    def responded(self, message_id: int, status: int) -> None:
        self._note(f"responded {message_id} {status:04X}")

    def releasing(self) -> None:
        self._note("releasing")

    def released(self) -> None:
        self._note("released")

    def aborted(self, reason: str) -> None:
        self._note(f"aborted {reason}")

    def pdu(self, direction: Direction, milliseconds: float, data: bytes) -> None:
        self.pdus.append((direction, milliseconds, data))
        self._note(f"pdu {direction} {data[0]:02X}")


def told(behave: Behaviour, count: int = 1, *, abort: bool = False) -> tuple[EchoResult, list[str]]:
    """What became of it, and what was told but for the PDUs."""
    diary = Diary()
    with faking(behave) as fake:
        result = echo(fake.peer, count=count, timeout=TIMEOUT, abort=abort, callbacks=diary)
    return result, [step for step in diary.steps if not step.startswith("pdu")]


def test_each_step_is_told_in_its_order() -> None:
    result, steps = told(fakes.behaves, count=2)
    assert result.is_success
    assert steps == [
        "requesting FAKE",
        "accepted 16384",
        "sending 1",
        "responded 1 0000",
        "sending 2",
        "responded 2 0000",
        "releasing",
        "released",
    ]


def test_every_pdu_is_told_with_its_bytes_and_time() -> None:
    diary = Diary()
    with faking(fakes.behaves) as fake:
        echo(fake.peer, callbacks=diary)
    assert [f"{direction} {data[0]:02X}" for direction, _, data in diary.pdus] == [
        "sent 01",
        "received 02",
        "sent 04",
        "received 04",
        "sent 05",
        "received 06",
    ]
    assert [data for direction, _, data in diary.pdus if direction == "sent"] == fake.received
    assert diary.pdus[-1][2] == RELEASE_RP
    times = [milliseconds for _, milliseconds, _ in diary.pdus]
    assert times == sorted(times)
    assert times[0] >= 0


@pytest.mark.parametrize(
    ("behave", "last"),
    [
        (fakes.rejects(1, 1, 3), ["rejected 1/1/3"]),
        (fakes.aborts_the_request, ["aborted FAKE answers the association request by A-ABORT 2/0"]),
        (fakes.refuses_verification(3), ["releasing", "released"]),
        (fakes.answers_with_status(0x0122), ["responded 1 0122", "releasing", "released"]),
        (
            fakes.closes_at_the_echo,
            ["sending 1", "aborted FAKE closed the connection in the middle of the association"],
        ),
        (
            fakes.closes_at_the_release,
            ["releasing", "aborted a close of the connection came in place of an answer to the release"],
        ),
    ],
    ids=lambda value: getattr(value, "__qualname__", None) or str(value),
)
def test_whatever_the_end_it_is_told(behave: Behaviour, last: list[str]) -> None:
    _, steps = told(behave)
    assert steps[-len(last) :] == last


def test_a_peer_that_is_not_there_is_told() -> None:
    diary = Diary()
    echo(Peer("", "NOBODY", "127.0.0.1", free_port()), timeout=TIMEOUT, callbacks=diary)
    assert diary.steps[0] == "requesting NOBODY"
    assert diary.steps[1].startswith("aborted nothing listens on 127.0.0.1")
    assert len(diary.steps) == 2


def test_an_abort_that_was_asked_for_is_a_success() -> None:
    diary = Diary()
    with faking(fakes.behaves) as fake:
        result = echo(fake.peer, count=3, abort=True, callbacks=diary)
    assert (result.outcome, result.echoes, result.release_ms) == (Outcome.SUCCESS, 3, None)
    assert fake.received[-1] == ABORT_0_0
    assert RELEASE_RQ not in fake.received
    assert diary.steps[-1] == "aborted "


def test_a_failed_echo_stays_failed_when_it_is_to_end_by_abort() -> None:
    result, steps = told(fakes.answers_with_status(0x0122), abort=True)
    assert result.outcome is Outcome.FAILURE
    assert "releasing" not in steps


STEPS = ["requesting", "accepted", "sending", "responded", "releasing", "released", "pdu"]


@pytest.mark.parametrize("step", STEPS)
def test_an_exception_in_a_callback_comes_out_and_leaves_nothing_open(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that is forgotten would be a ResourceWarning, which pytest makes an error; and the peer is told."""
    opened: list[socket.socket] = []
    original = socket.socket.connect

    def connect(sock: socket.socket, address: object) -> None:
        opened.append(sock)
        original(sock, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)
    diary = Diary(raises_at=step)
    with faking(fakes.behaves) as fake:
        with pytest.raises(RuntimeError, match=step):
            echo(fake.peer, callbacks=diary)
        assert [sock.fileno() for sock in opened] == [-1] * (step != "requesting")
    if step in {"accepted", "sending", "responded", "releasing"}:
        assert fake.received[-1] == ABORT_0_0


def test_what_is_no_transfer_syntax_list_or_length_is_refused() -> None:
    peer = Peer("", "A", "127.0.0.1", 104)
    for wrong in ({"transfer_syntaxes": ()}, {"maximum_length": 13}, {"maximum_length": -1}):
        with pytest.raises(ValueError, match="must not be empty, maximum_length 0 or at least 14"):
            echo(peer, **wrong)


def test_an_invalid_pdu_is_told_as_far_as_it_came() -> None:
    diary = Diary()
    with faking(fakes.speaks_http) as fake:
        echo(fake.peer, timeout=TIMEOUT, callbacks=diary)
    received = [data for direction, _, data in diary.pdus if direction == "received"]
    assert received == [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"]
    assert diary.pdus[-1][2][:1] == ABORT_2_6[:1]


def test_a_pdu_that_is_cut_short_is_told_as_far_as_it_came() -> None:
    diary = Diary()
    with faking(fakes.closes_inside_its_answer) as fake:
        echo(fake.peer, timeout=TIMEOUT, callbacks=diary)
    [received] = [data for direction, _, data in diary.pdus if direction == "received"]
    assert (received[:1], len(received)) == (b"\x02", 20)


# --- the sample ------------------------------------------------------------------------------------------------------


def sample(*arguments: str) -> tuple[list[str], str, int]:
    """What samples/echo.py prints, hints, and exits with."""
    done = subprocess.run(
        [sys.executable, str(SAMPLE), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.splitlines(), done.stderr, done.returncode


@required(ORTHANC)
def test_the_sample_tells_what_orthanc_does(tmp_path: Path) -> None:
    with Orthanc(tmp_path, minipacs_port=free_port()) as orthanc:
        target = f"ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        accepted, rejected = sample(target), sample(target, "STRANGER")
    assert accepted == (
        [
            "Requesting Association",
            "Association Accepted (Max Send PDV: 16372)",
            "Sending Echo Request (MsgID 1)",
            "Received Echo Response (Success)",
            "Releasing Association",
            "Association Released",
        ],
        "",
        0,
    )
    assert rejected[0] == [
        "Requesting Association",
        "Association Rejected:",
        "Result: Rejected (Permanent), Source: DUL service-user",
        "Reason: Calling AE title not recognised",
    ]
    assert rejected[1].startswith("Hint: on ORTHANC: register AE title STRANGER")
    assert rejected[2] == 1


def test_the_sample_tells_a_failed_status() -> None:
    with faking(fakes.answers_with_status(0x0122)) as fake:
        lines, _, code = sample(str(fake.peer))
    assert "Received Echo Response (Failure: Refused: SOP Class Not Supported)" in lines
    assert code == 1


def test_the_sample_calls_a_node_of_ours() -> None:
    with VerificationSCP([Peer("sample", "MINIPACS")], port=0) as node:
        lines, _, code = sample(f"MINIPACS@127.0.0.1:{node.port}")
    assert (lines[-1], code) == ("Association Released", 0)
