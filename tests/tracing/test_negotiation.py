"""What each side said in a negotiation, as values and as lines."""

from hypothesis import given

from minipacs.tracing.negotiation import as_lines, describe
from minipacs.tracing.transcript import Transcript
from minipacs.wire.dimse import c_echo_rq
from tests.raw import CT_IMAGE_STORAGE, JPEG, accepting, asking, item, pdu, proposing, rejecting, telling
from tests.tracing.test_dump import PASSWORD, any_bytes, pynetdicoms_request
from tests.wire.exchange import ABORT_2_6, RELEASE_RQ, bounded, p_data


def lines(data: bytes, proposal: bytes = b"") -> list[str]:
    return list(as_lines(describe(data, proposal)))


def test_a_request_is_told_with_its_contexts() -> None:
    data = asking(proposing(1), proposing(3, CT_IMAGE_STORAGE, JPEG, b"1.2.3"), calling=b"CT1")
    said = describe(data)
    assert (said["pdu"], said["calling_ae_title"], said["called_ae_title"]) == ("A-ASSOCIATE-RQ", "CT1", "MINIPACS")
    assert (said["maximum_length"], said["implementation_class_uid"]) == (16_384, "1.2.3.4")
    assert said["implementation_version_name"] is None
    assert said["presentation_contexts"] == [
        {
            "id": 1,
            "abstract_syntax": {"uid": "1.2.840.10008.1.1", "name": "Verification SOP Class"},
            "transfer_syntaxes": [{"uid": "1.2.840.10008.1.2", "name": "Implicit VR Little Endian"}],
        },
        {
            "id": 3,
            "abstract_syntax": {"uid": "1.2.840.10008.5.1.4.1.1.2", "name": "CT Image Storage"},
            "transfer_syntaxes": [
                {"uid": "1.2.840.10008.1.2.4.50", "name": "JPEG Baseline (Process 1)"},
                {"uid": "1.2.3", "name": None},
            ],
        },
    ]
    assert lines(data)[-4:] == [
        "presentation context        3",
        "  abstract syntax           CT Image Storage (1.2.840.10008.5.1.4.1.1.2)",
        "  transfer syntax           JPEG Baseline (Process 1) (1.2.840.10008.1.2.4.50)",
        "  transfer syntax           1.2.3",
    ]


def test_an_answer_names_what_was_proposed_and_what_became_of_it() -> None:
    request = asking(proposing(1), proposing(3, CT_IMAGE_STORAGE))
    said = lines(accepting(request, (1, 0, JPEG), (3, 3, b"")), request)
    assert said[-7:] == [
        "presentation context        1",
        "  result                    0: Accepted",
        "  abstract syntax           Verification SOP Class (1.2.840.10008.1.1)",
        "  transfer syntax           JPEG Baseline (Process 1) (1.2.840.10008.1.2.4.50)",
        "presentation context        3",
        "  result                    3: Abstract Syntax Not Supported",
        "  abstract syntax           CT Image Storage (1.2.840.10008.5.1.4.1.1.2)",
    ]


def test_what_the_engine_has_no_use_for_is_told_too() -> None:
    said = lines(pynetdicoms_request())
    start = said.index("user information            0x53 Asynchronous operations window")
    assert said[start : start + 3] == [
        "user information            0x53 Asynchronous operations window",
        "  operations invoked        5",
        "  operations performed      0: any number",
    ]
    assert "user information            0x54 SCP/SCU role selection" in said
    assert "  SCP role                  1" in said
    assert "  application information   02 00 03" in said
    assert '  primary field             "alice"' in said
    assert "  secondary field           (28 bytes not shown)" in said
    assert PASSWORD.decode() not in "\n".join(said)


def test_an_unknown_sub_item_is_told_by_its_number() -> None:
    said = lines(asking(user_information=telling(item(0x77, b"\1\2"))))
    assert said[said.index("user information            0x77 (unknown)") + 1] == "  value                     01 02"


def test_empty_user_information_says_nothing() -> None:
    assert describe(asking(user_information=item(0x50, b"")))["user_information"] == []


def test_refusals_are_told_by_name() -> None:
    assert lines(rejecting(1, 1, 3)) == [
        "codes                       1/1/3",
        "result                      Rejected (Permanent)",
        "source                      DUL service-user",
        "reason                      Calling AE title not recognised",
    ]
    assert lines(ABORT_2_6)[-1] == "reason                      Invalid PDU parameter value"
    assert lines(RELEASE_RQ) == []


def test_what_cannot_be_read_is_told_with_the_reason() -> None:
    assert lines(pdu(0x01, bytes(4))) == [
        "invalid                     A-ASSOCIATE PDU of 4 bytes, fewer than its fixed fields"
    ]
    assert lines(b"GET / HTTP/1.1\r\n\r\n") == [
        "first bytes                 47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a"
    ]


@bounded
@given(any_bytes, any_bytes)
def test_whatever_the_bytes_it_is_printable(data: bytes, proposal: bytes) -> None:
    assert all(line.isascii() and line.isprintable() for line in lines(data, proposal))


def test_a_transcript_keeps_so_many_messages_and_every_end() -> None:
    transcript = Transcript(with_bytes=True)
    for number in range(1, 1_201):
        transcript.pdu("sent", float(number), p_data(c_echo_rq(number).encode()))
    transcript.pdu("received", 1_300.0, ABORT_2_6)
    text = transcript.text("A@h:1", ())
    assert text.count("we sent P-DATA-TF") == 1_000
    assert "200 more P-DATA-TF, not kept" in text
    assert "1300.0 ms: they sent A-ABORT" in text
