"""Peers that keep no rule: the exact A-ABORT of wire.md, the words for the log, and nothing kept behind it."""

from collections.abc import Callable

import pytest

from minipacs.wire.association import Association
from minipacs.wire.dimse import c_echo_rq
from minipacs.wire.indications import Violation
from minipacs.wire.items import ContextResult, ProposedContext
from minipacs.wire.pdu import Abort
from minipacs.wire.state_table import State
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN, negotiate, request, user_information
from tests.wire.exchange import (
    ABORT_0_0,
    ABORT_2_1,
    ABORT_2_2,
    ABORT_2_6,
    ACCEPTANCE,
    CT_IMAGE_STORAGE,
    REJECTION,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    asking_for,
    connected,
    echo,
    in_one_pdu,
    open_acceptor,
    open_requestor,
    p_data,
    proposal,
    told,
    with_length,
)

# --- first bytes that are no request -------------------------------------------------------------------------------


TOLD = len(REQUEST.user_information.encode()) - 4

NO_REQUEST = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", "unknown PDU type 0x47"),
    "TLS": (bytes.fromhex("160301020001000100"), "unknown PDU type 0x16"),
    "noise": (b"\xff" * 100, "unknown PDU type 0xFF"),
    "zeros": (bytes(100), "unknown PDU type 0x00"),
    "acceptance": (ACCEPTANCE.encode(), "unexpected A-ASSOCIATE-AC in Sta2"),
    "rejection": (REJECTION.encode(), "unexpected A-ASSOCIATE-RJ in Sta2"),
    "data": (echo(), "unexpected P-DATA-TF in Sta2"),
    "release": (RELEASE_RQ, "unexpected A-RELEASE-RQ in Sta2"),
    "release reply": (RELEASE_RP, "unexpected A-RELEASE-RP in Sta2"),
    "nothing": (with_length(b""), "A-ASSOCIATE PDU of 0 bytes, fewer than its fixed fields"),
    "1 MiB": (b"\x01\0\0\x10\0\x01", "A-ASSOCIATE-RQ of 1048577 bytes, more than the 1048576 that we take"),
    "4 GiB": (b"\x01\0\xff\xff\xff\xff", "A-ASSOCIATE-RQ of 4294967295 bytes, more than the 1048576 that we take"),
    "data of 4 GiB": (b"\x04\0\xff\xff\xff\xff", "P-DATA-TF of 4294967295 bytes, more than the 16384 that we take"),
    "truncated": (with_length(REQUEST.encode()[6:-1]), f"item 0x50 announces {TOLD} bytes, {TOLD - 1} are there"),
    "item too long": (with_length(bytes(68) + b"\x10\0\xff\xff1.2"), "item 0x10 announces 65535 bytes, 3 are there"),
    "item cut short": (with_length(bytes(68) + b"\x10\0"), "an item header is cut short"),
    "no context": (asking_for(), "no presentation context proposed"),
    "context twice": (asking_for(proposal(1), proposal(1)), "a presentation context ID is used twice"),
    "context 0": (asking_for(proposal(0)), "presentation context ID 0 is not odd"),
    "context 2": (asking_for(proposal(1), proposal(2)), "presentation context ID 2 is not odd"),
    "maximum length 1": (
        asking_for(proposal(1), maximum_length=1),
        "maximum length 1 leaves no room for a fragment",
    ),
    "maximum length 13": (
        asking_for(proposal(1), maximum_length=13),
        "maximum length 13 leaves no room for a fragment",
    ),
}


@pytest.mark.parametrize("name", NO_REQUEST)
def test_no_request_is_aborted_as_by_the_user(name: str) -> None:
    """AA-1: no association, so that there is no provider of one to speak for."""
    data, text = NO_REQUEST[name]
    association = connected()
    assert told(association, data) == [Violation(text, Abort(0, 0), data[:64])]
    assert association.data_to_send() == ABORT_0_0
    assert association.state is State.Sta13
    assert told(association, REQUEST.encode()) == []
    assert association.data_to_send() == b""
    assert association._reader._received == b""


def test_the_limit_of_a_request_can_be_set() -> None:
    association = Association(associate_pdu_limit=1000)
    association.connected()
    assert told(association, b"\x01\0\0\0\x03\xe8") == []
    association = Association(associate_pdu_limit=1000)
    association.connected()
    [violation] = told(association, b"\x01\0\0\0\x03\xe9")
    assert isinstance(violation, Violation)
    assert violation.text == "A-ASSOCIATE-RQ of 1001 bytes, more than the 1000 that we take"


# --- faults on an open association ---------------------------------------------------------------------------------

COMMAND = c_echo_rq(1).encode()

FAULTS = {
    "second request": (REQUEST.encode(), "unexpected A-ASSOCIATE-RQ in Sta6", ABORT_2_2),
    "acceptance": (ACCEPTANCE.encode(), "unexpected A-ASSOCIATE-AC in Sta6", ABORT_2_2),
    "release reply": (RELEASE_RP, "unexpected A-RELEASE-RP in Sta6", ABORT_2_2),
    "unknown type": (b"\x08", "unknown PDU type 0x08", ABORT_2_1),
    "too long": (b"\x04\0\0\0\x40\x01", "P-DATA-TF of 16385 bytes, more than the 16384 that we take", ABORT_2_6),
    "4 GiB": (
        b"\x04\0\xff\xff\xff\xff",
        "P-DATA-TF of 4294967295 bytes, more than the 16384 that we take",
        ABORT_2_6,
    ),
    "long release": (b"\x05\0\0\0\x04\x01", "A-RELEASE-RQ of 1025 bytes, more than the 1024 that we take", ABORT_2_6),
    "short release": (b"\x05\0\0\0\0\x03abc", "A-RELEASE-RQ of 3 bytes, not 4", ABORT_2_6),
    "no PDV": (b"\x04\0\0\0\0\0", "P-DATA-TF without a PDV item", ABORT_2_6),
    "PDV of 0": (b"\x04\0\0\0\0\x06\0\0\0\0\1\3", "PDV item of 0 bytes in a P-DATA-TF of 6", ABORT_2_6),
    "PDV of 1": (b"\x04\0\0\0\0\x06\0\0\0\1\1\3", "PDV item of 1 bytes in a P-DATA-TF of 6", ABORT_2_6),
    "PDV past its PDU": (b"\x04\0\0\0\0\x06\0\0\0\3\1\3", "PDV item of 3 bytes in a P-DATA-TF of 6", ABORT_2_6),
    "context not accepted": (
        p_data(COMMAND, context_id=3),
        "data on presentation context 3, which was not accepted",
        ABORT_2_6,
    ),
    "data set first": (p_data(b"ab", is_command=False), "data set without a command", ABORT_2_6),
    "command field": (p_data(COMMAND.replace(b"\x30\0", b"\x31\0")), "unknown command field 0x0031", ABORT_2_6),
    "empty command": (p_data(b""), "command set without a command field", ABORT_2_6),
    "noise for a command": (p_data(b"\xff" * 8), "element (FFFF,FFFF) in a command set", ABORT_2_6),
}


@pytest.mark.parametrize("make", [open_acceptor, open_requestor], ids=["acceptor", "requestor"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_on_an_open_association_is_aborted_as_by_the_provider(
    name: str, make: Callable[[], Association]
) -> None:
    data, text, abort = FAULTS[name]
    association = make()
    assert told(association, data) == [Violation(text, Abort(abort[8], abort[9]), data[:64])]
    assert association.data_to_send() == abort
    assert association.state is State.Sta13
    assert told(association, echo() + RELEASE_RQ + REQUEST.encode()) == []
    assert association.data_to_send() == b""
    assert association._reader._received == b""


def test_data_on_a_context_that_we_refused_is_aborted() -> None:
    association = connected()
    told(association, asking_for(proposal(1), ProposedContext(3, CT_IMAGE_STORAGE, (IMPLICIT_VR_LITTLE_ENDIAN,))))
    association.accept((ContextResult(1, 0, "1.2"), ContextResult(3, 3, "1.2")), user_information())
    assert association.accepted_contexts == {1: "1.2"}
    [violation] = told(association, p_data(COMMAND, context_id=3))
    assert isinstance(violation, Violation)
    assert violation.text == "data on presentation context 3, which was not accepted"


def test_nothing_is_kept_of_what_was_behind_a_fault_in_its_pdu() -> None:
    association = open_acceptor()
    assert len(told(association, in_one_pdu(b"?", COMMAND, COMMAND))) == 1
    assert len(association._pdvs) == 0


@pytest.mark.parametrize("maximum_length", [14, 100, 65_536])
def test_the_length_that_an_acceptor_announced_is_the_limit(maximum_length: int) -> None:
    at_limit, above = (b"\x04\0" + n.to_bytes(4, "big") for n in (maximum_length, maximum_length + 1))
    association = open_acceptor(maximum_length)
    assert told(association, at_limit) == []
    assert association.is_partial
    [violation] = told(open_acceptor(maximum_length), above)
    assert isinstance(violation, Violation)
    expected = f"P-DATA-TF of {maximum_length + 1} bytes, more than the {maximum_length} that we take"
    assert (violation.text, violation.abort) == (expected, Abort(2, 6))


def test_the_length_that_a_requestor_announced_is_the_limit() -> None:
    association = Association()
    association.associate(request("ECHOSCU", "MINIPACS", maximum_length=100))
    association.connected()
    [_, violation] = told(association, ACCEPTANCE.encode() + b"\x04\0\0\0\0\x65")
    assert isinstance(violation, Violation)
    assert violation.text == "P-DATA-TF of 101 bytes, more than the 100 that we take"


def test_a_command_set_of_more_than_64_kib_is_aborted_before_its_end() -> None:
    association = open_acceptor()
    most = p_data(bytes(16_378), is_last=False)
    assert told(association, most * 4) == []
    assert told(association, most) == [Violation("command set of more than 65536 bytes", Abort(2, 6), most[:64])]
    assert association.data_to_send() == ABORT_2_6


def test_the_limit_of_a_command_set_can_be_set() -> None:
    association = Association(command_set_limit=67)
    association.connected()
    told(association, REQUEST.encode())
    association.accept(negotiate(REQUEST.contexts), user_information())
    [violation] = told(association, echo())
    assert isinstance(violation, Violation)
    assert violation.text == "command set of more than 67 bytes"
