"""Names of the wire's numbers, as pydicom and pynetdicom have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs import names
from minipacs.wire.associate import AssociateRJ
from minipacs.wire.pdu import Abort
from tests.wire.exchange import bounded

BYTES = st.integers(0, 255)


@pytest.mark.parametrize(
    ("uid", "shown"),
    [
        ("1.2.840.10008.1.1", "Verification SOP Class (1.2.840.10008.1.1)"),
        ("1.2.840.10008.1.2", "Implicit VR Little Endian (1.2.840.10008.1.2)"),
        ("1.2.840.10008.3.1.1.1", "DICOM Application Context Name (1.2.840.10008.3.1.1.1)"),
        ("1.2.3", "1.2.3"),
        ("", "(empty)"),
        ("1.2\x1b[31m", r"1.2\x1b[31m"),
    ],
)
def test_a_uid_is_shown_by_its_name(uid: str, shown: str) -> None:
    assert names.named_uid(uid) == shown


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        ((1, 1, 3), ("Rejected (Permanent)", "DUL service-user", "Calling AE title not recognised")),
        ((2, 3, 2), ("Rejected (Transient)", "DUL service-provider (presentation related)", "Local limit exceeded")),
        ((1, 2, 2), ("Rejected (Permanent)", "DUL service-provider (ACSE related)", "Protocol version not supported")),
        ((3, 4, 5), ("unknown 3", "unknown 4", "unknown 5")),
        ((1, 1, 99), ("Rejected (Permanent)", "DUL service-user", "unknown 99")),
    ],
)
def test_a_rejection_is_told_by_name(codes: tuple[int, int, int], shown: tuple[str, str, str]) -> None:
    assert names.rejection(AssociateRJ(*codes)) == shown


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        ((0, 0), ("DUL service-user", "")),
        ((2, 6), ("DUL service-provider", "Invalid PDU parameter value")),
        ((2, 99), ("DUL service-provider", "unknown 99")),
        ((7, 1), ("unknown 7", "")),
    ],
)
def test_an_abort_is_told_by_name(codes: tuple[int, int], shown: tuple[str, str]) -> None:
    assert names.abort(Abort(*codes)) == shown


def test_results_statuses_and_messages_have_names() -> None:
    assert names.context_result(0) == "Accepted"
    assert names.context_result(4) == "Transfer Syntax(es) Not Supported"
    assert names.context_result(5) == "unknown result 5"
    assert names.status(0x0000) == "Success"
    assert names.status(0x0122) == "Failure: Refused: SOP Class Not Supported"
    assert names.status(0x4711) == "unknown status 0x4711"
    assert names.command_field(0x8030) == "C-ECHO-RSP"
    assert names.command_field(0x0003) == "unknown command 0x0003"
    assert names.command_element(0x0100) == ("Command Field", "US")
    assert names.command_element(0x9999) == ("", "")


@bounded
@given(BYTES, BYTES, BYTES, st.integers(0, 0xFFFF), st.text())
def test_whatever_the_codes_there_is_a_text(one: int, two: int, three: int, word: int, text: str) -> None:
    shown = [*names.rejection(AssociateRJ(one, two, three)), names.abort(Abort(one, two))[0]]
    shown += [names.context_result(one), names.status(word), names.command_field(word), names.named_uid(text)]
    assert all(name and name.isprintable() for name in shown)


def test_the_transfer_syntaxes_have_pydicoms_keywords() -> None:
    assert names.TRANSFER_SYNTAXES["JPEGBaseline8Bit"] == "1.2.840.10008.1.2.4.50"
    assert next(iter(names.TRANSFER_SYNTAXES)) == "ImplicitVRLittleEndian"
    assert set(names.USUAL_TRANSFER_SYNTAXES) < set(names.TRANSFER_SYNTAXES.values())
    assert len(names.USUAL_TRANSFER_SYNTAXES) <= 50  # more silence DCMTK
