"""A stream that passes: cut as it should be however it comes, and with nothing in it that must not pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs.errors import PDUError
from minipacs.wire.passing import IDENTIFIER_LIMIT, Inspection, Passing
from tests.raw import asking, pdu, pdv
from tests.storing import data_pdus, store_rq
from tests.wire.exchange import RELEASE_RQ, ignore, some_pieces

DATA = [store_rq(b"1.2.3"), *data_pdus(bytes(40))]
STREAM = b"".join([*DATA, RELEASE_RQ, *DATA, asking(), DATA[0]])


def runs(passing: Passing, *pieces: bytes) -> list[tuple[bool, bytes]]:
    """What comes of it, with neighbours that are no P-DATA-TF put together."""
    joined: list[tuple[bool, bytes]] = []
    for piece in pieces:
        for is_data, run in passing.cut(piece):
            if joined and not is_data and not joined[-1][0]:
                run = joined.pop()[1] + run  # noqa: PLW2901
            joined.append((is_data, run))
    return joined


@given(some_pieces(STREAM))
def test_however_it_is_cut_the_same_comes_of_it(pieces: list[bytes]) -> None:
    passing = Passing(16_384)
    expected = [*((True, one) for one in DATA), (False, RELEASE_RQ), *((True, one) for one in DATA)]
    assert runs(passing, *pieces) == [*expected, (False, asking()), (True, DATA[0])]
    assert not passing.is_partial
    assert passing.pdus == 2 * len(DATA) + 1


@given(st.binary(max_size=200), st.integers(0, 64))
def test_no_byte_is_lost_or_made_up(data: bytes, limit: int) -> None:
    passing = Passing(limit)
    taken = b"".join(run for _, run in passing.cut(data))
    assert data.startswith(taken)
    assert len(data) - len(taken) <= max(len(data), limit + 6)
    assert passing.is_partial or taken == data


def test_a_pdu_above_the_limit_does_not_pass_and_is_not_waited_for() -> None:
    passing = Passing(100)
    assert runs(passing, pdu(0x04, b"", 101)) == [(False, pdu(0x04, b"", 101))]
    assert runs(Passing(0), pdu(0x04, bytes(70_000))) == [(True, pdu(0x04, bytes(70_000)))]


def test_behind_what_is_no_pdu_nothing_passes() -> None:
    assert runs(Passing(100), b"\x99", *DATA) == [(False, b"\x99" + b"".join(DATA))]


def test_a_pdu_that_has_not_ended_is_partial() -> None:
    passing = Passing(100)
    for number in range(1, len(DATA[1])):
        assert runs(passing, DATA[1][number - 1 : number]) == []
        assert passing.is_partial
    assert runs(passing, DATA[1][-1:]) == [(True, DATA[1])]
    assert not passing.is_partial


def inspected(*pdus: bytes, may_respond: bool = False) -> Inspection:
    inspection = Inspection({1, 3}, 1_000, may_respond=may_respond, observe=ignore)
    for one in pdus:
        inspection.look(one)
    return inspection


def test_a_message_is_partial_until_its_data_set_has_ended() -> None:
    assert inspected(DATA[0]).is_partial
    assert not inspected(*DATA).is_partial
    assert not inspected(*DATA, *DATA).is_partial


def test_the_data_set_of_an_object_may_be_of_any_size_and_no_other() -> None:
    piece = pdu(0x04, pdv(bytes(IDENTIFIER_LIMIT), control=0))
    inspected(DATA[0], piece, piece)
    find = store_rq(b"1.2.3", field=0x0020)
    inspected(find, piece)
    with pytest.raises(PDUError, match="data set of more than 1048576 bytes in a message that is no C-STORE-RQ"):
        inspected(find, piece, piece)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([pdu(0x04, pdv(b"", context_id=5))], "data on presentation context 5, which was not accepted"),
        ([DATA[0], *data_pdus(b"", context_id=3)], "a message on context 1 goes on on context 3"),
        ([DATA[1]], "data set without a command"),
        ([DATA[0], DATA[0]], "command fragment inside a data set"),
        ([store_rq(b"1.2.3", sop_class=b"")], "C-STORE-RQ without an Affected SOP Class UID"),
        ([store_rq(b"1.2.3", sop_class=b"1" * 66)], "C-STORE-RQ with an Affected SOP Class UID of 66 characters"),
        ([store_rq(b"1.2.3", field=0x8020)], "response 0x8020 to no request of ours"),
        ([store_rq(b"1.2.3", field=0x8001)], "response 0x8001 to no request of ours"),
        ([pdu(0x04, pdv(bytes(1_001), control=1))], "command set of more than 1000 bytes"),
    ],
)
def test_what_must_not_pass_is_told(sent: list[bytes], reason: str) -> None:
    with pytest.raises(PDUError, match=reason):
        inspected(*sent)


def test_who_retrieves_may_respond_to_what_it_is_sent() -> None:
    inspected(store_rq(b"1.2.3", field=0x8001, data_set=0x0101), may_respond=True)
