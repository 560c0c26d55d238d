"""Messages in fragments: whole again in pynetdicom and here, however they were cut, and within the limit."""

from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import dimse_messages
from pynetdicom import pdu as theirs_pdu
from pynetdicom.dimse_primitives import C_ECHO, C_STORE

from minipacs.errors import PDUError
from minipacs.wire.dimse import SUCCESS, VERIFICATION, CommandSet, c_echo_rq, response
from minipacs.wire.header import HEADER_LENGTH
from minipacs.wire.messages import Message, MessageAssembler, fragment
from minipacs.wire.pdu import PDV, PDataTF
from tests.wire.exchange import CT_IMAGE_STORAGE, bounded, context_ids, ignore, uids, ushorts

LIMIT = 64 << 10
STORE = CommandSet(command_field=0x0001, affected_sop_class_uid=CT_IMAGE_STORAGE, message_id=3, has_data_set=True)

maximum_lengths = st.just(0) | st.integers(14, 120) | st.just(0xFFFFFFFF)


def assembled(pdus: list[PDataTF]) -> tuple[list[Message], list[str]]:
    """The messages in these PDUs, and what was observed."""
    observations: list[str] = []
    assembler = MessageAssembler(LIMIT)
    added = [assembler.add(pdv, observations.append) for pdu in pdus for pdv in pdu.pdvs]
    assert not assembler.is_partial
    return [message for message in added if message is not None], observations


# --- the same messages in pynetdicom -------------------------------------------------------------------------------


def their_decoding(pdus: list[PDataTF]) -> Any:
    """The DIMSE primitive that pynetdicom makes of these PDUs."""
    message = dimse_messages.DIMSEMessage()
    for pdu in pdus:
        theirs = theirs_pdu.P_DATA_TF()
        theirs.decode(pdu.encode())
        is_whole = message.decode_msg(theirs.to_primitive())
        assert is_whole == (pdu is pdus[-1])
    return message.message_to_primitive()


def their_encoding(message: Any, primitive: Any, context_id: int, maximum_length: int) -> list[PDataTF]:
    """The PDUs that pynetdicom makes of this DIMSE primitive."""
    message.primitive_to_message(primitive)
    encoded = [theirs_pdu.P_DATA_TF(p_data).encode() for p_data in message.encode_msg(context_id, maximum_length)]
    return [PDataTF.decode(data[HEADER_LENGTH:], ignore) for data in encoded]


@bounded
@given(context_ids, ushorts, maximum_lengths)
def test_a_request_in_fragments_is_whole_in_pynetdicom(context_id: int, message_id: int, maximum_length: int) -> None:
    theirs = their_decoding(fragment(context_id, c_echo_rq(message_id), maximum_length))
    assert isinstance(theirs, C_ECHO)
    assert (theirs._context_id, theirs.MessageID) == (context_id, message_id)
    assert theirs.AffectedSOPClassUID == VERIFICATION
    assert theirs.Status is None


@bounded
@given(context_ids, ushorts, ushorts, uids, maximum_lengths)
def test_a_response_in_fragments_is_whole_in_pynetdicom(
    context_id: int, message_id: int, status: int, sop_class_uid: str, maximum_length: int
) -> None:
    asking = CommandSet(command_field=0x0030, affected_sop_class_uid=sop_class_uid, message_id=message_id)
    theirs = their_decoding(fragment(context_id, response(asking, status), maximum_length))
    assert isinstance(theirs, C_ECHO)
    assert (theirs._context_id, theirs.MessageIDBeingRespondedTo) == (context_id, message_id)
    assert (theirs.AffectedSOPClassUID, theirs.Status) == (sop_class_uid, status)


@bounded
@given(context_ids, ushorts, maximum_lengths)
def test_an_echo_of_pynetdicom_in_fragments_is_whole(context_id: int, message_id: int, maximum_length: int) -> None:
    asking, answering = C_ECHO(), C_ECHO()
    asking.MessageID = answering.MessageIDBeingRespondedTo = message_id
    asking.AffectedSOPClassUID = answering.AffectedSOPClassUID = VERIFICATION
    answering.Status = SUCCESS
    request_pdus = their_encoding(dimse_messages.C_ECHO_RQ(), asking, context_id, maximum_length)
    response_pdus = their_encoding(dimse_messages.C_ECHO_RSP(), answering, context_id, maximum_length)
    assert assembled(request_pdus)[0] == [Message(context_id, c_echo_rq(message_id))]
    assert assembled(response_pdus)[0] == [Message(context_id, response(c_echo_rq(message_id), SUCCESS))]


@bounded
@given(ushorts, st.binary(min_size=1, max_size=200), maximum_lengths)
def test_a_store_of_pynetdicom_is_whole_when_its_data_set_has_ended(
    message_id: int, data_set: bytes, maximum_length: int
) -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.AffectedSOPClassUID = message_id, CT_IMAGE_STORAGE
    primitive.AffectedSOPInstanceUID, primitive.DataSet = "1.2.3", BytesIO(data_set)
    [message], _ = assembled(their_encoding(dimse_messages.C_STORE_RQ(), primitive, 1, maximum_length))
    assert message.command == CommandSet(
        command_field=0x0001,
        affected_sop_class_uid=CT_IMAGE_STORAGE,
        message_id=message_id,
        has_data_set=True,
        affected_sop_instance_uid="1.2.3",
    )


# --- fragments that we make ----------------------------------------------------------------------------------------


@bounded
@given(maximum_lengths, uids)
def test_no_pdu_is_longer_than_its_receiver_takes(maximum_length: int, sop_class_uid: str) -> None:
    """The maximum length counts what follows the header of the PDU (PS3.8 §D.1.1)."""
    command = CommandSet(command_field=0x0030, affected_sop_class_uid=sop_class_uid, message_id=1)
    pdus = fragment(1, command, maximum_length)
    assert all(len(pdu.encode()) - HEADER_LENGTH <= (maximum_length or 0xFFFFFFFF) for pdu in pdus)
    assert assembled(pdus) == ([Message(1, command)], [])


@bounded
@given(maximum_lengths)
def test_every_fragment_has_an_even_number_of_bytes(maximum_length: int) -> None:
    """PS3.8 §E.1, also where the receiver's maximum length is odd."""
    pdus = fragment(1, c_echo_rq(1), maximum_length)
    assert {len(pdv.data) % 2 for pdu in pdus for pdv in pdu.pdvs} == {0}
    assert all(pdv.data for pdu in pdus for pdv in pdu.pdvs)


def test_no_more_pdus_are_made_than_it_takes() -> None:
    """An echo has 68 bytes, and each PDV six more."""
    assert [len(fragment(1, c_echo_rq(1), n)) for n in (0, 16_384, 74, 73, 40, 14)] == [1, 1, 1, 2, 2, 9]


# --- fragments that come -------------------------------------------------------------------------------------------


def command_pdv(data: bytes, *, is_last: bool = True, context_id: int = 1) -> PDV:
    return PDV(context_id, is_command=True, is_last=is_last, data=data)


def data_pdv(data: bytes = b"ab", *, is_last: bool = True, context_id: int = 1) -> PDV:
    return PDV(context_id, is_command=False, is_last=is_last, data=data)


def added(*pdvs: PDV, limit: int = LIMIT) -> tuple[MessageAssembler, list[Message | None]]:
    assembler = MessageAssembler(limit)
    return assembler, [assembler.add(pdv, ignore) for pdv in pdvs]


@bounded
@given(st.lists(st.integers(0, 68), max_size=6))
def test_a_command_set_is_whole_however_it_was_cut(cuts: list[int]) -> None:
    data = c_echo_rq(1).encode()
    edges = [0, *sorted(cuts), len(data)]
    pdvs = [command_pdv(data[start:end], is_last=n == len(edges) - 2) for n, (start, end) in enumerate(pairwise(edges))]
    assembler, messages = added(*pdvs)
    assert messages == [None] * (len(pdvs) - 1) + [Message(1, c_echo_rq(1))]
    assert not assembler.is_partial


def test_a_message_is_partial_until_its_last_fragment() -> None:
    data = c_echo_rq(1).encode()
    assembler, messages = added(command_pdv(data[:10], is_last=False))
    assert (messages, assembler.is_partial) == ([None], True)
    assert assembler.add(command_pdv(data[10:]), ignore) == Message(1, c_echo_rq(1))
    assert not assembler.is_partial


def test_a_message_is_partial_until_the_data_set_that_it_announced_has_ended() -> None:
    assembler, messages = added(command_pdv(STORE.encode()), data_pdv(is_last=False))
    assert (messages, assembler.is_partial) == ([None, None], True)
    assert assembler.add(data_pdv(), ignore) == Message(1, STORE)
    assert not assembler.is_partial


def test_a_data_set_is_not_kept() -> None:
    assembler, _ = added(command_pdv(STORE.encode()), *[data_pdv(bytes(10_000), is_last=False)] * 20)
    assert not assembler._fragments


def test_messages_follow_each_other_on_any_context() -> None:
    first, second = c_echo_rq(1), c_echo_rq(2)
    _, messages = added(command_pdv(first.encode()), command_pdv(second.encode(), context_id=3))
    assert messages == [Message(1, first), Message(3, second)]


def test_a_fragment_of_an_odd_number_of_bytes_is_observed() -> None:
    data = c_echo_rq(1).encode()
    pdus = [PDataTF((command_pdv(data[:33], is_last=False), command_pdv(data[33:])))]
    assert assembled(pdus) == ([Message(1, c_echo_rq(1))], ["PDV fragment of an odd number of bytes"] * 2)


@pytest.mark.parametrize(
    ("pdvs", "fault"),
    [
        (
            [command_pdv(b"ab", is_last=False), command_pdv(b"cd", context_id=3)],
            "a message on context 1 goes on on context 3",
        ),
        ([data_pdv()], "data set without a command"),
        ([command_pdv(b"ab", is_last=False), data_pdv()], "data set without a command"),
        ([command_pdv(STORE.encode()), command_pdv(b"ab")], "command fragment inside a data set"),
        ([command_pdv(c_echo_rq(1).encode()), data_pdv()], "data set without a command"),
    ],
)
def test_a_fragment_that_does_not_fit_is_refused(pdvs: list[PDV], fault: str) -> None:
    with pytest.raises(PDUError) as raised:
        added(*pdvs)
    assert (str(raised.value), raised.value.reason) == (fault, 6)


def long_command(length: int) -> bytes:
    """A C-ECHO-RQ of *length* bytes, which is even."""
    short = CommandSet(command_field=0x0030, affected_sop_class_uid="", message_id=1)
    padded = CommandSet(command_field=0x0030, affected_sop_class_uid="1" * (length - len(short.encode())), message_id=1)
    return padded.encode()


@pytest.mark.parametrize("step", [1_000, 16_378, LIMIT])
def test_a_command_set_may_have_64_kib(step: int) -> None:
    data = long_command(LIMIT)
    assert len(data) == LIMIT
    pdvs = [command_pdv(data[n : n + step], is_last=n + step >= LIMIT) for n in range(0, LIMIT, step)]
    assert added(*pdvs)[1][-1] is not None


@pytest.mark.parametrize("step", [1_000, 16_378, LIMIT + 2])
def test_a_command_set_of_more_is_refused_before_its_end(step: int) -> None:
    pdvs = [command_pdv(bytes(step), is_last=False)] * (LIMIT // step + 1)
    with pytest.raises(PDUError, match=r"^command set of more than 65536 bytes$"):
        added(*pdvs)


def test_the_limit_of_a_command_set_can_be_set() -> None:
    with pytest.raises(PDUError, match=r"^command set of more than 67 bytes$"):
        added(command_pdv(c_echo_rq(1).encode()), limit=67)
    assert added(command_pdv(c_echo_rq(1).encode()), limit=68)[1] == [Message(1, c_echo_rq(1))]
