"""The labelled dump: what each byte says, and that none is lost, whatever the bytes."""

import re
import struct

from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from minipacs.tracing.dissection import dissect
from minipacs.tracing.dump import dump, fields_of, title
from minipacs.wire.dimse import CommandSet, c_echo_rq, response
from minipacs.wire.framing import PDUReader
from tests.raw import asking, item, pdu, pdv, rejecting, telling
from tests.wire.exchange import ABORT_2_6, ACCEPTANCE, CT_IMAGE_STORAGE, RELEASE_RQ, REQUEST, bounded, ignore, p_data

CT = CT_IMAGE_STORAGE.encode()
PASSWORD = b"correct horse battery staple"


def values(data: bytes) -> dict[str, str]:
    return {field.name: field.value for field in dissect(data)}


# --- what is said ----------------------------------------------------------------------------------------------------


def test_a_request_says_what_it_says() -> None:
    said = values(REQUEST.encode())
    assert said["called AE title"] == '"MINIPACS        "'
    assert said["calling AE title"] == '"ECHOSCU         "'
    assert said["application context name"] == "DICOM Application Context Name (1.2.840.10008.3.1.1.1)"
    assert said["presentation context ID"] == "1"
    assert said["abstract syntax name"] == "Verification SOP Class (1.2.840.10008.1.1)"
    assert said["transfer syntax name"] == "Implicit VR Little Endian (1.2.840.10008.1.2)"
    assert said["maximum length received"] == "16384"


def test_an_acceptance_and_a_rejection_name_their_results() -> None:
    assert values(ACCEPTANCE.encode())["result"] == "0: Accepted"
    said = values(rejecting(1, 1, 7))
    assert (said["result"], said["source"]) == ("1: Rejected (Permanent)", "1: DUL service-user")
    assert said["reason"] == "7: Called AE title not recognised"


def test_a_message_says_its_elements() -> None:
    assert dump(p_data(c_echo_rq(7).encode())) == (
        "0000  04 00 00 00 00 4a                                P-DATA-TF, length = 74\n"
        "0006  00 00 00 46                                        presentation data value item, length = 70\n"
        "000a  01                                                   presentation context ID = 1\n"
        "000b  03                                                   message control header = command, last fragment\n"
        "000c  00 00 00 00 04 00 00 00 38 00 00 00                  (0000,0000) Command Group Length = 56\n"
        "0018  00 00 02 00 12 00 00 00 31 2e 32 2e 38 34 30 2e      (0000,0002) Affected SOP Class UID = "
        "Verification SOP Class (1.2.840.10008.1.1)\n"
        "0028  31 30 30 30 38 2e 31 2e 31 00\n"
        "0032  00 00 00 01 02 00 00 00 30 00                        (0000,0100) Command Field = C-ECHO-RQ (0x0030)\n"
        "003c  00 00 10 01 02 00 00 00 07 00                        (0000,0110) Message ID = 7\n"
        "0046  00 00 00 08 02 00 00 00 01 01                        (0000,0800) Command Data Set Type = "
        "0x0101: no data set"
    )
    said = values(p_data(response(c_echo_rq(7), 0x0122).encode()))
    assert said["(0000,0900) Status"] == "0x0122: Failure: Refused: SOP Class Not Supported"


def test_a_data_set_is_not_looked_into_and_is_cut() -> None:
    store = CommandSet(command_field=0x0001, affected_sop_class_uid=CT_IMAGE_STORAGE, message_id=1, has_data_set=True)
    said = values(p_data(store.encode()))
    assert said["(0000,0100) Command Field"] == "C-STORE-RQ (0x0001)"
    assert said["(0000,0800) Command Data Set Type"] == "0x0001: a data set follows"
    lines = dump(p_data(bytes(1000), is_command=False)).splitlines()
    assert lines[-4].endswith("fragment of a data set")
    assert lines[-1] == "003c  (952 bytes left out)"


def test_a_command_that_goes_on_in_another_fragment_is_dumped_as_far_as_it_is_there() -> None:
    whole = c_echo_rq(7).encode()
    first, second = (p_data(part, is_last=last) for part, last in ((whole[:20], False), (whole[20:], True)))
    assert values(first)["(0000,0002) Affected SOP Class UID"] == "cut short: 8 of 26 bytes"
    assert "fragment of a command set" in values(second)


def test_what_is_no_pdu_is_shown_as_it_came() -> None:
    [field] = dissect(b"GET / HTTP/1.1\r\n\r\n")
    assert (field.name, field.value) == ("no PDU", r'"GET / HTTP/1.1\r\n\r\n"')
    assert dissect(b"") == ()
    assert title("received", 1.25, b"GET") == "1.2 ms: they sent no PDU, 3 bytes"


def test_a_length_that_reaches_past_the_end_is_told() -> None:
    said = values(pdu(0x05, bytes(2), length=4))
    assert said["A-RELEASE-RQ, length"] == "4, of which 2 came"
    assert said["reserved"] == "cut short: 2 of 4 bytes"
    assert values(asking(item(0x77, b"abc", length=400)))["item 0x77 (unknown), length"].startswith("400, of which ")


def test_text_of_the_peer_is_escaped() -> None:
    text = dump(asking(calling=b"\x1b[31m\n\xe9"))
    assert r'calling AE title = "\x1b[31m\n\xe9         "' in text
    assert "\x1b" not in text


def test_a_machine_reads_the_same() -> None:
    assert fields_of(ABORT_2_6) == [
        {"offset": 0, "length": 6, "hex": "070000000004", "name": "A-ABORT, length", "value": "4"},
        {"offset": 6, "length": 2, "hex": "0000", "name": "reserved", "value": None},
        {"offset": 8, "length": 1, "hex": "02", "name": "source", "value": "2: DUL service-provider"},
        {"offset": 9, "length": 1, "hex": "06", "name": "reason", "value": "6: Invalid PDU parameter value"},
    ]


# --- user information ------------------------------------------------------------------------------------------------


def pynetdicoms_request() -> bytes:
    """An A-ASSOCIATE-RQ with every sub-item of user information that pynetdicom can make."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PYNETDICOM", "MINIPACS"
    context = build_context("1.2.840.10008.1.1")
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3.4"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 0
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT_IMAGE_STORAGE, False, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = CT_IMAGE_STORAGE
    extended.service_class_application_information = b"\x02\x00\x03"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid = CT_IMAGE_STORAGE
    common.service_class_uid = "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = ["1.2.840.10008.5.1.4.1.1.88.22"]
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"alice", PASSWORD
    primitive.user_information = [length, implementation, window, role, extended, common, identity]
    request = A_ASSOCIATE_RQ()
    request.from_primitive(primitive)
    return bytes(request.encode())


def test_every_sub_item_of_pynetdicom_is_decoded() -> None:
    said = values(pynetdicoms_request())
    assert not any("unknown" in name for name in said)
    assert said["operations invoked"] == "5"
    assert said["operations performed"] == "0: any number"
    assert (said["SCU role"], said["SCP role"]) == ("0", "1")
    assert said["SOP class"] == f"CT Image Storage ({CT_IMAGE_STORAGE})"
    assert said["service class"] == "Storage Service Class (1.2.840.10008.4.2)"
    assert said["related general SOP class"] == "Enhanced SR Storage (1.2.840.10008.5.1.4.1.1.88.22)"
    assert said["type"] == "2: user name and passcode"
    assert said["primary field"] == '"alice"'


def shown(data: bytes) -> str:
    """All that is shown of it, in text and to a machine, with its hexadecimal read back."""
    text = dump(data)
    rows = b"".join(
        bytes.fromhex(row) for row in re.findall(r"^[0-9a-f]{4,}  ((?:[0-9a-f]{2} ?)+)", text, re.MULTILINE)
    )
    hexes = b"".join(bytes.fromhex(str(field["hex"] or "")) for field in fields_of(data))
    return text + rows.decode("latin-1") + hexes.decode("latin-1") + str(fields_of(data))


def test_a_password_is_shown_by_its_length_alone() -> None:
    data = pynetdicoms_request()
    assert PASSWORD in data
    assert "correct" not in shown(data)
    assert "(28 bytes not shown)                             " in dump(data)


def identity(kind: int, primary: bytes, secondary: bytes = b"") -> bytes:
    fields = (struct.pack(">H", len(field)) + field for field in (primary, secondary))
    return item(0x58, bytes([kind, 1]) + b"".join(fields))


@bounded
@given(st.sampled_from([0, 1, 2, 3, 4, 5, 255]), st.integers(0, 60), st.integers(-3, 0), st.integers(-20, 20))
def test_no_secret_is_shown_of_an_identity_that_is_cut_or_lies(kind: int, cut: int, lie: int, another: int) -> None:
    secret = b"\xa5" * 20
    is_named = kind in {1, 2}
    whole = bytearray(identity(kind, b"alice" if is_named else secret, secret))
    whole[7] = max(0, whole[7] + lie)  # a primary field that is shorter than what follows is the rest's
    whole[-21] += another
    data = asking(user_information=telling(bytes(whole), item(0x59, struct.pack(">H", 20) + secret)))
    data = data[: len(data) - cut]
    assert "\xa5\xa5\xa5\xa5" not in shown(data)


# --- every byte once -------------------------------------------------------------------------------------------------

WHOLE = [
    REQUEST.encode(),
    ACCEPTANCE.encode(),
    pynetdicoms_request(),
    rejecting(1, 1, 3),
    RELEASE_RQ,
    ABORT_2_6,
    p_data(c_echo_rq(1).encode()),
    pdu(0x04, pdv(b"\0\0\0\1\2\0\0\0\x30\0") + pdv(b"abc", control=2)),
    asking(item(0x50, item(0x50, item(0x50, b"")))),
]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A PDU with some bytes changed, cut, or more behind it."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=9)))


framed: SearchStrategy[bytes] = st.builds(pdu, st.integers(1, 7), st.binary(max_size=300))
any_bytes = st.binary(max_size=200) | framed | mangled() | st.sampled_from(WHOLE)


@bounded
@given(any_bytes)
@example(b"\x01")
def test_every_byte_is_in_exactly_one_field(data: bytes) -> None:
    fields = dissect(data)
    assert b"".join(field.data for field in fields) == data
    assert [field.offset for field in fields] == [
        sum(len(before.data) for before in fields[:n]) for n in range(len(fields))
    ]
    assert all(field.data and field.name for field in fields)


@bounded
@given(any_bytes)
def test_every_byte_is_shown_at_its_offset_or_said_to_be_left_out(data: bytes) -> None:
    text = dump(data)
    assert text.isascii()
    position = 0
    for line in text.splitlines():
        offset, _, rest = line.partition("  ")
        assert int(offset, 16) == position
        if left_out := re.match(r"\((\d+) bytes (left out|not shown)\)", rest):
            position += int(left_out[1])
        else:
            row = bytes.fromhex(rest[:47])
            assert row == data[position : position + len(row)]
            position += len(row)
    assert position == len(data)


def test_a_megabyte_of_items_is_not_looked_into_without_end() -> None:
    data = pdu(0x01, bytes(68) + bytes([0x77, 0, 0, 0]) * 250_000)
    fields = dissect(data)
    assert b"".join(field.data for field in fields) == data
    assert len(fields) < 31_000
    assert fields[-1].name == "not looked into"


@bounded
@given(st.lists(st.sampled_from(WHOLE), max_size=4), st.integers(1, 50))
def test_the_reader_tells_the_exact_bytes_however_they_come(pdus: list[bytes], size: int) -> None:
    told: list[bytes] = []
    reader = PDUReader(1 << 20, 0, told.append)
    stream = b"".join(pdus)
    read = 0
    for start in range(0, len(stream), size):
        reader.feed(stream[start : start + size])
        try:
            while reader.next_pdu(ignore) is not None:
                read += 1
        except Exception:  # noqa: BLE001 - of these, one is invalid: the reader is not asked again
            break
    assert told == pdus[: len(told)]
    assert read <= len(told) <= read + 1
