"""Command sets: the same values in pydicom and pynetdicom, tolerance with its words, and what is refused."""

import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import dimse_messages, dimse_primitives, dsutils

from minipacs.errors import PDUError
from minipacs.wire.dimse import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_ECHO_RSP,
    SUCCESS,
    VERIFICATION,
    CommandSet,
    c_echo_rq,
    response,
)
from tests.wire.exchange import bounded, ignore, mutated, uids, ushorts

MESSAGE_TYPES: dict[int, tuple[str, type[Any]]] = dimse_messages._MESSAGE_TYPES

command_sets = st.builds(
    CommandSet,
    command_field=st.sampled_from(sorted(MESSAGE_TYPES)),
    affected_sop_class_uid=st.none() | uids,
    message_id=st.none() | ushorts,
    message_id_being_responded_to=st.none() | ushorts,
    has_data_set=st.booleans(),
    status=st.none() | ushorts,
)

KEYWORDS = {
    "affected_sop_class_uid": "AffectedSOPClassUID",
    "command_field": "CommandField",
    "message_id": "MessageID",
    "message_id_being_responded_to": "MessageIDBeingRespondedTo",
    "status": "Status",
}

# --- the same values elsewhere -------------------------------------------------------------------------------------


def their_bytes(command_set: Dataset) -> bytes:
    """A command set as pynetdicom writes it."""
    data: bytes | None = dsutils.encode(command_set, True, True)
    assert data is not None
    return data


def in_pydicom(ours: CommandSet) -> Dataset:
    """The same command set, made without us."""
    theirs = Dataset()
    for name, keyword in KEYWORDS.items():
        if getattr(ours, name) is not None:
            setattr(theirs, keyword, getattr(ours, name))
    theirs.CommandDataSetType = 0x0001 if ours.has_data_set else 0x0101
    theirs.CommandGroupLength = len(their_bytes(theirs))
    return theirs


@bounded
@given(command_sets)
def test_a_command_set_is_the_same_in_pydicom(ours: CommandSet) -> None:
    theirs = in_pydicom(ours)
    assert dsutils.decode(BytesIO(ours.encode()), True, True) == theirs
    assert their_bytes(theirs) == ours.encode()


@bounded
@given(command_sets)
def test_a_command_set_that_pydicom_wrote_is_read(ours: CommandSet) -> None:
    assert CommandSet.decode(their_bytes(in_pydicom(ours)), ignore) == ours


def their_message(field: int, message_id: int, *, data_set: bytes = b"") -> Any:
    """Any message of DIMSE as pynetdicom makes it, with as much filled in as this kind of message has."""
    name, kind = MESSAGE_TYPES[field]
    primitive = getattr(dimse_primitives, name.rpartition("-")[0].replace("-", "_"))()
    is_response = name.endswith("RSP") or field == C_CANCEL_RQ
    primitive.__setattr__("MessageIDBeingRespondedTo" if is_response else "MessageID", message_id)
    for keyword, value in {"AffectedSOPClassUID": VERIFICATION, "Status": SUCCESS}.items():
        if hasattr(primitive, keyword):
            setattr(primitive, keyword, value)
    if data_set:
        setattr(primitive, dimse_messages._DATASET_KEYWORDS[kind.__name__], BytesIO(data_set))
    message = kind()
    message.primitive_to_message(primitive)
    return message


@pytest.mark.parametrize("field", MESSAGE_TYPES, ids=lambda field: MESSAGE_TYPES[field][0])
@pytest.mark.parametrize("message_id", [0, 1, 65535])
def test_each_message_that_pynetdicom_knows_is_read(field: int, message_id: int) -> None:
    command = CommandSet.decode(their_bytes(their_message(field, message_id).command_set), ignore)
    assert command.command_field == field
    assert command.is_response == MESSAGE_TYPES[field][0].endswith("RSP")
    assert message_id in {command.message_id, command.message_id_being_responded_to}
    assert not command.has_data_set


@bounded
@given(ushorts)
def test_an_echo_is_the_same_in_pynetdicom(message_id: int) -> None:
    theirs = their_bytes(their_message(C_ECHO_RQ, message_id).command_set)
    assert theirs == c_echo_rq(message_id).encode()
    theirs = their_bytes(their_message(C_ECHO_RSP, message_id).command_set)
    assert theirs == response(c_echo_rq(message_id), SUCCESS).encode()


# --- read, and tolerated with these words --------------------------------------------------------------------------


def us(element: int, value: int) -> bytes:
    return struct.pack("<HHIH", 0, element, 2, value)


def ui(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def ul(element: int, value: int) -> bytes:
    return struct.pack("<HHII", 0, element, 4, value)


SOP_CLASS = ui(0x0002, VERIFICATION.encode() + b"\0")
FIELD, MESSAGE_ID, NO_DATA_SET = us(0x0100, C_ECHO_RQ), us(0x0110, 7), us(0x0800, 0x0101)
ECHO = SOP_CLASS + FIELD + MESSAGE_ID + NO_DATA_SET


def with_length(elements: bytes) -> bytes:
    return ul(0x0000, len(elements)) + elements


def read(data: bytes) -> tuple[CommandSet, list[str]]:
    observations: list[str] = []
    return CommandSet.decode(data, observations.append), observations


def test_what_follows_the_standard_is_not_observed() -> None:
    assert read(with_length(ECHO)) == (c_echo_rq(7), [])


def test_a_group_length_may_be_missing() -> None:
    assert read(ECHO) == (c_echo_rq(7), ["command set without a group length"])


@pytest.mark.parametrize("off", [-1, 1, 12])
def test_a_group_length_may_be_wrong(off: int) -> None:
    data = ul(0x0000, len(ECHO) + off) + ECHO
    assert read(data) == (c_echo_rq(7), ["wrong group length in the command set"])


def test_a_sop_class_may_be_missing_from_an_echo() -> None:
    command, observations = read(with_length(FIELD + MESSAGE_ID + NO_DATA_SET))
    assert command == CommandSet(command_field=C_ECHO_RQ, message_id=7)
    assert observations == ["C-ECHO-RQ without an affected SOP class UID"]


def test_a_data_set_type_may_be_missing() -> None:
    expected = "command set without a data set type: taken as without a data set"
    assert read(with_length(SOP_CLASS + FIELD + MESSAGE_ID)) == (c_echo_rq(7), [expected])


def test_elements_may_be_out_of_order() -> None:
    data = with_length(FIELD + SOP_CLASS + MESSAGE_ID + NO_DATA_SET)
    assert read(data) == (c_echo_rq(7), ["elements of the command set out of order"])


def test_an_element_may_come_twice_and_the_last_counts() -> None:
    data = with_length(SOP_CLASS + FIELD + us(0x0110, 6) + MESSAGE_ID + NO_DATA_SET)
    assert read(data) == (c_echo_rq(7), ["element (0000,0110) twice in the command set"])


def test_an_echo_may_announce_a_data_set() -> None:
    command, observations = read(with_length(SOP_CLASS + FIELD + MESSAGE_ID + us(0x0800, 0x0001)))
    assert command.has_data_set
    assert observations == ["C-ECHO-RQ with a data set"]


def test_elements_that_an_echo_does_not_need_are_passed_over() -> None:
    data = with_length(SOP_CLASS + FIELD + MESSAGE_ID + us(0x0700, 0) + NO_DATA_SET)
    assert read(data) == (c_echo_rq(7), [])


@pytest.mark.parametrize("padding", [b"", b"\0", b" "])
def test_the_padding_of_a_sop_class_is_no_part_of_it(padding: bytes) -> None:
    data = with_length(ui(0x0002, VERIFICATION.encode() + padding) + FIELD + MESSAGE_ID + NO_DATA_SET)
    assert read(data) == (c_echo_rq(7), [])


@pytest.mark.parametrize("kind", [0x0000, 0x0001, 0x0102, 0xFEFE])
def test_every_data_set_type_but_0101_announces_a_data_set(kind: int) -> None:
    """PS3.7 Table E.1-1, (0000,0800)."""
    assert CommandSet.decode(with_length(us(0x0100, 0x0001) + us(0x0800, kind)), ignore).has_data_set


@bounded
@given(st.binary(max_size=64))
def test_a_sop_class_of_any_bytes_can_be_repeated_in_a_response(value: bytes) -> None:
    command, _ = read(with_length(ui(0x0002, value) + FIELD + MESSAGE_ID + NO_DATA_SET))
    again = CommandSet.decode(response(command, SUCCESS).encode(), ignore)
    assert again.affected_sop_class_uid == command.affected_sop_class_uid == value.rstrip(b"\0 ").decode("latin-1")


# --- refused, with these words -------------------------------------------------------------------------------------


def fault_of(data: bytes) -> str:
    with pytest.raises(PDUError) as raised:
        CommandSet.decode(data, ignore)
    assert raised.value.reason == 6
    return str(raised.value)


@pytest.mark.parametrize("field", [0x0000, 0x0002, 0x0031, 0x8FFF, 0xFFFF])
def test_a_command_field_that_there_is_not_is_refused(field: int) -> None:
    assert fault_of(with_length(us(0x0100, field))) == f"unknown command field 0x{field:04X}"


def test_the_command_fields_are_those_that_pynetdicom_knows() -> None:
    known = [field for field in range(0x10000) if _is_known(with_length(us(0x0100, field)))]
    assert known == sorted(MESSAGE_TYPES)


def _is_known(data: bytes) -> bool:
    try:
        CommandSet.decode(data, ignore)
    except PDUError:
        return False
    return True


@pytest.mark.parametrize("data", [b"", with_length(MESSAGE_ID)])
def test_a_command_set_has_a_command_field(data: bytes) -> None:
    assert fault_of(data) == "command set without a command field"


@pytest.mark.parametrize("left", range(1, 8))
def test_an_element_has_a_header(left: int) -> None:
    assert fault_of(with_length(ECHO) + FIELD[:left]) == "an element of the command set is cut short"


def test_an_element_may_not_reach_past_the_end() -> None:
    data = with_length(ECHO)[:-1]
    assert fault_of(data) == "element (0000,0800) announces 2 bytes, 1 are there"


def test_an_element_of_4_gib_is_not_believed() -> None:
    data = ECHO + struct.pack("<HHI", 0, 0x1000, 0xFFFFFFFF)
    assert fault_of(data) == "element (0000,1000) announces 4294967295 bytes, 0 are there"


def test_an_element_of_a_data_set_has_no_place_in_a_command_set() -> None:
    data = ECHO + struct.pack("<HHI", 0x0008, 0x0018, 0)
    assert fault_of(data) == "element (0008,0018) in a command set"


@pytest.mark.parametrize("element", [0x0100, 0x0110, 0x0120, 0x0800, 0x0900])
@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_number_has_two_bytes(element: int, size: int) -> None:
    other = b"" if element == 0x0100 else FIELD
    data = with_length(other + ui(element, bytes(size)))
    assert fault_of(data) == f"element (0000,{element:04X}) of {size} bytes, not 2"


@bounded
@given(mutated(with_length(ECHO)) | st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        command = CommandSet.decode(data, ignore)
    except PDUError:
        return
    assert CommandSet.decode(command.encode(), ignore) == command
