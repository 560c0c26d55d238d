"""The items of the A-ASSOCIATE PDUs: the same values in pynetdicom, tolerance with its words, and what is refused."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pynetdicom.pdu_items import PresentationContextItemAC, PresentationContextItemRQ, UserInformationItem
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from minipacs.errors import PDUError
from minipacs.wire.items import (
    ContextResult,
    Item,
    ProposedContext,
    UserInformation,
    item,
    read_items,
    read_uid,
)
from tests.wire.exchange import ae_titles, bounded, context_ids, ignore, uids, ushorts

VALUE = slice(4, None)  # of an item, behind its header

# --- the values, made by both --------------------------------------------------------------------------------------

proposals = st.builds(
    ProposedContext, context_ids, uids, st.lists(uids, min_size=1, max_size=4, unique=True).map(tuple)
)
results = st.builds(ContextResult, context_ids, st.integers(0, 4), uids)
maximum_lengths = st.just(0) | st.integers(14, 0xFFFFFFFF)
version_names = ae_titles  # of the same characters and length (PS3.7 §D.3.3.2)


def filled(primitive: Any, **values: object) -> Any:
    """The primitive of pynetdicom with these values."""
    for name, value in values.items():
        setattr(primitive, name, value)
    return primitive


asynchronous_operations = st.builds(
    lambda invoked, performed: filled(
        AsynchronousOperationsWindowNegotiation(),
        maximum_number_operations_invoked=invoked,
        maximum_number_operations_performed=performed,
    ),
    ushorts,
    ushorts,
)
role_selections = st.builds(
    lambda uid, roles: filled(
        SCP_SCU_RoleSelectionNegotiation(), sop_class_uid=uid, scu_role=roles[0], scp_role=roles[1]
    ),
    uids,
    st.sampled_from([(True, False), (False, True), (True, True)]),
)
extended_negotiations = st.builds(
    lambda uid, information: filled(
        SOPClassExtendedNegotiation(), sop_class_uid=uid, service_class_application_information=information
    ),
    uids,
    st.binary(min_size=1, max_size=8),
)
common_extended_negotiations = st.builds(
    lambda uid, service, related: filled(
        SOPClassCommonExtendedNegotiation(),
        sop_class_uid=uid,
        service_class_uid=service,
        related_general_sop_class_identification=related,
    ),
    uids,
    uids,
    st.lists(uids, max_size=3),
)
user_identities = st.builds(
    lambda kind, primary, secondary, wanted: filled(
        UserIdentityNegotiation(),
        user_identity_type=kind,
        primary_field=primary,
        secondary_field=secondary if kind == 2 else b"",
        positive_response_requested=wanted,
    ),
    st.integers(1, 5),
    st.binary(min_size=1, max_size=16),
    st.binary(min_size=1, max_size=16),
    st.booleans(),
)
server_responses = st.builds(
    lambda response: filled(UserIdentityNegotiation(), server_response=response), st.binary(min_size=1, max_size=8)
)

# Sub-items that we carry as bytes, in the order of their types: before and behind the version name, which is 0x55.
before_version_name = st.tuples(
    st.lists(asynchronous_operations, max_size=1), st.lists(role_selections, max_size=3)
).map(lambda lists: lists[0] + lists[1])
behind_version_name = st.tuples(
    st.lists(extended_negotiations, max_size=2),
    st.lists(common_extended_negotiations, max_size=2),
    st.lists(user_identities | server_responses, max_size=1),
).map(lambda lists: lists[0] + lists[1] + lists[2])


def carried(primitives: list[Any]) -> list[Item]:
    """The sub-items as we keep them, of the bytes that pynetdicom writes."""
    encoded = [primitive.from_primitive().encode() for primitive in primitives]
    return [Item(data[0], data[VALUE]) for data in encoded]


# --- the same values in pynetdicom ---------------------------------------------------------------------------------


@bounded
@given(proposals)
def test_a_proposed_context_is_the_same_in_pynetdicom(ours: ProposedContext) -> None:
    theirs = PresentationContextItemRQ()
    theirs.decode(ours.encode())
    assert theirs.context_id == ours.context_id
    assert theirs.abstract_syntax == ours.abstract_syntax
    assert tuple(theirs.transfer_syntax) == ours.transfer_syntaxes

    made = PresentationContextItemRQ()
    made.from_primitive(
        filled(build_context(ours.abstract_syntax, list(ours.transfer_syntaxes)), context_id=ours.context_id)
    )
    assert made.encode() == ours.encode()
    assert ProposedContext.decode(made.encode()[VALUE], ignore) == ours


@bounded
@given(results)
def test_a_context_result_is_the_same_in_pynetdicom(ours: ContextResult) -> None:
    theirs = PresentationContextItemAC()
    theirs.decode(ours.encode())
    assert (theirs.context_id, theirs.result) == (ours.context_id, ours.result)
    assert theirs.transfer_syntax == ours.transfer_syntax

    made = PresentationContextItemAC()
    made.from_primitive(
        filled(build_context("1.2.3", ours.transfer_syntax), context_id=ours.context_id, result=ours.result)
    )
    assert made.encode() == ours.encode()
    assert ContextResult.decode(made.encode()[VALUE], ignore) == ours


@bounded
@given(maximum_lengths, uids, version_names, before_version_name, behind_version_name)
def test_user_information_is_the_same_in_pynetdicom(
    maximum_length: int, class_uid: str, version_name: str, before: list[Any], behind: list[Any]
) -> None:
    primitives = [
        filled(MaximumLengthNotification(), maximum_length_received=maximum_length),
        filled(ImplementationClassUIDNotification(), implementation_class_uid=class_uid),
        *before,
        filled(ImplementationVersionNameNotification(), implementation_version_name=version_name),
        *behind,
    ]
    ours = UserInformation(maximum_length, class_uid, version_name, tuple(carried(before + behind)))

    theirs = UserInformationItem()
    theirs.decode(ours.encode())
    assert theirs.to_primitive() == primitives

    made = UserInformationItem()
    made.from_primitive(primitives)
    assert UserInformation.decode(made.encode()[VALUE], ignore) == ours


def test_each_kind_of_sub_item_keeps_its_type() -> None:
    """By the types of PS3.7 Annex D.3.3, so that no strategy above can quietly make another kind."""
    types = [0x53, 0x54, 0x56, 0x57, 0x58, 0x59]
    value = b"".join(item(item_type, b"\0\4") for item_type in types)
    assert [other.type for other in UserInformation.decode(value, ignore).others] == types


def test_sub_items_are_written_in_the_order_of_their_types() -> None:
    information = UserInformation(16_384, "1.2.3", "NAME", (Item(0x58, b"u"), Item(0x54, b"r"), Item(0x54, b"s")))
    assert [item_type for item_type, _ in read_items(information.encode()[VALUE])] == [
        0x51,
        0x52,
        0x54,
        0x54,
        0x55,
        0x58,
    ]


def test_what_is_not_told_is_not_written() -> None:
    assert UserInformation().encode() == bytes.fromhex("50000008 51000004 00000000")


# --- tolerated, with these words -----------------------------------------------------------------------------------

MAXIMUM_LENGTH_16384 = item(0x51, bytes.fromhex("00004000"))
CLASS_UID = item(0x52, b"1.2.3")


def read_information(value: bytes) -> tuple[UserInformation, list[str]]:
    observations: list[str] = []
    return UserInformation.decode(value, observations.append), observations


def read_proposal(value: bytes) -> tuple[ProposedContext, list[str]]:
    observations: list[str] = []
    return ProposedContext.decode(value, observations.append), observations


def test_what_follows_the_standard_is_not_observed() -> None:
    value = MAXIMUM_LENGTH_16384 + item(0x52, b"1.2.3") + item(0x55, b"NAME")
    assert read_information(value) == (UserInformation(16_384, "1.2.3", "NAME"), [])


def test_no_maximum_length_is_taken_as_unlimited() -> None:
    assert read_information(item(0x52, b"1.2.3")) == (
        UserInformation(0, "1.2.3"),
        ["no maximum length sub-item: taken as unlimited"],
    )


def test_no_implementation_class_uid_is_told() -> None:
    assert read_information(MAXIMUM_LENGTH_16384) == (
        UserInformation(16_384),
        ["no implementation class UID, which is required (PS3.7 §D.3.3.2)"],
    )


def test_of_a_sub_item_that_comes_twice_the_last_one_counts() -> None:
    assert read_information(MAXIMUM_LENGTH_16384 + CLASS_UID + item(0x51, bytes(4))) == (
        UserInformation(0, "1.2.3"),
        ["user information sub-item 0x51 twice: the last one counts"],
    )


@pytest.mark.parametrize("padding", [b"\0", b" ", b" \0"])
def test_a_padded_version_name_is_taken_without_its_padding(padding: bytes) -> None:
    assert read_information(MAXIMUM_LENGTH_16384 + CLASS_UID + item(0x55, b"NAME" + padding)) == (
        UserInformation(16_384, "1.2.3", "NAME"),
        ["implementation version name padded with NUL or space"],
    )


def test_a_version_name_of_more_than_16_characters_is_kept_and_told() -> None:
    assert read_information(MAXIMUM_LENGTH_16384 + CLASS_UID + item(0x55, b"N" * 17)) == (
        UserInformation(16_384, "1.2.3", "N" * 17),
        ["implementation version name of 17 characters, more than 16"],
    )


def test_a_maximum_length_of_zero_is_unlimited_by_rule() -> None:
    assert read_information(item(0x51, bytes(4)) + CLASS_UID) == (UserInformation(0, "1.2.3"), [])


def test_an_unknown_user_information_sub_item_is_ignored() -> None:
    assert read_information(MAXIMUM_LENGTH_16384 + CLASS_UID + item(0x77, b"what")) == (
        UserInformation(16_384, "1.2.3"),
        ["unknown user information sub-item 0x77 ignored"],
    )


def test_a_user_identity_is_kept_and_nothing_more() -> None:
    identity = bytes.fromhex("01 00 0004") + b"jane" + bytes(2)
    assert read_information(MAXIMUM_LENGTH_16384 + CLASS_UID + item(0x58, identity)) == (
        UserInformation(16_384, "1.2.3", others=(Item(0x58, identity),)),
        ["user identity sent: neither checked nor answered"],
    )


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0", b" \0"])
def test_a_padded_uid_is_taken_without_its_padding(padding: bytes) -> None:
    assert read_information(MAXIMUM_LENGTH_16384 + item(0x52, b"1.2.3" + padding)) == (
        UserInformation(16_384, "1.2.3"),
        ["UID padded with NUL or space"],
    )


def test_padded_uids_of_a_context_are_taken_without_their_padding() -> None:
    value = bytes([1, 0, 0, 0]) + item(0x30, b"1.2.3\0") + item(0x40, b"1.2.840.10008.1.2\0")
    assert read_proposal(value) == (
        ProposedContext(1, "1.2.3", ("1.2.840.10008.1.2",)),
        ["UID padded with NUL or space"] * 2,
    )


def test_an_unknown_sub_item_of_a_context_is_ignored() -> None:
    value = bytes([3, 0, 0, 0]) + item(0x30, b"1.2.3") + item(0x44, b"what") + item(0x40, b"1.2")
    assert read_proposal(value) == (
        ProposedContext(3, "1.2.3", ("1.2",)),
        ["unknown sub-item 0x44 in presentation context 3 ignored"],
    )


def test_a_context_without_a_transfer_syntax_is_read() -> None:
    assert read_proposal(bytes([5, 0, 0, 0]) + item(0x30, b"1.2.3")) == (
        ProposedContext(5, "1.2.3", ()),
        ["presentation context 5 proposes no transfer syntax"],
    )


@pytest.mark.parametrize("result", [1, 2, 3, 4])
def test_a_refused_context_need_not_name_a_transfer_syntax(result: int) -> None:
    assert ContextResult.decode(bytes([1, 0, result, 0]), ignore) == ContextResult(1, result, "")


def test_reserved_bytes_are_not_tested() -> None:
    value = bytes([1, 0xFF, 0xFF, 0xFF, 0x30, 0xFF, 0, 3]) + b"1.2" + item(0x40, b"1.2")
    assert read_proposal(value) == (ProposedContext(1, "1.2", ("1.2",)), [])


@bounded
@given(st.binary(max_size=64))
@example(b"1.2.840\xff\x80")
def test_a_uid_of_any_bytes_is_read_and_written_again(value: bytes) -> None:
    """What a peer sends need not be ASCII, and we may have to repeat it."""
    assert read_uid(value, ignore).encode("latin-1") == value.rstrip(b"\0 ")
    proposal = ProposedContext.decode(bytes(4) + item(0x30, value) + item(0x40, value), ignore)
    assert ContextResult(1, 3, proposal.transfer_syntaxes[0]).encode()[12:] == value.rstrip(b"\0 ")


# --- refused, with these words -------------------------------------------------------------------------------------


def fault_of(value: bytes, kind: type[UserInformation | ProposedContext | ContextResult]) -> str:
    with pytest.raises(PDUError) as raised:
        kind.decode(value, ignore)
    assert raised.value.reason == 6
    return str(raised.value)


@pytest.mark.parametrize("length", range(1, 14))
def test_a_maximum_length_without_room_for_a_fragment_is_refused(length: int) -> None:
    value = item(0x51, bytes([0, 0, 0, length]))
    assert fault_of(value, UserInformation) == f"maximum length {length} leaves no room for a fragment"


def test_the_smallest_maximum_length_is_taken() -> None:
    assert read_information(item(0x51, bytes([0, 0, 0, 14])) + CLASS_UID) == (UserInformation(14, "1.2.3"), [])


@pytest.mark.parametrize("size", [0, 3, 5])
def test_a_maximum_length_has_four_bytes(size: int) -> None:
    assert fault_of(item(0x51, bytes(size)), UserInformation) == f"maximum length sub-item of {size} bytes, not 4"


def test_an_item_may_not_reach_past_its_end() -> None:
    assert fault_of(b"\x52\0\0\x06" + b"1.2", UserInformation) == "item 0x52 announces 6 bytes, 3 are there"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_item_header_has_four_bytes(size: int) -> None:
    assert fault_of(b"\x52\0\0"[:size], UserInformation) == "an item header is cut short"


@pytest.mark.parametrize("kind", [ProposedContext, ContextResult])
@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_a_context_item_has_four_bytes_before_its_syntaxes(
    size: int, kind: type[ProposedContext | ContextResult]
) -> None:
    assert fault_of(bytes(size), kind) == "presentation context item is cut short"


@pytest.mark.parametrize("count", [0, 2])
def test_a_proposed_context_has_one_abstract_syntax(count: int) -> None:
    value = bytes([7, 0, 0, 0]) + item(0x30, b"1.2") * count + item(0x40, b"1.2")
    assert fault_of(value, ProposedContext) == f"presentation context 7 has {count} abstract syntaxes, not one"


@pytest.mark.parametrize("count", [0, 2])
def test_an_accepted_context_has_one_transfer_syntax(count: int) -> None:
    value = bytes([7, 0, 0, 0]) + item(0x40, b"1.2") * count
    fault = f"accepted presentation context 7 has {count} transfer syntaxes, not one"
    assert fault_of(value, ContextResult) == fault
