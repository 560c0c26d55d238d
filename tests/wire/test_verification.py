"""The Verification service: what is accepted, what each message is answered, and with what words it is tolerated."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minipacs.errors import PDUError
from minipacs.wire.dimse import C_ECHO_RQ, VERIFICATION, CommandSet, c_echo_rq, response
from minipacs.wire.indications import Violation
from minipacs.wire.items import ContextResult, ProposedContext
from minipacs.wire.pdu import Abort
from minipacs.wire.state_table import State
from minipacs.wire.verification import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    answer,
    negotiate,
    request,
    user_information,
)
from tests.wire.exchange import (
    ABORT_2_2,
    ABORT_2_6,
    ACCEPTANCE,
    CT_IMAGE_STORAGE,
    REQUEST,
    End,
    bounded,
    p_data,
    scp,
)

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"

# PS3.7 Table E.1-1, (0000,0100).
OTHER_REQUESTS = {
    "C-STORE": 0x0001,
    "C-GET": 0x0010,
    "C-FIND": 0x0020,
    "C-MOVE": 0x0021,
    "N-EVENT-REPORT": 0x0100,
    "N-GET": 0x0110,
    "N-SET": 0x0120,
    "N-ACTION": 0x0130,
    "N-CREATE": 0x0140,
    "N-DELETE": 0x0150,
}

# --- what is asked and told ----------------------------------------------------------------------------------------


def test_a_request_proposes_verification_in_implicit_vr_alone() -> None:
    assert request("ECHOSCU", "MINIPACS").contexts == (ProposedContext(1, VERIFICATION, (IMPLICIT,)),)


def test_a_request_can_propose_more() -> None:
    asking = request("ECHOSCU", "MINIPACS", (EXPLICIT, IMPLICIT), 0)
    assert asking.contexts == (ProposedContext(1, VERIFICATION, (EXPLICIT, IMPLICIT)),)
    assert asking.user_information.maximum_length == 0


def test_we_tell_who_we_are() -> None:
    told = user_information()
    assert (told.maximum_length, told.implementation_class_uid) == (16_384, IMPLEMENTATION_CLASS_UID)
    assert told.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16
    assert IMPLEMENTATION_VERSION_NAME.startswith("MINIPACS_")


# --- negotiation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN])
def test_verification_is_accepted_in_every_uncompressed_syntax(syntax: str) -> None:
    assert negotiate((ProposedContext(1, VERIFICATION, (syntax,)),)) == (ContextResult(1, 0, syntax),)


def test_the_first_syntax_that_we_know_is_taken() -> None:
    proposal = ProposedContext(3, VERIFICATION, (JPEG, BIG_ENDIAN, IMPLICIT))
    assert negotiate((proposal,)) == (ContextResult(3, 0, BIG_ENDIAN),)


def test_another_abstract_syntax_is_not_supported() -> None:
    assert negotiate((ProposedContext(1, CT_IMAGE_STORAGE, (IMPLICIT,)),)) == (ContextResult(1, 3, IMPLICIT),)


def test_other_transfer_syntaxes_are_not_supported() -> None:
    assert negotiate((ProposedContext(1, VERIFICATION, (JPEG,)),)) == (ContextResult(1, 4, JPEG),)


@pytest.mark.parametrize(("abstract", "result"), [(VERIFICATION, 4), (CT_IMAGE_STORAGE, 3)])
def test_a_context_without_transfer_syntaxes_is_refused_with_one(abstract: str, result: int) -> None:
    """The item has to be there, though it is not significant (PS3.8 §9.3.3.2)."""
    assert negotiate((ProposedContext(1, abstract, ()),)) == (ContextResult(1, result, IMPLICIT),)


def test_every_context_is_answered_in_its_place() -> None:
    proposals = tuple(
        ProposedContext(2 * n + 1, VERIFICATION if n % 2 else CT_IMAGE_STORAGE, (IMPLICIT,)) for n in range(128)
    )
    results = negotiate(proposals)
    assert [result.context_id for result in results] == [proposal.context_id for proposal in proposals]
    assert [result.result for result in results] == [3, 0] * 64


# --- the answer to one command -------------------------------------------------------------------------------------


def test_an_echo_succeeds() -> None:
    expected = CommandSet(
        command_field=0x8030, affected_sop_class_uid=VERIFICATION, message_id_being_responded_to=7, status=0x0000
    )
    assert answer(c_echo_rq(7)) == expected


def test_an_echo_without_a_sop_class_succeeds() -> None:
    assert answer(CommandSet(command_field=C_ECHO_RQ, message_id=7)) == CommandSet(
        command_field=0x8030, message_id_being_responded_to=7, status=0x0000
    )


@pytest.mark.parametrize("uid", [CT_IMAGE_STORAGE, "", VERIFICATION + ".1", "\xff"])
def test_an_echo_of_another_sop_class_does_not(uid: str) -> None:
    reply = answer(CommandSet(command_field=C_ECHO_RQ, affected_sop_class_uid=uid, message_id=7))
    assert reply is not None
    assert (reply.status, reply.affected_sop_class_uid) == (0x0122, uid)


@pytest.mark.parametrize("field", OTHER_REQUESTS.values(), ids=OTHER_REQUESTS)
def test_another_operation_is_not_recognized(field: int) -> None:
    reply = answer(CommandSet(command_field=field, affected_sop_class_uid=CT_IMAGE_STORAGE, message_id=7))
    assert reply == CommandSet(
        command_field=field | 0x8000,
        affected_sop_class_uid=CT_IMAGE_STORAGE,
        message_id_being_responded_to=7,
        status=0x0211,
    )


def test_a_cancel_has_no_answer() -> None:
    assert answer(CommandSet(command_field=0x0FFF, message_id_being_responded_to=7)) is None


@pytest.mark.parametrize("field", [0x8030, *(field | 0x8000 for field in OTHER_REQUESTS.values())])
def test_a_response_to_nothing_is_refused(field: int) -> None:
    with pytest.raises(PDUError) as raised:
        answer(CommandSet(command_field=field, message_id_being_responded_to=7, status=0))
    assert (str(raised.value), raised.value.reason) == (f"response 0x{field:04X} to no request of ours", 2)


@pytest.mark.parametrize("field", [C_ECHO_RQ, *OTHER_REQUESTS.values()])
def test_a_request_without_a_message_id_is_refused(field: int) -> None:
    with pytest.raises(PDUError) as raised:
        answer(CommandSet(command_field=field))
    assert (str(raised.value), raised.value.reason) == ("request without a message ID", 6)


# --- the same over an association ----------------------------------------------------------------------------------


def served(*received: bytes) -> End:
    """An SCP after a request and this, and its bytes behind the A-ASSOCIATE-AC."""
    end = End(scp)
    end.take(REQUEST.encode())
    assert bytes(end.sent) == ACCEPTANCE.encode()
    end.sent.clear()
    for data in received:
        end.take(data)
    return end


def reply_to(command: CommandSet, status: int) -> bytes:
    return p_data(response(command, status).encode())


ECHO = c_echo_rq(7)
ELEMENTS = ECHO.encode()[12:]  # behind the group length
SOP_CLASS = ELEMENTS[:26]
STORE = CommandSet(command_field=0x0001, affected_sop_class_uid=CT_IMAGE_STORAGE, message_id=7, has_data_set=True)


@pytest.mark.parametrize(
    ("data", "observation"),
    [
        (ELEMENTS, "command set without a group length"),
        (b"\0\0\0\0\4\0\0\0\1\0\0\0" + ELEMENTS, "wrong group length in the command set"),
        (ELEMENTS[26:] + SOP_CLASS, "elements of the command set out of order"),
        (ELEMENTS[:-10], "command set without a data set type: taken as without a data set"),
    ],
)
def test_a_deviating_echo_succeeds_and_is_observed(data: bytes, observation: str) -> None:
    end = served(p_data(data))
    assert bytes(end.sent) == reply_to(ECHO, 0x0000)
    assert observation in end.association.observations
    assert end.association.state is State.Sta6


def test_an_echo_without_a_sop_class_succeeds_and_is_observed() -> None:
    command = CommandSet(command_field=C_ECHO_RQ, message_id=7)
    end = served(p_data(command.encode()))
    assert bytes(end.sent) == reply_to(command, 0x0000)
    assert end.association.observations == ("C-ECHO-RQ without an affected SOP class UID",)


def test_an_echo_of_another_sop_class_is_answered_0122() -> None:
    command = CommandSet(command_field=C_ECHO_RQ, affected_sop_class_uid=CT_IMAGE_STORAGE, message_id=7)
    end = served(p_data(command.encode()))
    assert bytes(end.sent) == reply_to(command, 0x0122)
    assert end.association.state is State.Sta6


def test_an_echo_in_several_pdvs_and_pdus_succeeds() -> None:
    data = ECHO.encode()
    end = served(p_data(data[:20], is_last=False), p_data(data[20:21], is_last=False) + p_data(data[21:]))
    assert bytes(end.sent) == reply_to(ECHO, 0x0000)


def test_a_store_is_answered_0211_when_its_data_set_has_ended() -> None:
    end = served(p_data(STORE.encode()), p_data(bytes(1000), is_command=False, is_last=False))
    assert bytes(end.sent) == b""
    assert end.association.is_partial
    end.take(p_data(b"", is_command=False))
    assert bytes(end.sent) == reply_to(STORE, 0x0211)
    assert not end.association.is_partial
    end.take(p_data(ECHO.encode()))
    assert bytes(end.sent) == reply_to(STORE, 0x0211) + reply_to(ECHO, 0x0000)


def test_a_data_set_that_is_announced_and_never_sent_leaves_the_message_partial() -> None:
    end = served(p_data(STORE.encode()))
    assert bytes(end.sent) == b""
    assert end.association.is_partial
    assert end.association.state is State.Sta6


def test_an_echo_with_a_data_set_succeeds_and_is_observed() -> None:
    command = CommandSet(command_field=C_ECHO_RQ, affected_sop_class_uid=VERIFICATION, message_id=7, has_data_set=True)
    end = served(p_data(command.encode()) + p_data(b"ab", is_command=False))
    assert bytes(end.sent) == reply_to(ECHO, 0x0000)
    assert end.association.observations == ("C-ECHO-RQ with a data set",)


def test_a_cancel_leaves_the_association_open() -> None:
    cancel = CommandSet(command_field=0x0FFF, message_id_being_responded_to=7)
    end = served(p_data(cancel.encode()) + p_data(ECHO.encode()))
    assert bytes(end.sent) == reply_to(ECHO, 0x0000)


def test_an_unknown_command_field_is_aborted_at_once() -> None:
    end = served(p_data(ECHO.encode().replace(b"\x30\0", b"\x31\0")))
    assert bytes(end.sent) == ABORT_2_6
    assert _last_violation(end) == ("unknown command field 0x0031", Abort(2, 6))


def test_an_echo_response_of_the_requestor_is_aborted() -> None:
    end = served(reply_to(ECHO, 0x0000))
    assert bytes(end.sent) == ABORT_2_2
    assert _last_violation(end) == ("response 0x8030 to no request of ours", Abort(2, 2))
    assert end.association.state is State.Sta13


def test_a_request_without_a_message_id_is_aborted() -> None:
    end = served(p_data(CommandSet(command_field=C_ECHO_RQ, affected_sop_class_uid=VERIFICATION).encode()))
    assert bytes(end.sent) == ABORT_2_6
    assert _last_violation(end) == ("request without a message ID", Abort(2, 6))


def _last_violation(end: End) -> tuple[str, Abort]:
    violation = end.indications[-1]
    assert isinstance(violation, Violation)
    return violation.text, violation.abort


@bounded
@given(st.binary(max_size=64))
@example(b"1.2.840.10008.1.1\xc3\x28")
def test_a_sop_class_of_any_bytes_is_answered(value: bytes) -> None:
    """Neither its 8-bit bytes nor its length make us raise; what is answered is what came."""
    asking = CommandSet(command_field=C_ECHO_RQ, affected_sop_class_uid=value.decode("latin-1"), message_id=7)
    end = served(p_data(asking.encode()))
    uid = value.rstrip(b"\0 ").decode("latin-1")
    status = 0x0000 if uid == VERIFICATION else 0x0122
    assert bytes(end.sent) == reply_to(
        CommandSet(command_field=C_ECHO_RQ, affected_sop_class_uid=uid, message_id=7), status
    )
