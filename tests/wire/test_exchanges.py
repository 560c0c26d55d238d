"""Both roles wired together in memory: whole exchanges, however their bytes are cut, and what comes together."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from minipacs.wire.associate import AssociateAC, AssociateRQ
from minipacs.wire.association import Association
from minipacs.wire.dimse import SUCCESS, c_echo_rq, response
from minipacs.wire.indications import Indication, Violation
from minipacs.wire.messages import Message
from minipacs.wire.pdu import ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import State
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN, request, user_information
from tests.wire.exchange import (
    ABORT_0_0,
    ABORT_2_2,
    ABORT_2_6,
    ACCEPTANCE,
    REJECTION,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    SCU,
    STORAGE_REQUEST,
    End,
    User,
    agree,
    echo,
    echo_answers,
    in_one_pdu,
    pieces,
    scp,
    talk,
)

# --- whole exchanges -----------------------------------------------------------------------------------------------


def rejecting(association: Association, indication: Indication) -> None:
    if isinstance(indication, AssociateRQ):
        association.reject(REJECTION)


def aborting(association: Association, indication: Indication) -> None:
    """Accept, and abort at the first message."""
    if isinstance(indication, Message):
        association.abort()
    else:
        scp(association, indication)


def releasing(association: Association, indication: Indication) -> None:
    """Accept, answer, and ask for release at once."""
    scp(association, indication)
    if isinstance(indication, Message):
        association.release()


def taking_little(association: Association, indication: Indication) -> None:
    scp(association, indication, maximum_length=14)


def giving_up(association: Association, indication: Indication) -> None:
    """Echo, and abort instead of waiting for the answer."""
    SCU(1)(association, indication)
    if isinstance(indication, AssociateAC):
        association.abort()


def waiting(association: Association, indication: Indication) -> None:
    """Echo, and leave the release to the peer."""
    if isinstance(indication, AssociateAC):
        association.send(1, c_echo_rq(1))
    agree(association)


@dataclass(frozen=True)
class Exchange:
    """Two users, and where they come from and go."""

    name: str
    requestor: Callable[[], User]
    acceptor: User
    requestor_states: str
    acceptor_states: str
    messages: int = 0
    asking: AssociateRQ = REQUEST

    def run(self) -> tuple[End, End]:
        requestor, acceptor = End(self.requestor(), self.asking), End(self.acceptor)
        talk(requestor, acceptor)
        return requestor, acceptor


EXCHANGES = (
    Exchange("three echoes", lambda: SCU(3), scp, "5 6 7 1", "2 3 6 8 13 1", 3),
    Exchange("no echo", lambda: SCU(0), scp, "5 6 7 1", "2 3 6 8 13 1"),
    Exchange("rejected", lambda: SCU(3), rejecting, "5 1", "2 3 13 1"),
    Exchange("no context accepted", lambda: SCU(3), scp, "5 6 7 1", "2 3 6 8 13 1", asking=STORAGE_REQUEST),
    Exchange("aborted by the acceptor", lambda: SCU(3), aborting, "5 6 1", "2 3 6 13 1"),
    Exchange("aborted by the requestor", lambda: giving_up, scp, "5 6 13 1", "2 3 6 1"),
    Exchange("released by the acceptor", lambda: waiting, releasing, "5 6 8 13 1", "2 3 6 7 1", 1),
    Exchange("both release", lambda: SCU(1), releasing, "5 6 7 9 11 1", "2 3 6 7 10 12 13 1", 1),
    Exchange(
        "fragments",
        lambda: SCU(2),
        taking_little,
        "5 6 7 1",
        "2 3 6 8 13 1",
        2,
        request("ECHOSCU", "MINIPACS", maximum_length=14),
    ),
)
each_exchange = pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)


def states(numbers: str) -> list[State]:
    return [State(int(number)) for number in numbers.split()]


@each_exchange
def test_an_exchange_goes_its_way(exchange: Exchange) -> None:
    requestor, acceptor = exchange.run()
    assert requestor.states == states(exchange.requestor_states)
    assert acceptor.states == states(exchange.acceptor_states)
    assert requestor.association.observations == acceptor.association.observations == ()
    assert not any(isinstance(indication, Violation) for indication in requestor.indications + acceptor.indications)
    answers = [i.command for i in requestor.indications if isinstance(i, Message)]
    assert len(answers) == exchange.messages
    assert {answer.status for answer in answers} <= {SUCCESS}


def test_each_end_is_told_what_the_other_did() -> None:
    requestor, acceptor = Exchange("", lambda: SCU(2), scp, "", "").run()
    assert acceptor.indications == [REQUEST, Message(1, c_echo_rq(2)), Message(1, c_echo_rq(1)), ReleaseRQ()]
    answers = [Message(1, response(c_echo_rq(n), SUCCESS)) for n in (2, 1)]
    assert requestor.indications == [ACCEPTANCE, *answers, ReleaseRP()]
    assert requestor.association.peer_information == acceptor.association.peer_information == user_information()
    assert requestor.association.accepted_contexts == {1: IMPLICIT_VR_LITTLE_ENDIAN}
    assert acceptor.association.accepted_contexts == {1: IMPLICIT_VR_LITTLE_ENDIAN}
    assert acceptor.association.request == requestor.association.request == REQUEST


def test_a_small_maximum_length_cuts_messages_into_pdus_of_that_length() -> None:
    requestor, acceptor = next(exchange for exchange in EXCHANGES if exchange.name == "fragments").run()
    for end in (requestor, acceptor):
        assert bytes(end.sent).count(b"\x04\0\0\0\0\x0e") >= 2 * 8


@each_exchange
@pytest.mark.parametrize("role", ["requestor", "acceptor"])
def test_it_does_not_matter_how_the_bytes_are_cut(exchange: Exchange, role: str) -> None:
    """All at once, cut once at each place, and one by one: the same indications, states and bytes."""
    requestor, acceptor = exchange.run()
    live, peer = (requestor, acceptor) if role == "requestor" else (acceptor, requestor)
    stream = bytes(peer.sent)
    every_place = range(len(stream) + 1)
    for cuts in ([], *([place] for place in every_place), every_place):
        again = End(exchange.requestor(), exchange.asking) if role == "requestor" else End(exchange.acceptor)
        for piece in pieces(stream, cuts):
            again.take(piece)
        if not again.association.is_over:
            again.close()
        assert again.record == live.record, cuts


# --- what comes together -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [echo(1) + echo(2), in_one_pdu(c_echo_rq(1).encode(), c_echo_rq(2).encode())], ids=["segment", "PDU"]
)
def test_two_echoes_at_once_are_both_answered(data: bytes) -> None:
    end = End(scp)
    end.take(REQUEST.encode() + data)
    assert bytes(end.sent) == ACCEPTANCE.encode() + echo_answers(1, 2)


def test_two_messages_in_one_pdu_are_told() -> None:
    """PS3.8 §E.1: the fragments in one P-DATA-TF belong to one message."""
    end = End(scp)
    end.take(REQUEST.encode() + in_one_pdu(c_echo_rq(1).encode(), c_echo_rq(2).encode()))
    assert end.association.observations == ("several messages in one P-DATA-TF",)


def test_a_release_behind_an_echo_waits_for_the_answer() -> None:
    end = End(scp)
    end.take(REQUEST.encode() + echo(1) + RELEASE_RQ)
    assert bytes(end.sent) == ACCEPTANCE.encode() + echo_answers(1) + RELEASE_RP
    assert end.association.state is State.Sta13


def test_an_echo_before_a_fault_in_the_same_pdu_is_answered_before_the_abort() -> None:
    """The user may answer each message as it comes; the fault behind it has not happened yet."""
    end = End(scp)
    end.take(REQUEST.encode() + in_one_pdu(c_echo_rq(1).encode(), b"?"))
    assert bytes(end.sent) == ACCEPTANCE.encode() + echo_answers(1) + ABORT_2_6
    violation = end.indications[-1]
    assert isinstance(violation, Violation)
    assert violation.text == "an element of the command set is cut short"
    assert violation.first_bytes == in_one_pdu(c_echo_rq(1).encode(), b"?")[:64]


def test_nothing_is_indicated_behind_a_message_that_was_refused() -> None:
    end = End(scp)
    end.take(REQUEST.encode() + in_one_pdu(response(c_echo_rq(1), SUCCESS).encode(), c_echo_rq(2).encode()))
    assert bytes(end.sent) == ACCEPTANCE.encode() + ABORT_2_2
    assert [type(indication) for indication in end.indications] == [AssociateRQ, Message, Violation]


def test_nothing_is_indicated_behind_a_message_at_which_the_user_aborted() -> None:
    end = End(aborting)
    end.take(REQUEST.encode() + in_one_pdu(c_echo_rq(1).encode(), c_echo_rq(2).encode()) + echo(3))
    assert bytes(end.sent) == ACCEPTANCE.encode() + ABORT_0_0
    assert [type(indication) for indication in end.indications] == [AssociateRQ, Message]
    assert end.association.state is State.Sta13
