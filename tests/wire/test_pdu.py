"""The seven PDUs: the same values in pynetdicom, tolerance with its words, and what is refused."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pynetdicom import pdu as theirs_pdu
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    P_DATA,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from minipacs.errors import PDUError
from minipacs.wire.associate import APPLICATION_CONTEXT, AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.header import HEADER_LENGTH, read_header
from minipacs.wire.items import ContextResult, ProposedContext, UserInformation, item
from minipacs.wire.pdu import PDU, PDU_CLASSES, PDV, Abort, PDataTF, ReleaseRP, ReleaseRQ
from tests.wire.exchange import ACCEPTANCE, REQUEST, ae_titles, bounded, context_ids, ignore, mutated, uids

BODY = slice(HEADER_LENGTH, None)

octets = st.integers(0, 255)
transfer_syntaxes = st.lists(uids, min_size=1, max_size=3, unique=True).map(tuple)
proposals = st.lists(
    st.builds(ProposedContext, context_ids, uids, transfer_syntaxes),
    min_size=1,
    max_size=5,
    unique_by=lambda context: context.context_id,
).map(tuple)
results = st.lists(st.builds(ContextResult, context_ids, st.integers(0, 4), uids), max_size=5).map(tuple)
user_informations = st.builds(UserInformation, st.integers(14, 0xFFFFFFFF), uids)
pdvs = st.builds(PDV, context_ids, st.booleans(), st.booleans(), st.binary(max_size=32))


DATA = PDataTF((PDV(1, is_command=True, is_last=False, data=b"ab"), PDV(1, is_command=True, is_last=True, data=b"c")))
ONE_OF_EACH: tuple[PDU, ...] = (
    REQUEST,
    ACCEPTANCE,
    AssociateRJ(1, 1, 3),
    DATA,
    ReleaseRQ(),
    ReleaseRP(),
    Abort(2, 6),
)


def any_body(pdu: PDU) -> SearchStrategy[tuple[type[PDU], bytes]]:
    """The type of the PDU, and a body that is a little wrong or is anything."""
    return st.tuples(st.just(type(pdu)), mutated(pdu.encode()[BODY]) | st.binary(max_size=200))


def filled(primitive: Any, **values: object) -> Any:
    """The primitive or PDU of pynetdicom with these values."""
    for name, value in values.items():
        setattr(primitive, name, value)
    return primitive


def decoded(pdu: Any, data: bytes) -> Any:
    """What pynetdicom reads."""
    pdu.decode(data)
    return pdu


def their_information(ours: UserInformation) -> list[Any]:
    return [
        filled(MaximumLengthNotification(), maximum_length_received=ours.maximum_length),
        filled(ImplementationClassUIDNotification(), implementation_class_uid=ours.implementation_class_uid),
    ]


# --- the same values in pynetdicom ---------------------------------------------------------------------------------


@bounded
@given(ae_titles, ae_titles, proposals, user_informations)
def test_a_request_is_the_same_in_pynetdicom(
    called: str, calling: str, contexts: tuple[ProposedContext, ...], information: UserInformation
) -> None:
    ours = AssociateRQ(
        called_ae_title=called, calling_ae_title=calling, contexts=contexts, user_information=information
    )
    theirs = decoded(theirs_pdu.A_ASSOCIATE_RQ(), ours.encode())
    assert (theirs.called_ae_title, theirs.calling_ae_title) == (called, calling)
    assert (theirs.application_context_name, theirs.protocol_version) == (APPLICATION_CONTEXT, 1)
    assert [
        (context.context_id, context.abstract_syntax, tuple(context.transfer_syntax))
        for context in theirs.presentation_context
    ] == [(context.context_id, context.abstract_syntax, context.transfer_syntaxes) for context in contexts]
    assert theirs.user_information.to_primitive() == their_information(information)

    primitive = filled(
        A_ASSOCIATE(),
        called_ae_title=called,
        calling_ae_title=calling,
        application_context_name=APPLICATION_CONTEXT,
        presentation_context_definition_list=[
            filled(
                build_context(context.abstract_syntax, list(context.transfer_syntaxes)), context_id=context.context_id
            )
            for context in contexts
        ],
        user_information=their_information(information),
    )
    made = theirs_pdu.A_ASSOCIATE_RQ(primitive).encode()
    assert made == ours.encode()
    assert AssociateRQ.decode(made[BODY], ignore) == ours


@bounded
@given(ae_titles, ae_titles, results, user_informations)
def test_an_acceptance_is_the_same_in_pynetdicom(
    called: str, calling: str, contexts: tuple[ContextResult, ...], information: UserInformation
) -> None:
    asking = AssociateRQ(called_ae_title=called, calling_ae_title=calling, contexts=())
    ours = AssociateAC(contexts=contexts, fixed_fields=asking.fixed_fields, user_information=information)
    theirs = decoded(theirs_pdu.A_ASSOCIATE_AC(), ours.encode())
    assert (theirs.reserved_aet, theirs.reserved_aec) == (called, calling)
    assert (theirs.application_context_name, theirs.protocol_version) == (APPLICATION_CONTEXT, 1)
    assert [
        (context.context_id, context.result, context.transfer_syntax) for context in theirs.presentation_context
    ] == [(context.context_id, context.result, context.transfer_syntax) for context in contexts]
    assert theirs.user_information.to_primitive() == their_information(information)

    primitive = filled(
        A_ASSOCIATE(),
        called_ae_title=called,
        calling_ae_title=calling,
        application_context_name=APPLICATION_CONTEXT,
        presentation_context_definition_results_list=[
            filled(build_context("1.2.3", answer.transfer_syntax), context_id=answer.context_id, result=answer.result)
            for answer in contexts
        ],
        user_information=their_information(information),
    )
    made = theirs_pdu.A_ASSOCIATE_AC(primitive).encode()
    assert made == ours.encode()
    assert AssociateAC.decode(made[BODY], ignore) == ours


@bounded
@given(octets, octets, octets)
def test_a_rejection_is_the_same_in_pynetdicom(result: int, source: int, reason: int) -> None:
    ours = AssociateRJ(result, source, reason)
    theirs = decoded(theirs_pdu.A_ASSOCIATE_RJ(), ours.encode())
    assert (theirs.result, theirs.source, theirs.reason_diagnostic) == (result, source, reason)
    made = filled(theirs_pdu.A_ASSOCIATE_RJ(), result=result, source=source, reason_diagnostic=reason).encode()
    assert AssociateRJ.decode(made[BODY], ignore) == ours


@bounded
@given(st.lists(pdvs, min_size=1, max_size=4).map(tuple))
def test_data_are_the_same_in_pynetdicom(values: tuple[PDV, ...]) -> None:
    ours = PDataTF(values)
    listed = [[pdv.context_id, bytes([pdv.is_command + 2 * pdv.is_last]) + pdv.data] for pdv in values]
    theirs = decoded(theirs_pdu.P_DATA_TF(), ours.encode())
    assert theirs.to_primitive().presentation_data_value_list == [tuple(pdv) for pdv in listed]
    made = theirs_pdu.P_DATA_TF(filled(P_DATA(), presentation_data_value_list=listed)).encode()
    assert PDataTF.decode(made[BODY], ignore) == ours


def test_a_release_is_the_same_in_pynetdicom() -> None:
    assert ReleaseRQ().encode() == theirs_pdu.A_RELEASE_RQ().encode()
    assert ReleaseRP().encode() == theirs_pdu.A_RELEASE_RP().encode()
    assert ReleaseRQ.decode(theirs_pdu.A_RELEASE_RQ().encode()[BODY], ignore) == ReleaseRQ()
    assert ReleaseRP.decode(theirs_pdu.A_RELEASE_RP().encode()[BODY], ignore) == ReleaseRP()


@bounded
@given(octets, octets)
def test_an_abort_is_the_same_in_pynetdicom(source: int, reason: int) -> None:
    ours = Abort(source, reason)
    theirs = decoded(theirs_pdu.A_ABORT_RQ(), ours.encode())
    assert (theirs.source, theirs.reason_diagnostic) == (source, reason)
    made = filled(theirs_pdu.A_ABORT_RQ(), source=source, reason_diagnostic=reason).encode()
    assert Abort.decode(made[BODY], ignore) == ours


@pytest.mark.parametrize("pdu", ONE_OF_EACH, ids=lambda pdu: pdu.NAME)
def test_a_header_tells_the_type_and_the_length_of_what_follows(pdu: PDU) -> None:
    data = pdu.encode()
    assert read_header(data) == (pdu.TYPE, len(data) - HEADER_LENGTH)
    assert PDU_CLASSES[pdu.TYPE] is type(pdu)


def test_codes_are_written_with_slashes() -> None:
    assert (str(AssociateRJ(1, 2, 3)), str(Abort(2, 6))) == ("1/2/3", "2/6")


def test_an_acceptance_repeats_the_fixed_fields_of_the_request_as_they_came() -> None:
    """PS3.8 §9.3.3: bytes 11 to 74, whatever is in them."""
    data = bytearray(REQUEST.encode())
    data[10:74] = bytes(range(64))
    asking = AssociateRQ.decode(bytes(data[BODY]), ignore)
    answer = AssociateAC(contexts=(), fixed_fields=asking.fixed_fields).encode()
    assert answer[10:74] == bytes(range(64))


# --- tolerated, with these words -----------------------------------------------------------------------------------


def read_request(body: bytes) -> tuple[AssociateRQ, list[str]]:
    observations: list[str] = []
    return AssociateRQ.decode(body, observations.append), observations


def body(
    *,
    version: int = 1,
    called: bytes = b"MINIPACS        ",
    calling: bytes = b"ECHOSCU         ",
    application_context: bytes = APPLICATION_CONTEXT.encode(),
    contexts: tuple[ProposedContext, ...] = REQUEST.contexts,
    more: bytes = REQUEST.user_information.encode(),
) -> bytes:
    """The body of an A-ASSOCIATE-RQ, by hand."""
    proposed = b"".join(context.encode() for context in contexts)
    fixed = version.to_bytes(2, "big") + bytes(2) + called + calling + bytes(32)
    return fixed + item(0x10, application_context) + proposed + more


def test_what_follows_the_standard_is_not_observed() -> None:
    assert read_request(body()) == (REQUEST, [])


@pytest.mark.parametrize("padding", [b"\0" * 8, b"\0" + b" " * 7, b" " * 7 + b"\0"])
def test_a_title_padded_with_nul_is_the_title(padding: bytes) -> None:
    asking, observations = read_request(body(called=b"MINIPACS" + padding))
    assert asking.called_ae_title == "MINIPACS"
    assert observations == ["AE title padded with NUL"]


def test_spaces_around_a_title_are_not_significant() -> None:
    asking, observations = read_request(body(calling=b"  ECHO SCU      "))
    assert asking.calling_ae_title == "ECHO SCU"
    assert observations == []


@pytest.mark.parametrize("title", [b" " * 16, b"\0" * 16])
def test_a_blank_title_is_empty(title: bytes) -> None:
    asking, _ = read_request(body(called=title, calling=title))
    assert (asking.called_ae_title, asking.calling_ae_title) == ("", "")


@bounded
@given(st.binary(min_size=16, max_size=16))
@example(b"\xc4\xd6\xdc\x1b[2J\\\r\n      ")
def test_a_title_of_any_bytes_is_read(title: bytes) -> None:
    """Whether it is admitted is decided elsewhere, and it has to be shown there."""
    asking, _ = read_request(body(called=title, calling=title))
    assert asking.called_ae_title == asking.calling_ae_title == title.decode("latin-1").rstrip("\0 ").lstrip(" ")
    assert asking.fixed_fields == title * 2 + bytes(32)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 0xFFFF])
def test_the_protocol_version_is_read_and_not_judged(version: int) -> None:
    assert read_request(body(version=version))[0].protocol_version == version


@pytest.mark.parametrize("name", ["1.2.3", ""])
def test_the_application_context_is_read_and_not_judged(name: str) -> None:
    assert read_request(body(application_context=name.encode()))[0].application_context == name


def test_a_missing_application_context_is_an_empty_one() -> None:
    without = body().replace(item(0x10, APPLICATION_CONTEXT.encode()), b"")
    assert read_request(without)[0].application_context == ""


def test_an_unknown_item_is_ignored() -> None:
    more = item(0x77, b"what") + REQUEST.user_information.encode()
    assert read_request(body(more=more)) == (REQUEST, ["unknown item 0x77 ignored"])


def test_a_request_without_user_information_is_read() -> None:
    asking, observations = read_request(body(more=b""))
    assert asking.user_information == UserInformation()
    assert observations == ["no user information item: maximum length taken as unlimited"]


def test_a_padded_application_context_is_taken_without_its_padding() -> None:
    padded = body(application_context=APPLICATION_CONTEXT.encode() + b"\0")
    assert read_request(padded) == (REQUEST, ["UID padded with NUL or space"])


def test_reserved_bytes_of_a_request_are_not_tested() -> None:
    data = bytearray(body())
    data[2:4], data[36:68] = b"\xff" * 2, b"\xff" * 32
    asking, observations = read_request(bytes(data))
    assert asking.contexts == REQUEST.contexts
    assert observations == []


def test_128_contexts_of_100_transfer_syntaxes_are_read() -> None:
    syntaxes = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(100))
    contexts = tuple(ProposedContext(2 * n + 1, f"1.2.840.10008.5.{n}", syntaxes) for n in range(128))
    assert read_request(body(contexts=contexts))[0].contexts == contexts


@pytest.mark.parametrize("control", [0x07, 0x83, 0xFF])
def test_reserved_bits_of_a_message_control_header_are_not_tested(control: int) -> None:
    observations: list[str] = []
    data = PDataTF.decode(bytes([0, 0, 0, 4, 1, control]) + b"ab", observations.append)
    assert data == PDataTF((PDV(1, is_command=True, is_last=True, data=b"ab"),))
    assert observations == [f"reserved bits of the message control header set: 0x{control:02X}"]


@pytest.mark.parametrize("kind", [AssociateRJ, ReleaseRQ, ReleaseRP, Abort])
def test_a_short_pdu_may_be_too_long(kind: type[AssociateRJ | ReleaseRQ | ReleaseRP | Abort]) -> None:
    observations: list[str] = []
    assert kind.decode(bytes(5), observations.append) == kind.decode(bytes(4), ignore)
    assert observations == [f"{kind.NAME} of 5 bytes, not 4"]


# --- refused, with these words -------------------------------------------------------------------------------------


def fault_of(data: bytes, kind: type[Any]) -> str:
    with pytest.raises(PDUError) as raised:
        kind.decode(data, ignore)
    assert raised.value.reason == 6
    return str(raised.value)


@pytest.mark.parametrize("kind", [AssociateRJ, ReleaseRQ, ReleaseRP, Abort])
@pytest.mark.parametrize("size", range(4))
def test_a_short_pdu_may_not_be_too_short(size: int, kind: type[Any]) -> None:
    assert fault_of(bytes(size), kind) == f"{kind.NAME} of {size} bytes, not 4"


@pytest.mark.parametrize("kind", [AssociateRQ, AssociateAC])
@pytest.mark.parametrize("size", [0, 1, 67])
def test_an_association_begins_with_its_fixed_fields(size: int, kind: type[Any]) -> None:
    assert fault_of(bytes(size), kind) == f"A-ASSOCIATE PDU of {size} bytes, fewer than its fixed fields"


def test_a_request_proposes_a_context() -> None:
    assert fault_of(body(contexts=()), AssociateRQ) == "no presentation context proposed"


def test_a_context_id_is_used_once() -> None:
    twice = body(contexts=REQUEST.contexts * 2)
    assert fault_of(twice, AssociateRQ) == "a presentation context ID is used twice"


@pytest.mark.parametrize("context_id", [0, 2, 254])
def test_a_context_id_is_odd(context_id: int) -> None:
    even = body(contexts=(ProposedContext(context_id, "1.2.3", ("1.2",)),))
    assert fault_of(even, AssociateRQ) == f"presentation context ID {context_id} is not odd"


def test_a_request_is_whole_at_no_shorter_length_but_between_items() -> None:
    """Cut anywhere, with a length that says so: only an absent last item is tolerated."""
    whole = body()
    tolerated = [n for n in range(len(whole)) if _is_read(whole[:n])]
    assert tolerated == [len(whole) - len(REQUEST.user_information.encode())]


def _is_read(data: bytes) -> bool:
    try:
        AssociateRQ.decode(data, ignore)
    except PDUError:
        return False
    return True


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ("", "P-DATA-TF without a PDV item"),
        ("00000002 01", "a PDV item is cut short"),
        ("00000000 0103", "PDV item of 0 bytes in a P-DATA-TF of 6"),
        ("00000001 0103", "PDV item of 1 bytes in a P-DATA-TF of 6"),
        ("00000005 0103 0000", "PDV item of 5 bytes in a P-DATA-TF of 8"),
        ("FFFFFFFF 0103 0000", "PDV item of 4294967295 bytes in a P-DATA-TF of 8"),
        ("00000004 0103 0000 00", "a PDV item is cut short"),
        ("00000004 0103 0000 00000001 0103", "PDV item of 1 bytes in a P-DATA-TF of 14"),
    ],
)
def test_a_pdv_item_fits_its_pdu(data: str, fault: str) -> None:
    assert fault_of(bytes.fromhex(data), PDataTF) == fault


@bounded
@given(st.sampled_from(ONE_OF_EACH).flatmap(any_body))
def test_any_body_is_read_or_refused(kind_and_data: tuple[type[Any], bytes]) -> None:
    kind, data = kind_and_data
    try:
        written = kind.decode(data, ignore).encode()
    except PDUError:
        return
    assert kind.decode(written[BODY], ignore).encode() == written
