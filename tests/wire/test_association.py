"""One association: what its user may call and when, what the peer's answer is worth, what is tolerated."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from minipacs.errors import LocalProtocolError, PDUError
from minipacs.wire.associate import AssociateAC, AssociateRQ
from minipacs.wire.association import Association
from minipacs.wire.dimse import SUCCESS, VERIFICATION, c_echo_rq, response
from minipacs.wire.indications import Closed, Violation
from minipacs.wire.items import ContextResult, Item, ProposedContext, UserInformation, item
from minipacs.wire.messages import Message
from minipacs.wire.pdu import Abort
from minipacs.wire.state_table import State
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN, user_information
from tests.wire.exchange import (
    ABORT_0_0,
    ABORT_2_2,
    ABORT_2_6,
    ACCEPTANCE,
    CT_IMAGE_STORAGE,
    REJECTION,
    REQUEST,
    End,
    asked,
    asking_for,
    bounded,
    connected,
    drain,
    echo,
    echo_answers,
    open_acceptor,
    open_requestor,
    p_data,
    proposal,
    scp,
    told,
    with_length,
)

# --- bytes in, bytes out -------------------------------------------------------------------------------------------


def test_an_abort_ends_what_was_partial() -> None:
    association = open_acceptor()
    assert told(association, echo()[:20]) == []
    association.abort()
    assert association.data_to_send() == ABORT_0_0
    assert association.state is State.Sta13


def test_a_peer_that_aborts_leaves_nothing_to_answer() -> None:
    association = open_acceptor()
    assert told(association, ABORT_2_6 + echo()) == [Abort(2, 6)]
    assert association.data_to_send() == b""
    assert association.is_over


def test_a_peer_owes_bytes_from_the_first_of_a_message_to_its_last() -> None:
    association = open_acceptor()
    command = c_echo_rq(1).encode()
    data = p_data(command[:10], is_last=False) + p_data(command[10:])
    for byte in data[:-1]:
        assert told(association, bytes([byte])) == []
        assert association.is_partial
    assert told(association, data[-1:]) == [Message(1, c_echo_rq(1))]
    assert not association.is_partial


def test_whole_pdus_are_counted() -> None:
    association = connected()
    told(association, REQUEST.encode()[:-1])
    assert association.pdus_received == 0
    told(association, REQUEST.encode()[-1:])
    assert association.pdus_received == 1
    association = open_acceptor()
    told(association, echo() * 3 + echo()[:-1])
    assert association.pdus_received == 4


def test_nothing_happens_before_the_next_indication_is_asked_for() -> None:
    association = connected()
    association.receive_data(b"GET / HTTP/1.1\r\n")
    assert association.state is State.Sta2
    assert association.data_to_send() == b""


def test_bytes_are_sent_once() -> None:
    association = asked()
    association.reject(REJECTION)
    assert association.data_to_send() == REJECTION.encode()
    assert association.data_to_send() == b""


# --- calls that the state does not allow ---------------------------------------------------------------------------


def test_a_message_needs_an_accepted_context() -> None:
    association = open_requestor()
    with pytest.raises(LocalProtocolError, match=r"^presentation context 3 was not accepted$"):
        association.send(3, c_echo_rq(1))
    assert association.data_to_send() == b""


def test_no_message_can_be_refused_where_none_can_come() -> None:
    association = Association()
    with pytest.raises(LocalProtocolError):
        association.refuse(PDUError("no"))
    assert association.state is State.Sta1
    assert drain(association) == []


def test_a_refused_message_is_a_violation_in_the_words_of_whoever_refused_it() -> None:
    association = open_acceptor()
    assert told(association, echo()) == [Message(1, c_echo_rq(1))]
    association.refuse(PDUError("not this one", Abort.UNEXPECTED_PDU))
    assert drain(association) == [Violation("not this one", Abort(2, 2), b"")]
    assert association.data_to_send() == ABORT_2_2
    assert association.state is State.Sta13


@pytest.mark.parametrize("make", [open_acceptor, open_requestor])
def test_a_connection_may_close_more_than_once(make: Callable[[], Association]) -> None:
    association = make()
    association.connection_closed()
    association.connection_closed()
    assert drain(association) == [Closed()]
    assert association.is_over


def test_an_association_that_never_had_a_connection_has_none_to_close() -> None:
    association = Association()
    assert not association.is_over
    association.associate(REQUEST)
    association.connection_closed()
    assert drain(association) == [Closed()]
    assert not association.is_over


# --- an acceptance that a requestor gets ---------------------------------------------------------------------------


def accepted(contexts: tuple[ContextResult, ...], information: UserInformation | None = None) -> Association:
    """A requestor of the contexts 1 and 3, after this answer."""
    syntaxes = (IMPLICIT_VR_LITTLE_ENDIAN,)
    asking = AssociateRQ(
        called_ae_title="MINIPACS",
        calling_ae_title="ECHOSCU",
        contexts=(ProposedContext(1, "1.2.840.10008.1.1", syntaxes), ProposedContext(3, CT_IMAGE_STORAGE, syntaxes)),
    )
    association = Association()
    association.associate(asking)
    association.connected()
    answer = AssociateAC(contexts=contexts, fixed_fields=bytes(64), user_information=information or user_information())
    assert told(association, answer.encode()) == [answer]
    return association


def test_only_the_contexts_that_were_accepted_can_be_used() -> None:
    association = accepted((ContextResult(1, 0, IMPLICIT_VR_LITTLE_ENDIAN), ContextResult(3, 3, "1.2")))
    assert association.accepted_contexts == {1: IMPLICIT_VR_LITTLE_ENDIAN}
    assert association.observations == ()


def test_an_answer_to_what_was_not_proposed_is_passed_over() -> None:
    association = accepted((ContextResult(1, 0, IMPLICIT_VR_LITTLE_ENDIAN), ContextResult(5, 0, "1.2")))
    assert association.accepted_contexts == {1: IMPLICIT_VR_LITTLE_ENDIAN}
    assert association.observations == (
        "answer to presentation context 5, which awaits none",
        "presentation context 3 was not answered",
    )


def test_an_acceptance_in_a_transfer_syntax_that_was_not_proposed_is_told() -> None:
    association = accepted((ContextResult(1, 0, "1.2"), ContextResult(3, 3, "1.2")))
    assert association.accepted_contexts == {1: "1.2"}
    assert association.observations == ("presentation context 1 accepted in a transfer syntax not proposed",)


def test_a_result_outside_the_standard_is_a_refusal_and_told() -> None:
    association = accepted((ContextResult(1, 9, ""), ContextResult(3, 3, "1.2")))
    assert association.accepted_contexts == {}
    assert association.observations == ("presentation context 1 has result 9, which is none",)


def test_of_an_item_that_comes_twice_the_last_one_counts() -> None:
    association = connected()
    [asking] = told(association, with_length(REQUEST.encode()[6:] + item(0x10, b"1.2.3")))
    assert isinstance(asking, AssociateRQ)
    assert asking.application_context == "1.2.3"
    assert association.observations == ("item 0x10 twice: the last one counts",)


def test_the_fixed_fields_of_an_acceptance_are_not_tested() -> None:
    """PS3.8 Table 9-17; those here are all zero, and repeat nothing."""
    assert accepted((ContextResult(1, 0, "1.2"),)).state is State.Sta6


def test_the_peers_maximum_length_is_kept() -> None:
    association = accepted((ContextResult(1, 0, "1.2"),), UserInformation(20))
    association.data_to_send()
    association.send(1, c_echo_rq(1))
    assert association.data_to_send().startswith(b"\x04\0\0\0\0\x14")


# --- what a request may contain ------------------------------------------------------------------------------------


def test_128_contexts_of_100_transfer_syntaxes_are_negotiated() -> None:
    syntaxes = (*(f"1.2.840.10008.1.2.4.{n}" for n in range(99)), IMPLICIT_VR_LITTLE_ENDIAN)
    contexts = tuple(ProposedContext(2 * n + 1, "1.2.840.10008.1.1", syntaxes) for n in range(128))
    end = End(scp)
    end.take(asking_for(*contexts) + p_data(c_echo_rq(1).encode(), context_id=255))
    assert end.association.accepted_contexts == dict.fromkeys(range(1, 256, 2), IMPLICIT_VR_LITTLE_ENDIAN)
    assert end.association.state is State.Sta6
    assert bytes(end.sent).endswith(p_data(response(c_echo_rq(1), SUCCESS).encode(), context_id=255))


@bounded
@given(st.binary(max_size=64))
@example(b"1.2.840.10008.1.2\xe9")
def test_uids_of_any_bytes_are_answered(value: bytes) -> None:
    """Wherever a request has a UID; that of a transfer syntax is repeated."""
    uid = value.decode("latin-1")
    asking = AssociateRQ(
        called_ae_title="MINIPACS",
        calling_ae_title="ECHOSCU",
        contexts=(ProposedContext(1, uid, (uid,)), ProposedContext(3, VERIFICATION, (uid,))),
        user_information=UserInformation(0, uid, uid),
        application_context=uid,
    )
    end = End(scp)
    end.take(asking.encode())
    syntax = item(0x40, value.rstrip(b"\0 "))
    results = item(0x21, bytes([1, 0, 3, 0]) + syntax) + item(0x21, bytes([3, 0, 4, 0]) + syntax)
    assert results in bytes(end.sent)
    assert end.association.state is State.Sta6


def test_a_peer_without_a_maximum_length_gets_messages_whole() -> None:
    asking = asking_for(proposal(1), maximum_length=0)
    end = End(scp)
    end.take(asking + echo())
    assert bytes(end.sent).endswith(echo_answers(1))


def test_what_was_tolerated_is_told_once_and_in_order() -> None:
    body = REQUEST.encode()[6:].replace(b"MINIPACS        ", b"MINIPACS" + bytes(8), 1)
    body += item(0x77, b"") + item(0x78, b"") + item(0x77, b"")
    association = connected()
    [asking] = told(association, with_length(body))
    assert isinstance(asking, AssociateRQ)
    assert asking.called_ae_title == "MINIPACS"
    assert association.observations == (
        "unknown item 0x77 ignored",
        "unknown item 0x78 ignored",
        "AE title padded with NUL",
    )


def test_no_more_than_32_deviations_are_told() -> None:
    association = connected()
    body = REQUEST.encode()[6:] + b"".join(item(n, b"") for n in range(0x60, 0xA0))
    assert len(told(association, with_length(body))) == 1
    assert association.observations == tuple(f"unknown item 0x{n:02X} ignored" for n in range(0x60, 0x80))


def test_a_user_identity_is_accepted_without_an_answer() -> None:
    identity = Item(0x58, bytes.fromhex("01 01 0004") + b"jane" + bytes(2))
    end = End(scp)
    end.take(replace(REQUEST, user_information=replace(REQUEST.user_information, others=(identity,))).encode())
    assert bytes(end.sent) == ACCEPTANCE.encode()
    assert end.association.observations == ("user identity sent: neither checked nor answered",)
