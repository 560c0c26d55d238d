"""PDUs in a stream: whole however it was cut, and every length that is announced is judged by the header alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs.errors import PDUError
from minipacs.wire.framing import PDUReader
from minipacs.wire.header import HEADER_LENGTH
from minipacs.wire.pdu import PDU
from tests.wire.exchange import (
    ABORT_2_6,
    ACCEPTANCE,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    bounded,
    echo,
    ignore,
    some_pieces,
)

ASSOCIATE_LIMIT, P_DATA_LIMIT, SHORT_LIMIT = 1 << 20, 16_384, 1024
STREAM = REQUEST.encode() + ACCEPTANCE.encode() + echo() + RELEASE_RQ + RELEASE_RP + ABORT_2_6

LIMITS = {0x01: ASSOCIATE_LIMIT, 0x02: ASSOCIATE_LIMIT, 0x04: P_DATA_LIMIT} | dict.fromkeys(
    (0x03, 0x05, 0x06, 0x07), SHORT_LIMIT
)
NAMES = {
    0x01: "A-ASSOCIATE-RQ",
    0x02: "A-ASSOCIATE-AC",
    0x03: "A-ASSOCIATE-RJ",
    0x04: "P-DATA-TF",
    0x05: "A-RELEASE-RQ",
    0x06: "A-RELEASE-RP",
    0x07: "A-ABORT",
}


def reader(*received: bytes) -> PDUReader:
    made = PDUReader(ASSOCIATE_LIMIT, P_DATA_LIMIT)
    for data in received:
        made.feed(data)
    return made


def header(pdu_type: int, length: int) -> bytes:
    return bytes([pdu_type, 0]) + length.to_bytes(4, "big")


def all_pdus(from_reader: PDUReader) -> list[PDU]:
    pdus = []
    while (pdu := from_reader.next_pdu(ignore)) is not None:
        pdus.append(pdu)
    return pdus


def fault_of(data: bytes) -> tuple[str, int]:
    with pytest.raises(PDUError) as raised:
        reader(data).next_pdu(ignore)
    return str(raised.value), raised.value.reason


@bounded
@given(some_pieces(STREAM))
def test_pdus_are_whole_however_the_stream_was_cut(chunks: list[bytes]) -> None:
    in_pieces = reader()
    pdus = []
    for chunk in chunks:
        in_pieces.feed(chunk)
        pdus += all_pdus(in_pieces)
    assert pdus == all_pdus(reader(STREAM))
    assert [pdu.NAME for pdu in pdus] == [NAMES[n] for n in (1, 2, 4, 5, 6, 7)]
    assert not in_pieces.is_partial


def test_a_pdu_is_partial_from_its_first_byte_to_its_last() -> None:
    made = reader()
    assert not made.is_partial
    for byte in RELEASE_RQ[:-1]:
        made.feed(bytes([byte]))
        assert made.next_pdu(ignore) is None
        assert made.is_partial
    made.feed(RELEASE_RQ[-1:])
    assert made.next_pdu(ignore) is not None
    assert not made.is_partial


@pytest.mark.parametrize("pdu_type", LIMITS)
def test_a_pdu_may_be_as_long_as_its_limit(pdu_type: int) -> None:
    made = reader(header(pdu_type, LIMITS[pdu_type]))
    assert made.next_pdu(ignore) is None
    assert made.is_partial


@pytest.mark.parametrize("pdu_type", LIMITS)
@pytest.mark.parametrize("excess", [1, 2, 0xFFFFFFFF])
def test_a_longer_one_is_refused_by_its_header(pdu_type: int, excess: int) -> None:
    limit = LIMITS[pdu_type]
    length = min(limit + excess, 0xFFFFFFFF)
    expected = f"{NAMES[pdu_type]} of {length} bytes, more than the {limit} that we take"
    assert fault_of(header(pdu_type, length)) == (expected, 6)
    assert reader(header(pdu_type, length)[:-1]).next_pdu(ignore) is None


def test_a_limit_of_zero_for_data_is_none() -> None:
    made = reader(header(0x04, 0xFFFFFFFF))
    made.p_data_limit = 0
    assert made.next_pdu(ignore) is None


def test_an_unknown_type_is_refused_by_its_first_byte() -> None:
    for pdu_type in set(range(256)) - set(NAMES):
        assert fault_of(bytes([pdu_type])) == (f"unknown PDU type 0x{pdu_type:02X}", 1)


def test_the_reserved_byte_of_a_header_is_not_tested() -> None:
    assert all_pdus(reader(b"\x05\xff" + RELEASE_RQ[2:])) == all_pdus(reader(RELEASE_RQ))


def test_the_first_bytes_are_those_that_are_not_read_yet() -> None:
    made = reader(RELEASE_RQ, REQUEST.encode())
    made.next_pdu(ignore)
    assert made.first_bytes == REQUEST.encode()[:64]


def test_what_is_forgotten_does_not_come_back() -> None:
    made = reader(RELEASE_RQ[:-1])
    made.clear()
    made.feed(RELEASE_RP)
    assert [pdu.NAME for pdu in all_pdus(made)] == ["A-RELEASE-RP"]


@bounded
@given(st.binary(max_size=300))
def test_no_more_is_kept_than_a_pdu_in_the_making(data: bytes) -> None:
    made = reader(data)
    try:
        all_pdus(made)
    except PDUError:
        return
    if len(made._received) >= HEADER_LENGTH:
        assert len(made._received) < HEADER_LENGTH + int.from_bytes(made._received[2:6], "big")
