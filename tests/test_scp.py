"""The node over real sockets: what each peer that keeps no rule is answered, what is told of it, and what is kept."""

import asyncio
import gc
import logging
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from minipacs import (
    AssociationOutcome,
    AssociationRecord,
    ListenError,
    Peer,
    PeerTable,
    VerificationSCP,
    echo,
)
from minipacs.connection import Connection
from minipacs.listener import Listener
from minipacs.log import JSONFormatter, TextFormatter
from minipacs.settings import Limits, Timeouts
from minipacs.wire.dimse import CommandSet, c_echo_rq, response
from tests.peers.process import Child, running, wait_until
from tests.raw import (
    CT_IMAGE_STORAGE,
    IMPLICIT,
    JPEG,
    VERIFICATION,
    WITHIN,
    RawPeer,
    accepting,
    asking,
    command,
    item,
    pdu,
    pdv,
    proposing,
    raw_peer,
    rejecting,
    telling,
    words,
)
from tests.wire.exchange import (
    ABORT_0_0,
    ABORT_2_1,
    ABORT_2_2,
    ABORT_2_6,
    RELEASE_RP,
    RELEASE_RQ,
    echo_answers,
    p_data,
)
from tests.wire.exchange import echo as echo_rq

ECHOSCU = Peer("echoscu", "ECHOSCU")
FAR_AWAY = Peer("ct1", "CT_1", allow_from=("10.1.2.0/24", "192.168.7.9"))  # type: ignore[arg-type]
PEERS = (ECHOSCU, FAR_AWAY)

# Closing at once when nothing more is to be said keeps the tests short; all other deadlines are as shipped.
SHORT = Timeouts(close=0.05, stop=0.2)

OPEN = asking()
ACCEPTED = accepting(OPEN)
REJECTED, INVALID = AssociationOutcome.REJECTED, AssociationOutcome.INVALID
RELEASED, CLOSED = AssociationOutcome.RELEASED, AssociationOutcome.CLOSED
ABORTED, TIMED_OUT = AssociationOutcome.ABORTED, AssociationOutcome.TIMED_OUT


# --- what the tests share ------------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """What the node logs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def of(self, event: str | None) -> list[logging.LogRecord]:
        return [record for record in self.records if getattr(record, "event", None) == event]

    def wait_for(self, event: str | None, count: int = 1) -> logging.LogRecord:
        """The last of that kind, once there are so many."""
        wait_until(lambda: len(self.of(event)) >= count, within=30, what=f"{count} lines {event}")
        return self.of(event)[-1]


@contextmanager
def heard() -> Iterator[Lines]:
    """What is logged meanwhile."""
    logger, handler = logging.getLogger("minipacs"), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with heard() as lines:
        yield lines


def scp(timeouts: Timeouts = SHORT, limits: Limits = Limits(), peers: tuple[Peer, ...] = PEERS) -> VerificationSCP:  # noqa: B008
    return VerificationSCP(peers, port=0, timeouts=timeouts, limits=limits)


@pytest.fixture
def node() -> Iterator[VerificationSCP]:
    """A node that takes one association: one that is kept keeps out the next."""
    with scp(limits=Limits(associations=1)) as node:
        yield node


@contextmanager
def associated(node: VerificationSCP, request: bytes = OPEN) -> Iterator[RawPeer]:
    """A peer with an association, which it leaves by closing."""
    with raw_peer(node.port) as peer:
        assert peer.exchange(request) == accepting(request)
        yield peer


def echoes(node: VerificationSCP) -> bool:
    """Whether the node admits and answers a good peer."""
    return echo(Peer("node", "MINIPACS", "127.0.0.1", node.port), "ECHOSCU", timeout=WITHIN).is_success


def listener_of(node: VerificationSCP) -> Listener:
    assert node._listener is not None
    return node._listener


def loop_of(node: VerificationSCP) -> asyncio.AbstractEventLoop:
    assert node._loop is not None
    return node._loop


def is_refused(port: int) -> bool:
    """Whether nobody listens there any more."""
    try:
        RawPeer(port).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was taken, and the listening socket closed before it was accepted
        return False
    return False


def last_record(node: VerificationSCP, count: int = 1) -> AssociationRecord:
    return node.wait_for_associations(count, timeout=2.0)[-1]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_until_nothing_is_kept(node: VerificationSCP) -> None:
    """No connection, no association, no task but the one that waits for the end."""
    listener = listener_of(node)
    wait_until(lambda: not listener._connections, within=30, what="no connection")
    assert (len(listener._crowd), listener._associations) == (0, set())
    wait_until(lambda: len(asyncio.all_tasks(loop_of(node))) == 1, within=30, what="no task")


@contextmanager
def standing_still(node: VerificationSCP) -> Iterator[None]:
    """The node does nothing meanwhile, so that it finds at once all that came."""
    stands, goes_on = threading.Event(), threading.Event()

    def stand() -> None:
        stands.set()
        goes_on.wait(5.0)

    loop_of(node).call_soon_threadsafe(stand)
    assert stands.wait(5.0)
    try:
        yield
    finally:
        goes_on.set()


# --- the abuse table -----------------------------------------------------------------------------------------------

FOR_THE_VENDOR = "report this to the vendor of the peer; or raise the limit that it names, under [limits]"
BROKEN_OR_PROXY = "the peer, or a proxy before it, is broken: report this to its vendor"
GIVE_A_TITLE = "on the peer: set an AE title of 1 to 16 characters of printable ASCII, without a backslash"


@dataclass(frozen=True)
class Row:
    """What a peer sends, all that it is answered until the node closes, and what is told of it."""

    sent: bytes
    answer: bytes
    outcome: AssociationOutcome
    code: str = ""
    reason: str | None = None
    fix: str | None = None
    observations: tuple[str, ...] = ()
    echoes: int = 0
    reject: str | None = None


def no_request(sent: bytes, code: str, reason: str, fix: str) -> Row:
    """First bytes that are no request: A-ABORT of the service user."""
    return Row(sent, ABORT_0_0, INVALID, f"inbound.{code}", reason, fix)


def broken_request(sent: bytes, reason: str, *observations: str) -> Row:
    return Row(sent, ABORT_0_0, INVALID, "inbound.invalid", reason, FOR_THE_VENDOR, observations)


def rejected(sent: bytes, reject: str, cause: str, reason: str, fix: str, *observations: str) -> Row:
    answer = rejecting(*map(int, reject.split("/")))
    return Row(sent, answer, REJECTED, f"admission.{cause}", reason, fix, observations, reject=reject)


def borne_with(request: bytes, *observations: str, results: tuple[tuple[int, int, bytes], ...] = ()) -> Row:
    """A request that is odd, and accepted."""
    sent = request + echo_rq() + RELEASE_RQ
    answer = accepting(request, *results) + echo_answers(1) + RELEASE_RP
    return Row(sent, answer, RELEASED, observations=observations, echoes=1)


def violation(sent: bytes, abort: bytes, reason: str, *observations: str) -> Row:
    """A fault on an open association: A-ABORT of the service provider, which tells its reason."""
    return Row(OPEN + sent, ACCEPTED + abort, INVALID, "inbound.invalid", reason, FOR_THE_VENDOR, observations)


def answered(sent: bytes, answer: bytes, *observations: str, echoes: int = 0) -> Row:
    """Something odd on an open association, which goes on until it is released."""
    return Row(
        OPEN + sent + RELEASE_RQ,
        ACCEPTED + answer + RELEASE_RP,
        RELEASED,
        observations=observations,
        echoes=echoes,
    )


def reply(field: int, status: int, sop_class: bytes | None = None) -> bytes:
    """The response to a request with message ID 7."""
    uid = None if sop_class is None else sop_class.decode()
    asked = CommandSet(command_field=field, affected_sop_class_uid=uid, message_id=7)
    return p_data(response(asked, status).encode())


SOP_CLASS = (0x0002, VERIFICATION + b"\0")
ECHO = words((0x0100, 0x0030), (0x0110, 7), (0x0800, 0x0101))
ECHO_REPLY = reply(0x0030, 0x0000, VERIFICATION)
STORE = words((0x0100, 0x0001), (0x0110, 7), (0x0800, 0x0101))
ECHO_COMMAND = c_echo_rq(1).encode()


def p_data_of(*elements: tuple[int, bytes]) -> bytes:
    """A command set in a P-DATA-TF."""
    return pdu(0x04, pdv(command(*elements)))


NOT_DICOM = {
    "HTTP": no_request(
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        "http",
        "HTTP on the DICOM port",
        "a browser or a health check: point it elsewhere",
    ),
    "HTTP/2": no_request(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "http",
        "HTTP on the DICOM port",
        "a browser or a health check: point it elsewhere",
    ),
    "TLS": no_request(
        bytes.fromhex("16030100c8 010000c4 0303") + bytes(range(198)),
        "tls",
        "TLS on the plain DICOM port",
        "on the peer: switch TLS off for this node (Orthanc: UseDicomTls)",
    ),
    "noise": no_request(
        b"\xff\xfe" * 50,
        "noise",
        f"no DICOM: its first bytes are {'ff fe ' * 7}ff fe",
        "see what runs at 127.0.0.1: this is the DICOM port",
    ),
    "zeros": no_request(
        bytes(100),
        "noise",
        f"no DICOM: its first bytes are {'00 ' * 15}00",
        "see what runs at 127.0.0.1: this is the DICOM port",
    ),
    "one byte": no_request(
        b"\r", "noise", "no DICOM: its first bytes are 0d", "see what runs at 127.0.0.1: this is the DICOM port"
    ),
}

OUT_OF_PLACE = {
    "data first": broken_request(echo_rq(), "unexpected P-DATA-TF in Sta2"),
    "release first": broken_request(RELEASE_RQ, "unexpected A-RELEASE-RQ in Sta2"),
    "release reply first": broken_request(RELEASE_RP, "unexpected A-RELEASE-RP in Sta2"),
    "acceptance first": broken_request(ACCEPTED, "unexpected A-ASSOCIATE-AC in Sta2"),
    "rejection first": broken_request(rejecting(1, 1, 3), "unexpected A-ASSOCIATE-RJ in Sta2"),
    "abort first": Row(
        ABORT_0_0,
        b"",
        ABORTED,
        "inbound.aborted-first",
        "the peer sent an A-ABORT, and never asked for an association",
        "see the peer's log: it gave up before it began",
    ),
    "request twice": violation(OPEN, ABORT_2_2, "unexpected A-ASSOCIATE-RQ in Sta6"),
    "acceptance later": violation(ACCEPTED, ABORT_2_2, "unexpected A-ASSOCIATE-AC in Sta6"),
    "release reply later": violation(RELEASE_RP, ABORT_2_2, "unexpected A-RELEASE-RP in Sta6"),
    "unknown PDU": violation(pdu(0x08, b"?"), ABORT_2_1, "unknown PDU type 0x08"),
    "HTTP later": violation(b"GET / HTTP/1.1\r\n\r\n", ABORT_2_1, "unknown PDU type 0x47"),
}

BROKEN_REQUESTS = {
    "PDU of length 0": broken_request(pdu(0x01, b""), "A-ASSOCIATE PDU of 0 bytes, fewer than its fixed fields"),
    "item past the end": broken_request(
        asking(proposing(1), item(0x77, b"?", length=500)), "item 0x77 announces 500 bytes, 24 are there"
    ),
    "truncated": broken_request(
        pdu(0x01, OPEN[6:-1]), f"item 0x50 announces {len(telling()) - 4} bytes, {len(telling()) - 5} are there"
    ),
    "no context": broken_request(asking(b""), "no presentation context proposed"),
    "context twice": broken_request(asking(proposing(1), proposing(1)), "a presentation context ID is used twice"),
    "context 2": broken_request(asking(proposing(1), proposing(2)), "presentation context ID 2 is not odd"),
    "context 0": broken_request(asking(proposing(0)), "presentation context ID 0 is not odd"),
    "maximum length 1": broken_request(
        asking(user_information=telling(maximum_length=1)), "maximum length 1 leaves no room for a fragment"
    ),
    "maximum length 13": broken_request(
        asking(user_information=telling(maximum_length=13)), "maximum length 13 leaves no room for a fragment"
    ),
    "1 MiB and a byte": broken_request(
        OPEN[:2] + struct.pack(">I", (1 << 20) + 1),
        "A-ASSOCIATE-RQ of 1048577 bytes, more than the 1048576 that we take",
    ),
    "4 GiB": broken_request(
        b"\x01\0\xff\xff\xff\xff" + bytes(1000),
        "A-ASSOCIATE-RQ of 4294967295 bytes, more than the 1048576 that we take",
    ),
    "data of 4 GiB": broken_request(
        b"\x04\0\xff\xff\xff\xff", "P-DATA-TF of 4294967295 bytes, more than the 16384 that we take"
    ),
}

ODD_REQUESTS = {
    "version 3": borne_with(asking(version=3)),
    "NUL-padded titles": borne_with(
        asking(calling=b"ECHOSCU".ljust(16, b"\0"), called=b"MINIPACS".ljust(16, b"\0")), "AE title padded with NUL"
    ),
    "titles after spaces": borne_with(asking(calling=b"  ECHOSCU", called=b" MINIPACS")),
    "unknown item": borne_with(asking(proposing(1), item(0x77, b"?")), "unknown item 0x77 ignored"),
    "unknown user sub-item": borne_with(
        asking(user_information=telling(item(0x7A, b"?"))), "unknown user information sub-item 0x7A ignored"
    ),
    "unknown context sub-item": borne_with(
        asking(item(0x20, proposing(1)[4:] + item(0x7B, b"?"))),
        "unknown sub-item 0x7B in presentation context 1 ignored",
    ),
    "maximum length 0": borne_with(asking(user_information=telling(maximum_length=0))),
    "user identity": borne_with(
        asking(user_information=telling(item(0x58, b"\1\1\0\4user\0\0"))),
        "user identity sent: neither checked nor answered",
    ),
    "128 contexts of 100 transfer syntaxes": borne_with(
        asking(
            *(
                proposing(2 * number + 1, VERIFICATION, *(b"1.2.3.4.%d" % n for n in range(99)), IMPLICIT)
                for number in range(128)
            )
        ),
        results=tuple((2 * number + 1, 0, IMPLICIT) for number in range(128)),
    ),
    "storage beside": borne_with(
        asking(proposing(1), proposing(3, CT_IMAGE_STORAGE), proposing(5, VERIFICATION, JPEG)),
        results=((1, 0, IMPLICIT), (3, 3, IMPLICIT), (5, 4, JPEG)),
    ),
}

REFUSED_REQUESTS = {
    "version 2": rejected(
        asking(version=2),
        "1/2/2",
        "protocol-version",
        "ECHOSCU does not speak version 1 of the protocol",
        BROKEN_OR_PROXY,
    ),
    "another application context": rejected(
        asking(application_context=b"1.2.3.4"),
        "1/1/2",
        "application-context",
        "ECHOSCU asks for another application context than DICOM's",
        BROKEN_OR_PROXY,
    ),
    "another title of ours": rejected(
        asking(called=b"ARCHIVE"),
        "1/1/7",
        "called-ae-title",
        "ECHOSCU calls us ARCHIVE, but we are MINIPACS",
        "on ECHOSCU: set our AE title to MINIPACS; or give this node the title ARCHIVE (--ae-title)",
    ),
    "our title in small letters": rejected(
        asking(called=b"minipacs"),
        "1/1/7",
        "called-ae-title",
        "ECHOSCU calls us minipacs, but we are MINIPACS; it differs from MINIPACS in capitals only",
        "on ECHOSCU: set our AE title to MINIPACS; or give this node the title minipacs (--ae-title)",
    ),
    "blank called title": rejected(
        asking(called=b""),
        "1/1/7",
        "called-ae-title",
        "ECHOSCU calls us by a blank title, but we are MINIPACS",
        "on ECHOSCU: set our AE title to MINIPACS",
    ),
    "8-bit called title": rejected(
        asking(called=b"R\xd6NTGEN"),
        "1/1/7",
        "called-ae-title",
        r"ECHOSCU calls us R\xd6NTGEN, but we are MINIPACS",
        "on ECHOSCU: set our AE title to MINIPACS",
    ),
    "control character in the called title": rejected(
        asking(called=b"MINI\x1b[2JPACS"),
        "1/1/7",
        "called-ae-title",
        r"ECHOSCU calls us MINI\x1b[2JPACS, but we are MINIPACS",
        "on ECHOSCU: set our AE title to MINIPACS",
    ),
    "stranger": rejected(
        asking(calling=b"CT SCANNER/1"),
        "1/1/3",
        "calling-ae-title",
        "CT SCANNER/1 is not in the peer table",
        "minipacs peers add ct-scanner-1 'CT SCANNER/1@127.0.0.1:PORT', with the port where it listens",
    ),
    "known title in small letters": rejected(
        asking(calling=b"EchoSCU"),
        "1/1/3",
        "capitals",
        "EchoSCU is not in the peer table; ECHOSCU is, and capitals count",
        'on the peer: set its AE title to ECHOSCU; or in the peer table: ae_title = "EchoSCU" in place of "ECHOSCU"',
    ),
    "blank calling title": rejected(
        asking(calling=b""),
        "1/1/3",
        "unusable-ae-title",
        "a peer without an AE title cannot be in a peer table: its AE title is not valid",
        GIVE_A_TITLE,
    ),
    "8-bit calling title": rejected(
        asking(calling=b"R\xd6NTGEN"),
        "1/1/3",
        "unusable-ae-title",
        r"R\xd6NTGEN cannot be in a peer table: its AE title is not valid",
        GIVE_A_TITLE,
    ),
    "control characters in the calling title": rejected(
        asking(calling=b"A\r\n\x1b[31m\0B"),
        "1/1/3",
        "unusable-ae-title",
        r"A\r\n\x1b[31m\x00B cannot be in a peer table: its AE title is not valid",
        GIVE_A_TITLE,
    ),
    "backslash in the calling title": rejected(
        asking(calling=b"A\\B"),
        "1/1/3",
        "unusable-ae-title",
        r"A\\B cannot be in a peer table: its AE title is not valid",
        GIVE_A_TITLE,
    ),
    "address": rejected(
        asking(calling=b"CT_1"),
        "1/1/3",
        "address",
        "CT_1 calls from 127.0.0.1, and peer ct1 may call from 10.1.2.0/24, 192.168.7.9 only",
        "if that is where it should call from, under [peers.ct1]: "
        'allow_from = ["10.1.2.0/24", "192.168.7.9", "127.0.0.1"]',
    ),
}

MESSAGES = {
    "context not accepted": violation(
        p_data(ECHO_COMMAND, context_id=3), ABORT_2_6, "data on presentation context 3, which was not accepted"
    ),
    "unknown command field": violation(
        p_data_of(SOP_CLASS, *words((0x0100, 0x0031), (0x0110, 7), (0x0800, 0x0101))),
        ABORT_2_6,
        "unknown command field 0x0031",
    ),
    "response of the requestor": violation(ECHO_REPLY, ABORT_2_2, "response 0x8030 to no request of ours"),
    "no message ID": violation(
        p_data_of(SOP_CLASS, *words((0x0100, 0x0030), (0x0800, 0x0101))),
        ABORT_2_6,
        "request without a message ID",
    ),
    "PDV of 0": violation(pdu(0x04, pdv(b"", length=0)), ABORT_2_6, "PDV item of 0 bytes in a P-DATA-TF of 6"),
    "PDV of 1": violation(pdu(0x04, pdv(b"", length=1)), ABORT_2_6, "PDV item of 1 bytes in a P-DATA-TF of 6"),
    "PDV past its PDU": violation(
        pdu(0x04, pdv(b"ab", length=400)), ABORT_2_6, "PDV item of 400 bytes in a P-DATA-TF of 8"
    ),
    "no PDV": violation(pdu(0x04, b""), ABORT_2_6, "P-DATA-TF without a PDV item"),
    "element past the end": violation(
        pdu(0x04, pdv(struct.pack("<HHI", 0, 0x0100, 2))),
        ABORT_2_6,
        "element (0000,0100) announces 2 bytes, 0 are there",
    ),
    "PDU above our length": violation(
        b"\x04\0" + struct.pack(">I", 16_385), ABORT_2_6, "P-DATA-TF of 16385 bytes, more than the 16384 that we take"
    ),
    "PDU of 4 GiB": violation(
        b"\x04\0\xff\xff\xff\xff", ABORT_2_6, "P-DATA-TF of 4294967295 bytes, more than the 16384 that we take"
    ),
    "command set above 64 KiB": violation(
        p_data(bytes(16_378), is_last=False) * 5, ABORT_2_6, "command set of more than 65536 bytes"
    ),
    "store": answered(
        p_data_of((0x0002, CT_IMAGE_STORAGE + b"\0"), *STORE) + echo_rq(),
        reply(0x0001, 0x0211, CT_IMAGE_STORAGE) + echo_answers(1),
        echoes=1,
    ),
    "store with its data set": answered(
        p_data_of((0x0002, CT_IMAGE_STORAGE + b"\0"), *words((0x0100, 0x0001), (0x0110, 7), (0x0800, 1)))
        + p_data(bytes(1000), is_command=False, is_last=False) * 100
        + p_data(b"", is_command=False)
        + echo_rq(),
        reply(0x0001, 0x0211, CT_IMAGE_STORAGE) + echo_answers(1),
        echoes=1,
    ),
    "find": answered(p_data_of(*words((0x0100, 0x0020), (0x0110, 7), (0x0800, 0x0101))), reply(0x0020, 0x0211)),
    "cancel": answered(
        p_data_of(*words((0x0100, 0x0FFF), (0x0120, 7), (0x0800, 0x0101))) + echo_rq(), echo_answers(1), echoes=1
    ),
    "echo without group length": answered(
        pdu(0x04, pdv(command(SOP_CLASS, *ECHO)[12:])), ECHO_REPLY, "command set without a group length", echoes=1
    ),
    "echo of another SOP class": answered(
        p_data_of((0x0002, CT_IMAGE_STORAGE + b"\0"), *ECHO), reply(0x0030, 0x0122, CT_IMAGE_STORAGE)
    ),
    "echo without a SOP class": answered(
        p_data_of(*ECHO), reply(0x0030, 0x0000), "C-ECHO-RQ without an affected SOP class UID", echoes=1
    ),
    "echo in several PDVs and PDUs": answered(
        pdu(0x04, pdv(ECHO_COMMAND[:20], control=1) + pdv(ECHO_COMMAND[20:30], control=1))
        + p_data(ECHO_COMMAND[30:32], is_last=False)
        + p_data(ECHO_COMMAND[32:]),
        echo_answers(1),
        echoes=1,
    ),
    "two echoes at once": answered(echo_rq(1) + echo_rq(2), echo_answers(1, 2), echoes=2),
}

ABUSE = NOT_DICOM | OUT_OF_PLACE | BROKEN_REQUESTS | ODD_REQUESTS | REFUSED_REQUESTS | MESSAGES


@pytest.mark.parametrize("name", ABUSE)
def test_each_peer_is_answered_told_of_and_forgotten(name: str, node: VerificationSCP, lines: Lines) -> None:
    row = ABUSE[name]
    files = open_files()
    with raw_peer(node.port) as peer:
        peer.send(row.sent)
        assert peer.receive_all() == row.answer
    record = last_record(node)
    assert (record.outcome, record.code, record.reason, record.fix) == (row.outcome, row.code, row.reason, row.fix)
    assert (record.reject, record.echoes, record.observations) == (row.reject, row.echoes, row.observations)
    assert record.address == "127.0.0.1"
    _assert_told(lines.wait_for("association"), record)
    wait_until_nothing_is_kept(node)
    assert open_files() == files
    assert echoes(node)
    assert len(last_record(node, 2).observations) == 0


def _assert_told(line: logging.LogRecord, record: AssociationRecord) -> None:
    """One line says all of it, and a machine reads the same."""
    text = line.getMessage()
    assert text == str(record)
    assert "\n" not in text
    for part in (record.reason, record.fix, record.reject, *record.observations):
        assert part is None or part in text
    is_expected = record.outcome in {RELEASED, CLOSED}
    assert line.levelno == (logging.INFO if is_expected else logging.WARNING)
    assert getattr(line, "fields") == record.as_fields()  # noqa: B009 - mypy knows no fields


# --- how an association is told of ---------------------------------------------------------------------------------


def spoken(line: logging.LogRecord) -> str:
    """The line without the time that it took."""
    before, _, after = line.getMessage().partition(" ms")
    return before.rpartition(" ")[0] + " …" + after


def test_a_released_association_is_one_line(node: VerificationSCP, lines: Lines) -> None:
    with associated(node) as peer:
        peer.send(echo_rq(1), echo_rq(2), RELEASE_RQ)
        peer.receive_all()
    assert spoken(lines.wait_for("association")) == ("echoscu (ECHOSCU@127.0.0.1) -> MINIPACS: released, 2 echoes, …")


def test_an_observation_is_in_the_line(node: VerificationSCP, lines: Lines) -> None:
    with associated(node) as peer:
        peer.send(p_data_of(*ECHO), RELEASE_RQ)
        peer.receive_all()
    assert spoken(lines.wait_for("association")) == (
        "echoscu (ECHOSCU@127.0.0.1) -> MINIPACS: released, 1 echo, …; "
        "observed: C-ECHO-RQ without an affected SOP class UID"
    )


def test_a_rejection_is_one_line_that_says_what_would_admit_it(node: VerificationSCP, lines: Lines) -> None:
    with raw_peer(node.port) as peer:
        peer.exchange(asking(calling=b"MR_2"))
    line = lines.wait_for("association")
    assert spoken(line) == (
        "MR_2@127.0.0.1 -> MINIPACS: rejected 1/1/3, …: MR_2 is not in the peer table [admission.calling-ae-title]; "
        "fix: minipacs peers add mr_2 MR_2@127.0.0.1:PORT, with the port where it listens"
    )


def test_what_is_no_request_is_one_line(node: VerificationSCP, lines: Lines) -> None:
    with raw_peer(node.port) as peer:
        peer.exchange(b"GET / HTTP/1.1\r\n\r\n")
    assert spoken(lines.wait_for("association")) == (
        "unknown@127.0.0.1 -> nobody: invalid, …: HTTP on the DICOM port [inbound.http]; "
        "fix: a browser or a health check: point it elsewhere"
    )


LEAVE: dict[str, tuple[Callable[[RawPeer], None], AssociationOutcome, str, str | None, str | None]] = {
    "release": (lambda peer: peer.send(RELEASE_RQ), RELEASED, "", None, None),
    "abort": (
        lambda peer: peer.send(ABORT_2_2),
        ABORTED,
        "inbound.aborted",
        "ECHOSCU aborted the association (A-ABORT 2/2)",
        "see the peer's log",
    ),
    "close": (
        RawPeer.close,
        CLOSED,
        "inbound.closed",
        "ECHOSCU closed the connection without releasing the association",
        "it works, but have the peer release its associations",
    ),
    "reset": (
        RawPeer.reset,
        CLOSED,
        "inbound.closed",
        "ECHOSCU closed the connection without releasing the association",
        "it works, but have the peer release its associations",
    ),
}


@pytest.mark.parametrize("name", LEAVE)
def test_each_way_to_leave_is_told_apart_and_frees_the_place(name: str, node: VerificationSCP) -> None:
    leave, *expected = LEAVE[name]
    with associated(node) as peer:
        assert peer.exchange(echo_rq()) == echo_answers(1)
        leave(peer)
        record = last_record(node)
    assert [record.outcome, record.code, record.reason, record.fix] == expected
    assert (record.calling_ae_title, record.called_ae_title, record.peer) == ("ECHOSCU", "MINIPACS", "echoscu")
    assert (record.echoes, record.reject, record.observations) == (1, None, ())
    assert 0 < record.duration_ms < 2000
    wait_until_nothing_is_kept(node)
    assert echoes(node)


@pytest.mark.parametrize("leave", [RawPeer.close, RawPeer.reset])
def test_a_connection_that_closes_inside_its_request_is_told(
    leave: Callable[[RawPeer], None], node: VerificationSCP
) -> None:
    with raw_peer(node.port) as peer:
        peer.send(OPEN[:100])
        wait_until(lambda: any(c._bytes_came for c in list(listener_of(node)._connections)), within=30, what="bytes")
        leave(peer)
        record = last_record(node)
    assert (record.outcome, record.code) == (CLOSED, "inbound.cut-short")
    assert record.reason == "the connection closed before its association request was whole"
    assert (record.calling_ae_title, record.called_ae_title, record.peer) == (None, None, None)
    wait_until_nothing_is_kept(node)


@pytest.mark.parametrize("leave", [RawPeer.close, RawPeer.reset])
def test_a_connection_without_a_byte_is_no_association(
    leave: Callable[[RawPeer], None], node: VerificationSCP, lines: Lines
) -> None:
    """A health check, or a port scan."""
    for _ in range(12):
        with raw_peer(node.port) as peer:
            leave(peer)
    assert echoes(node)
    lines.wait_for("association", 1)
    assert [(line.levelno, line.getMessage()) for line in lines.of(None)] == [
        (logging.DEBUG, f"127.0.0.1 connected and sent nothing ({count} such so far) [inbound.empty]")
        for count in range(1, 11)
    ]
    assert len(node.associations) == 1


def test_a_storm_of_http_is_one_line_and_a_count(
    node: VerificationSCP, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        _browse(node)
    assert len(node.wait_for_associations(5)) == 5
    assert len(lines.of("association")) == 1
    monkeypatch.setattr("minipacs.flood.PERIOD", 0.0)
    _browse(node)
    line = lines.wait_for("association", 2)
    assert "HTTP on the DICOM port (and 4 like it before, untold) [inbound.http]; fix:" in line.getMessage()
    assert line.fields["reason"] == "HTTP on the DICOM port (and 4 like it before, untold)"  # type: ignore[attr-defined]


def _browse(node: VerificationSCP) -> None:
    with raw_peer(node.port) as peer:
        assert peer.exchange(b"HEAD / HTTP/1.0\r\n\r\n") == ABORT_0_0


def test_what_a_peer_sends_is_escaped_everywhere(node: VerificationSCP, lines: Lines) -> None:
    evil = b"\r\nESC\x1b[2J\0\x85\xff\\"
    name = item(0x55, b"V\r\n\x1b]0;x\x07\x9b")
    with raw_peer(node.port) as peer:
        peer.exchange(asking(calling=evil, user_information=telling(name)))
    with raw_peer(node.port) as peer:
        peer.exchange(asking(called=evil, application_context=b"\x1b[31m"))
    records = node.wait_for_associations(2)
    written = r"\r\nESC\x1b[2J\x00\x85\xff\\"
    assert records[0].calling_ae_title == written
    assert records[0].implementation_version == r"V\r\n\x1b]0;x\x07\x9b"
    assert records[1].called_ae_title == written
    lines.wait_for("association", 2)
    for line in lines.of("association"):
        for text in (TextFormatter(colour=False).format(line), JSONFormatter().format(line), repr(line.msg)):
            assert text.isascii()
            assert text.isprintable()


# --- admission, where the node has a part in it --------------------------------------------------------------------


class BrokenTable(PeerTable):
    """A table whose lookup fails."""

    def with_ae_title(self, ae_title: str) -> Peer | None:
        raise RuntimeError("no lookup")


def test_a_table_that_fails_admits_nobody(node: VerificationSCP, lines: Lines) -> None:
    node.peers = BrokenTable(PEERS)
    with raw_peer(node.port) as peer:
        peer.send(OPEN + echo_rq())
        assert peer.receive_all() == rejecting(1, 1, 1)
    record = last_record(node)
    assert (record.outcome, record.reject, record.code) == (REJECTED, "1/1/1", "admission.internal-error")
    assert record.reason == "an admission rule failed, so that nobody is admitted: no lookup"
    assert record.fix == "this is a defect of minipacs: please report it"
    error = lines.wait_for(None)
    assert (error.levelno, error.getMessage()) == (logging.ERROR, "an admission rule failed")
    assert error.exc_info is not None
    assert repr(error.exc_info[1]) == "RuntimeError('no lookup')"
    node.peers = PeerTable(PEERS)
    assert echoes(node)


@pytest.mark.parametrize("name", LEAVE)
def test_one_association_too_many_is_rejected_until_another_ends(name: str) -> None:
    leave, *_ = LEAVE[name]
    with scp(limits=Limits(associations=2)) as node, associated(node), associated(node) as second:
        with raw_peer(node.port) as third:
            assert third.exchange(OPEN) == rejecting(2, 3, 2)
        record = last_record(node)
        assert (record.outcome, record.code) == (REJECTED, "admission.limit")
        assert record.reason == "as many associations are open as this node takes"
        assert record.fix == ("look for peers that do not end their associations; raise associations under [limits]")
        leave(second)
        node.wait_for_associations(2)
        with associated(node) as fourth:
            assert fourth.exchange(echo_rq()) == echo_answers(1)


def test_two_hundred_associations_are_served_at_once() -> None:
    with scp(limits=Limits(associations=200, associations_per_peer=200)) as node, ExitStack() as stack:
        peers = [stack.enter_context(associated(node)) for _ in range(200)]
        for number, peer in enumerate(peers):
            peer.send(echo_rq(number))
        assert all(peer.receive_pdu() == echo_answers(number) for number, peer in enumerate(peers))
        with raw_peer(node.port) as peer:
            assert peer.exchange(OPEN) == rejecting(2, 3, 2)
        for peer in peers:
            assert peer.exchange(RELEASE_RQ) == RELEASE_RP
        assert len(node.wait_for_associations(201)) == 201
        assert echoes(node)


def test_connections_without_an_association_take_no_place(node: VerificationSCP) -> None:
    """Those of a load balancer's health check, and half-sent requests."""
    with ExitStack() as stack:
        peers = [stack.enter_context(raw_peer(node.port)) for _ in range(24)]
        for peer in peers[::2]:
            peer.send(OPEN[:-1])
        assert echoes(node)


# --- limits --------------------------------------------------------------------------------------------------------


def test_of_too_many_connections_the_oldest_without_an_association_is_closed(lines: Lines) -> None:
    with scp(limits=Limits(connections=4)) as node, associated(node) as held, ExitStack() as stack:
        waiting = [stack.enter_context(raw_peer(node.port)) for _ in range(3)]
        waiting[0].send(OPEN[:9])
        wait_until(lambda: len(listener_of(node)._connections) == 4, within=30, what="four connections")
        late = stack.enter_context(raw_peer(node.port))
        assert waiting[0].receive_all() == b""
        for peer in (*waiting[1:], late):
            assert peer.exchange(OPEN) == ACCEPTED
        assert held.exchange(echo_rq()) == echo_answers(1)
        told = [(line.levelno, line.getMessage()) for line in lines.of(None)]
        assert (logging.WARNING, "4 connections are open, the most under [limits]: 127.0.0.1 cut") in told
        record = last_record(node)
        assert (record.outcome, record.code) == (CLOSED, "inbound.crowded")
        assert record.reason == "too many connections were open, and this was the oldest without an association"
        assert record.fix == "look for what opens connections and does not use them; raise connections under [limits]"


LONG_REQUEST = asking(*(proposing(2 * n + 1, VERIFICATION, *[IMPLICIT] * 100) for n in range(128)))


def test_of_requests_that_are_too_long_together_the_longest_is_closed(lines: Lines) -> None:
    with scp(limits=Limits(unfinished=10_000)) as node, associated(node) as held, ExitStack() as stack:
        short, long, longer = [stack.enter_context(raw_peer(node.port)) for _ in range(3)]
        for peer, length in ((short, len(OPEN) - 1), (long, 3_000)):
            peer.send(OPEN[:length] if peer is short else LONG_REQUEST[:length])
        wait_until(lambda: listener_of(node)._crowd._total == len(OPEN) - 1 + 3_000, within=30, what="their bytes")
        longer.send(LONG_REQUEST[:8_000])
        assert longer.receive_all() == b""
        short.send(OPEN[-1:])
        assert short.receive_pdu() == ACCEPTED
        assert held.exchange(echo_rq()) == echo_answers(1)
        told = [(line.levelno, line.getMessage()) for line in lines.of(None)]
        most = "requests that are not whole hold 10000 bytes, the most under [limits]: 127.0.0.1 cut"
        assert (logging.WARNING, most) in told
        assert node.associations[0].code == "inbound.hoarding"
        assert echoes(node)
    assert len(LONG_REQUEST) > 250_000


def test_what_is_held_is_forgotten_when_it_is_over() -> None:
    with scp() as node:

        def total() -> int:
            return listener_of(node)._crowd._total

        with raw_peer(node.port) as peer:
            peer.send(LONG_REQUEST[:5_000])
            wait_until(lambda: total() == 5_000, within=30, what="its bytes")
            peer.send(LONG_REQUEST[5_000:])
            assert peer.receive_pdu()[:1] == b"\x02"
            assert total() == 0
        with raw_peer(node.port) as peer:
            peer.send(OPEN[:20])
            wait_until(lambda: total() == 20, within=30, what="its bytes")
        wait_until_nothing_is_kept(node)
        assert total() == 0


def test_when_all_connections_hold_associations_the_new_one_is_closed() -> None:
    with scp(limits=Limits(connections=2)) as node, associated(node) as first, associated(node) as second:
        with raw_peer(node.port) as peer:
            assert peer.receive_all() == b""
        assert first.exchange(echo_rq()) == second.exchange(echo_rq()) == echo_answers(1)


def test_a_burst_of_connections_does_not_pass_the_limit() -> None:
    with scp(limits=Limits(connections=4)) as node, ExitStack() as stack:
        with standing_still(node):
            burst = [stack.enter_context(raw_peer(node.port)) for _ in range(40)]
        for peer in burst[:36]:
            assert peer.receive_all() == b""
        assert len(listener_of(node)._connections) == 4
        for peer in burst[36:]:
            assert peer.exchange(OPEN) == ACCEPTED


@pytest.mark.parametrize(
    ("limits", "sent", "answer", "reason"),
    [
        (
            Limits(associate_pdu=1024),
            pdu(0x01, b"", length=1025),
            ABORT_0_0,
            "A-ASSOCIATE-RQ of 1025 bytes, more than the 1024 that we take",
        ),
        (
            Limits(command_set=1024),
            OPEN + p_data(bytes(1025), is_last=False),
            ACCEPTED + ABORT_2_6,
            "command set of more than 1024 bytes",
        ),
        (
            Limits(maximum_length=2000),
            OPEN + b"\x04\0" + struct.pack(">I", 2001),
            ACCEPTED.replace(item(0x51, struct.pack(">I", 16_384)), item(0x51, struct.pack(">I", 2000))) + ABORT_2_6,
            "P-DATA-TF of 2001 bytes, more than the 2000 that we take",
        ),
    ],
    ids=["associate_pdu", "command_set", "maximum_length"],
)
def test_each_limit_of_length_can_be_set(limits: Limits, sent: bytes, answer: bytes, reason: str) -> None:
    with scp(limits=limits) as node:
        with raw_peer(node.port) as peer:
            peer.send(sent)
            assert peer.receive_all() == answer
        assert last_record(node).reason == reason


OUT_OF_FILES = """
import logging, resource, signal, sys, threading
from minipacs import Peer, VerificationSCP
from minipacs.settings import Timeouts

resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
timeouts = Timeouts(request=1.5, close=0.05, stop=1.5)
with VerificationSCP([Peer("echoscu", "ECHOSCU")], port=0, timeouts=timeouts) as node:
    print("port", node.port, flush=True)
    told.wait()
"""


NO_DESCRIPTORS = (
    "accepting pauses: of 48 file descriptors, the limit of this process, few are left [inbound.no-descriptors]; fix: "
    "raise that limit (ulimit -n; LimitNOFILE= in a unit of systemd), or lower connections under [limits]"
)


@contextmanager
def out_of_files(tmp_path: Path) -> Iterator[tuple[Child, int]]:
    """A node in a process of its own that has no file left to accept with, and its port; one peer is associated."""
    command_line = [sys.executable, "-c", OUT_OF_FILES]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (
        running(command_line, log=tmp_path / "log", ready=lambda child: "\n" in child.log, env=env) as child,
        ExitStack() as stack,
    ):
        port = int(child.log.split()[1])
        assert stack.enter_context(raw_peer(port)).exchange(OPEN) == ACCEPTED
        for _ in range(60):
            stack.enter_context(raw_peer(port))
        wait_until(lambda: "accepting pauses" in child.log, within=30, what="the pause")
        yield child, port


def test_when_files_run_out_accepting_pauses_and_goes_on(tmp_path: Path) -> None:
    with out_of_files(tmp_path) as (child, port):
        before, started = _cpu_seconds(child.pid), monotonic()
        with raw_peer(port) as peer:
            peer.send(OPEN, echo_rq(), RELEASE_RQ)  # answered when the silent ones have run into their deadline
            assert peer.receive_all(8.0) == ACCEPTED + echo_answers(1) + RELEASE_RP
        spent, passed = _cpu_seconds(child.pid) - before, monotonic() - started
        assert passed > 1.0
        assert spent < 0.4 * passed, "it spins"
        assert child.log.count("accepting pauses") == 1
        assert f"ERROR {NO_DESCRIPTORS}" in child.log
        assert "Traceback" not in child.log
        assert child.exit_code is None


def test_a_node_without_files_stops_as_any_other(tmp_path: Path) -> None:
    with out_of_files(tmp_path) as (child, _):
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(5.0) == 0
        assert "Traceback" not in child.log
        assert len([line for line in child.log.splitlines() if line.startswith("ERROR")]) == 1


def _cpu_seconds(pid: int) -> float:
    """User and system time, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- deadlines -----------------------------------------------------------------------------------------------------

SLOW = 0.4


def assert_at(deadline: float, seconds: float) -> None:
    """Not before the deadline, and no second behind it."""
    assert deadline - 0.05 <= seconds < deadline + WITHIN


def test_a_connection_without_a_request_is_closed(lines: Lines) -> None:
    with scp(Timeouts(request=SLOW)) as node, raw_peer(node.port) as peer:
        started = monotonic()
        assert peer.receive_all(2.0) == b""
        assert_at(SLOW, monotonic() - started)
        wait_until_nothing_is_kept(node)
        assert not node.associations
        assert lines.records[-1].levelno == logging.DEBUG


def test_a_request_that_trickles_in_does_not_put_off_its_deadline() -> None:
    with scp(Timeouts(request=SLOW)) as node, raw_peer(node.port) as peer:
        answer, seconds = peer.trickle(OPEN, pause=0.02)
        assert answer == b""
        assert_at(SLOW, seconds)
        record = last_record(node)
        assert (record.outcome, record.code) == (TIMED_OUT, "inbound.silence")
        assert record.reason == "no whole association request within 0.4 s"
        assert record.fix == "see what runs at 127.0.0.1: it opens connections and does not use them"
        wait_until_nothing_is_kept(node)


UNFINISHED = {
    "PDU": (echo_rq()[:40], ()),
    "header": (echo_rq()[:3], ()),
    "message": (p_data(ECHO_COMMAND[:20], is_last=False), ()),
    "data set": (p_data_of(*words((0x0100, 0x0001), (0x0110, 7), (0x0800, 1))), ()),
    "data set of an echo": (
        p_data_of(SOP_CLASS, *words((0x0100, 0x0030), (0x0110, 7), (0x0800, 1))),
        ("C-ECHO-RQ with a data set",),
    ),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_what_is_begun_and_not_finished_is_aborted(name: str) -> None:
    begun, observations = UNFINISHED[name]
    with scp(Timeouts(pdu=SLOW, close=0.05)) as node, associated(node) as peer:
        started = monotonic()
        peer.send(begun)
        assert peer.receive_all(2.0) == ABORT_0_0
        assert_at(SLOW, monotonic() - started)
        record = last_record(node)
        assert (record.outcome, record.code) == (TIMED_OUT, "inbound.unfinished")
        assert record.reason == "a PDU or message was not finished within 0.4 s"
        assert record.fix == "see the peer's log and the network between: it stopped in the middle"
        assert record.observations == observations
        wait_until_nothing_is_kept(node)


def test_a_pdu_that_trickles_in_does_not_put_off_its_deadline() -> None:
    with scp(Timeouts(pdu=SLOW, close=0.05)) as node, associated(node) as peer:
        answer, seconds = peer.trickle(echo_rq(), pause=0.02)
        assert answer == ABORT_0_0
        assert_at(SLOW, seconds)
        assert last_record(node).code == "inbound.unfinished"


def test_each_pdu_of_a_long_message_has_its_own_deadline() -> None:
    announced = p_data_of(*words((0x0100, 0x0001), (0x0110, 7), (0x0800, 1)))
    with scp(Timeouts(pdu=SLOW, close=0.05)) as node, associated(node) as peer:
        peer.send(announced)
        for _ in range(6):
            assert peer.hears_nothing(SLOW / 3)
            peer.send(p_data(b"ab", is_command=False, is_last=False))
        assert peer.exchange(p_data(b"", is_command=False)) == reply(0x0001, 0x0211)


def test_an_association_that_idles_is_aborted() -> None:
    with scp(Timeouts(idle=SLOW, close=0.05)) as node, associated(node) as peer:
        started = monotonic()
        assert peer.receive_all(2.0) == ABORT_0_0
        assert_at(SLOW, monotonic() - started)
        record = last_record(node)
        assert (record.outcome, record.code) == (TIMED_OUT, "inbound.idle")
        assert record.reason == "nothing came on the association for 0.4 s"
        assert record.fix == "have the peer release its associations; or raise idle under [timeouts]"
        wait_until_nothing_is_kept(node)


def test_each_echo_puts_off_the_idle_deadline() -> None:
    with scp(Timeouts(idle=SLOW, close=0.05)) as node, associated(node) as peer:
        for _ in range(6):
            assert peer.hears_nothing(SLOW / 3)
            assert peer.exchange(echo_rq()) == echo_answers(1)
        assert not node.associations


LAST_WORDS = {
    "rejection": (asking(calling=b"STRANGER"), rejecting(1, 1, 3)),
    "abort": (b"GET / HTTP/1.1\r\n\r\n", ABORT_0_0),
    "release": (OPEN + RELEASE_RQ, ACCEPTED + RELEASE_RP),
}


@pytest.mark.parametrize("name", LAST_WORDS)
def test_a_peer_that_does_not_close_after_our_last_pdu_is_closed(name: str) -> None:
    sent, answer = LAST_WORDS[name]
    with scp(Timeouts(close=SLOW)) as node, raw_peer(node.port) as peer:
        started = monotonic()
        peer.send(sent)
        assert peer.receive_all(2.0) == answer
        assert_at(SLOW, monotonic() - started)
        wait_until_nothing_is_kept(node)


@pytest.mark.parametrize("name", LAST_WORDS)
def test_what_comes_after_our_last_pdu_does_not_put_off_the_close(name: str) -> None:
    sent, answer = LAST_WORDS[name]
    with scp(Timeouts(close=SLOW)) as node, raw_peer(node.port) as peer:
        peer.send(sent)
        assert peer.receive(len(answer)) == answer
        rest, seconds = peer.trickle(echo_rq() * 20, pause=0.02)
        assert rest == b""
        assert_at(SLOW, seconds)


def test_by_default_the_close_comes_within_a_second() -> None:
    with VerificationSCP(PEERS, port=0) as node, raw_peer(node.port) as peer:
        started = monotonic()
        peer.send(b"\xff" * 10)
        assert peer.receive_pdu(0.5) == ABORT_0_0
        assert peer.receive_all(1.5) == b""
        assert monotonic() - started < 1.5


# --- a peer that half-closes, and one that does not read -----------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "answer", "outcome"), [(b"", b"", CLOSED), (RELEASE_RQ, RELEASE_RP, RELEASED)], ids=["open", "released"]
)
def test_a_peer_that_sends_no_more_still_gets_its_answers(
    last: bytes, answer: bytes, outcome: AssociationOutcome, node: VerificationSCP
) -> None:
    requests = b"".join(echo_rq(number) for number in range(100))
    with raw_peer(node.port) as peer:
        peer.send(OPEN + requests + last)
        peer.half_close()
        assert peer.receive_all() == ACCEPTED + echo_answers(*range(100)) + answer
    record = last_record(node)
    assert (record.outcome, record.echoes) == (outcome, 100)
    wait_until_nothing_is_kept(node)


def with_small_buffers(node: VerificationSCP) -> VerificationSCP:
    """What comes from now on fills the buffers of the kernel soon."""
    acceptor = listener_of(node)._acceptor
    assert acceptor is not None
    for sock in acceptor._sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return node


@contextmanager
def not_reading(node: VerificationSCP) -> Iterator[tuple[RawPeer, Connection, int]]:
    """A peer that has sent echoes until the node took no more, and read none of the answers; and how many it sent."""
    with raw_peer(with_small_buffers(node).port, buffers=4096) as peer:
        assert peer.exchange(OPEN) == ACCEPTED
        connection = next(iter(listener_of(node)._associations))
        yield peer, connection, peer.send_until_it_is_not_taken(echo_rq(7))


def test_a_peer_that_does_not_read_is_not_read_from() -> None:
    with scp() as node, not_reading(node) as (peer, connection, sent):
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() < 1 << 20
        assert len(connection.association._reader._received) < 1 << 20
        assert echoes(node)
        whole = sent // len(echo_rq(7))
        assert whole > 500
        answers = peer.receive(whole * len(echo_answers(7)), 10.0)
        assert answers == echo_answers(7) * whole


def test_a_peer_that_does_not_read_is_cut_in_time() -> None:
    with scp(Timeouts(idle=SLOW, pdu=SLOW, close=0.1)) as node, not_reading(node):
        record = last_record(node)
        assert (record.outcome, record.code) == (TIMED_OUT, "inbound.unread")
        assert record.reason == "the peer has not read our answers for 0.4 s"
        assert record.fix == "see the peer's log: it hangs, or asks faster than it reads"
        wait_until_nothing_is_kept(node)


# --- stop ----------------------------------------------------------------------------------------------------------


def silent(_: VerificationSCP, peer: RawPeer) -> None:
    peer.send()


def half_sent(node: VerificationSCP, peer: RawPeer) -> None:
    peer.send(OPEN[:100])
    wait_until(lambda: any(c._bytes_came for c in list(listener_of(node)._connections)), within=30, what="bytes")


def open_association(_: VerificationSCP, peer: RawPeer) -> None:
    assert peer.exchange(OPEN) == ACCEPTED


def half_sent_echo(_: VerificationSCP, peer: RawPeer) -> None:
    assert peer.exchange(OPEN) == ACCEPTED
    peer.send(echo_rq()[:20])


def after_the_last_pdu(_: VerificationSCP, peer: RawPeer) -> None:
    assert peer.exchange(asking(calling=b"STRANGER")) == rejecting(1, 1, 3)


def owed_answers(_: VerificationSCP, peer: RawPeer) -> None:
    assert peer.exchange(OPEN) == ACCEPTED
    peer.send_until_it_is_not_taken(echo_rq(7))


def half_closed_and_owed_answers(node: VerificationSCP, peer: RawPeer) -> None:
    owed_answers(node, peer)
    peer.half_close()


HOSTILE = (
    silent,
    half_sent,
    open_association,
    half_sent_echo,
    after_the_last_pdu,
    owed_answers,
    half_closed_and_owed_answers,
)
LONG = Timeouts(request=30, pdu=30, idle=30, close=30, stop=SLOW)


@pytest.mark.parametrize("state", HOSTILE)
def test_stop_keeps_its_deadline_with_a_hostile_peer(
    state: Callable[[VerificationSCP, RawPeer], None],
) -> None:
    files = open_files()
    node = with_small_buffers(scp(LONG).start())
    with raw_peer(node.port, buffers=4096) as peer:
        state(node, peer)
        started = monotonic()
        node.stop()
        assert monotonic() - started < SLOW + WITHIN
    assert open_files() == files
    assert not [thread for thread in threading.enumerate() if thread.name == "minipacs"]


def test_a_connection_that_comes_as_we_stop_is_closed_too() -> None:
    for _ in range(20):
        files = open_files()
        node = scp(LONG).start()
        with raw_peer(node.port) as peer:
            node.stop()
            assert peer.receive_all() == b""
        assert open_files() == files
        assert not node.associations


def test_stop_aborts_what_is_still_open() -> None:
    with scp(LONG) as node, raw_peer(node.port) as peer:
        assert peer.exchange(OPEN) == ACCEPTED
        node.stop()
        assert peer.receive_all() == ABORT_0_0
        record = last_record(node)
        assert (record.outcome, record.code) == (ABORTED, "inbound.stopped")
        assert (record.reason, record.fix) == ("the node was stopped", None)


def test_stop_gives_what_is_open_a_moment_to_end() -> None:
    with scp(Timeouts(stop=5.0, close=0.05)) as node, raw_peer(node.port) as peer:
        assert peer.exchange(OPEN) == ACCEPTED
        stopping = threading.Thread(target=node.stop)
        stopping.start()
        wait_until(lambda: is_refused(node.port), within=30, what="refused connection")
        assert peer.exchange(echo_rq()) == echo_answers(1)
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
        peer.close()
        stopping.join(2.0)
        assert not stopping.is_alive()
        assert last_record(node).outcome is RELEASED


def test_a_request_that_is_half_sent_when_we_stop_is_not_blamed_on_the_peer() -> None:
    with scp(LONG) as node, raw_peer(node.port) as peer:
        half_sent(node, peer)
        node.stop()
        record = last_record(node)
        assert (record.outcome, record.code, record.reason) == (CLOSED, "inbound.stopped", "the node was stopped")


# --- the table is exchanged ----------------------------------------------------------------------------------------


def test_the_association_of_a_peer_that_is_removed_is_aborted_and_no_other() -> None:
    other = Peer("mr2", "MR_2")
    with (
        scp(peers=(ECHOSCU, other)) as node,
        associated(node) as removed,
        associated(node, asking(calling=b"MR_2")) as kept,
    ):
        node.peers = PeerTable([other])
        assert removed.receive_all() == ABORT_0_0
        record = last_record(node)
        assert (record.outcome, record.code, record.peer) == (ABORTED, "inbound.removed", "echoscu")
        assert (record.reason, record.fix) == ("the peer table no longer admits ECHOSCU", None)
        assert kept.exchange(echo_rq()) == echo_answers(1)
        with raw_peer(node.port) as peer:
            assert peer.exchange(OPEN) == rejecting(1, 1, 3)


NO_LONGER = {
    "another title": Peer("echoscu", "ECHOSCU2"),
    "another address": Peer("echoscu", "ECHOSCU", allow_from=("10.1.2.3",)),  # type: ignore[arg-type]
}
STILL = {
    "the same": ECHOSCU,
    "another name": Peer("workstation", "ECHOSCU"),
    "a host and a port": Peer("echoscu", "ECHOSCU", "192.0.2.7", 104),
    "this address": Peer("echoscu", "ECHOSCU", allow_from=("127.0.0.0/8",)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", NO_LONGER)
def test_a_change_that_no_longer_admits_the_peer_aborts_it(name: str, node: VerificationSCP) -> None:
    with associated(node) as peer:
        node.peers = PeerTable([NO_LONGER[name]])
        assert peer.receive_all() == ABORT_0_0
        assert last_record(node).code == "inbound.removed"


@pytest.mark.parametrize("name", STILL)
def test_a_change_that_still_admits_the_peer_leaves_it(name: str, node: VerificationSCP) -> None:
    with associated(node) as peer:
        node.peers = PeerTable([STILL[name], Peer("new", "NEW")])
        assert peer.exchange(echo_rq()) == echo_answers(1)
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
        assert last_record(node).outcome is RELEASED


def test_a_table_that_fails_aborts_what_it_cannot_answer_for(node: VerificationSCP) -> None:
    with associated(node) as peer:
        node.peers = BrokenTable()
        assert peer.receive_all() == ABORT_0_0


def test_peers_may_be_given_as_peers(node: VerificationSCP) -> None:
    node.peers = [Peer("mr2", "MR_2")]
    assert list(node.peers) == ["mr2"]
    assert not echoes(node)


# --- the node as a library -----------------------------------------------------------------------------------------


def test_nothing_of_an_association_stays_in_memory(node: VerificationSCP) -> None:
    for row in (NOT_DICOM["TLS"], OUT_OF_PLACE["request twice"], MESSAGES["two echoes at once"]):
        for _ in range(10):
            with raw_peer(node.port) as peer:
                peer.send(row.sent)
                assert peer.receive_all() == row.answer
    wait_until_nothing_is_kept(node)
    gc.collect()
    assert sum(isinstance(thing, Connection) for thing in gc.get_objects()) == 0


def test_the_last_thousand_associations_are_kept() -> None:
    with scp() as node:
        for number in range(1003):
            with raw_peer(node.port) as peer:
                assert peer.exchange(asking(calling=b"N%d" % number)) == rejecting(1, 1, 3)
        assert [record.calling_ae_title for record in node.associations] == [f"N{n}" for n in range(3, 1003)]


def test_what_has_not_ended_cannot_be_waited_for_for_ever(node: VerificationSCP) -> None:
    with associated(node), pytest.raises(TimeoutError, match=r"0 associations ended within 0\.1 s, not 1"):
        node.wait_for_associations(1, timeout=0.1)


def test_a_node_can_be_started_again() -> None:
    node = scp()
    for count in (1, 2):
        with node:
            assert echoes(node)
            assert len(node.wait_for_associations(count)) == count


def test_a_node_can_be_stopped_twice() -> None:
    with scp() as node:
        node.stop()
    node.stop()


def test_several_nodes_run_side_by_side() -> None:
    with scp() as one, scp() as other:
        assert one.port != other.port
        assert echoes(one)
        assert echoes(other)


def test_a_port_in_use_is_told() -> None:
    with scp() as node:
        other = VerificationSCP(port=node.port)
        with pytest.raises(ListenError) as raised:
            other.start()
        assert str(raised.value) == (
            f"cannot listen on 127.0.0.1 port {node.port}: the port is in use; stop what listens there, or choose "
            "another with --port"
        )
    with other:  # free now
        assert other.port == node.port


@pytest.mark.parametrize(
    ("host", "words_of_it"),
    [
        ("192.0.2.1", "that is not an address of this machine; choose one with --host (0.0.0.0: all of them)"),
        ("no-such-host.invalid", "the name does not resolve; choose an address of this machine with --host"),
    ],
)
def test_a_host_that_is_not_ours_is_told(host: str, words_of_it: str) -> None:
    node = VerificationSCP(host=host, port=0)
    with pytest.raises(ListenError) as raised:
        node.start()
    assert str(raised.value) == f"cannot listen on {host} port 0: {words_of_it}"


def test_a_privileged_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    node = VerificationSCP(port=104)
    with pytest.raises(ListenError) as raised:
        node.start()
    assert str(raised.value) == (
        "cannot listen on 127.0.0.1 port 104: ports below 1024 need privileges; choose another with --port (11112 and "
        "2762 are DICOM's own)"
    )


@pytest.mark.parametrize("ae_title", ["", "SEVENTEEN-LETTERS", "A\\B", "RÖNTGEN"])
def test_an_ae_title_that_is_none_is_refused(ae_title: str) -> None:
    """Nobody could call us by it."""
    with pytest.raises(ValueError, match="ae_title: must "):
        VerificationSCP(ae_title=ae_title)


def test_small_pdus_are_sent_at_once(node: VerificationSCP) -> None:
    with associated(node):
        [connection] = listener_of(node)._associations
        assert connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_piece_of_a_pdu_is_acknowledged_at_once_again_and_again(
    node: VerificationSCP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option does not stick: the kernel drops it when it thinks fit. A whole PDU our answer acknowledges."""
    armed: list[object] = []
    monkeypatch.setattr("minipacs.connection.tune", armed.append)
    monkeypatch.setattr("minipacs.connection.acknowledge_at_once", armed.append)
    data = echo_rq()
    with associated(node) as peer:
        for number in range(1, 4):
            peer.send(data[:6])
            wait_until(lambda count=number + 1: len(armed) == count, within=5, what="acknowledgement")  # type: ignore[misc]
            assert peer.exchange(data[6:]) == echo_answers(1)
        [held] = listener_of(node)._associations
        assert armed == [held._socket] * 4


def test_a_node_listens_on_ipv6() -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with VerificationSCP(PEERS, host="::1", port=0, timeouts=SHORT) as node:
        assert echo(Peer("node", "MINIPACS", "::1", node.port), "ECHOSCU").is_success
        assert not echo(Peer("node", "MINIPACS", "::1", node.port), "MR_2").is_success
        record = last_record(node, 2)
        assert record.address == "::1"
        assert record.fix == "minipacs peers add mr_2 'MR_2@[::1]:PORT', with the port where it listens"
