"""Whatever bytes come, in whatever pieces: nothing is raised, nothing grows, and the state is one of the table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from minipacs.wire.association import Association
from minipacs.wire.dimse import CommandSet, c_echo_rq
from minipacs.wire.indications import Indication, Violation
from minipacs.wire.messages import Message
from minipacs.wire.state_table import State
from minipacs.wire.verification import request
from tests.wire.exchange import (
    ABORT_2_2,
    ACCEPTANCE,
    CT_IMAGE_STORAGE,
    REJECTION,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    SCU,
    End,
    bounded,
    echo,
    echo_answers,
    in_one_pdu,
    mutated,
    open_acceptor,
    p_data,
    scp,
    some_pieces,
    told,
)

HEADER, ASSOCIATE_LIMIT, P_DATA_LIMIT, COMMAND_LIMIT, SHORT_LIMIT = 6, 600, 200, 150, 1024
LIMITS = {0x01: ASSOCIATE_LIMIT, 0x02: ASSOCIATE_LIMIT, 0x04: P_DATA_LIMIT}

STORE = CommandSet(command_field=0x0001, affected_sop_class_uid=CT_IMAGE_STORAGE, message_id=3, has_data_set=True)

# What a peer of each role might send, so that what is changed of it leads into many states.
ASKED = REQUEST.encode() + echo(1) + in_one_pdu(c_echo_rq(1).encode(), c_echo_rq(1).encode())
STORED = p_data(STORE.encode()) + p_data(b"ab", is_command=False)
STREAMS = {
    "acceptor that aborts": ASKED + STORED + echo(1) + RELEASE_RQ + ABORT_2_2,
    "acceptor that releases": ASKED + echo(2) + STORED + RELEASE_RQ + RELEASE_RP + ABORT_2_2,
    "requestor": ACCEPTANCE.encode()
    + echo_answers(2, 1)
    + echo(5)
    + RELEASE_RQ
    + RELEASE_RP
    + REJECTION.encode()
    + ABORT_2_2,
}


def wilful(association: Association, indication: Indication) -> None:
    """Answers, and asks for release or aborts at some messages."""
    scp(association, indication, P_DATA_LIMIT)
    if isinstance(indication, Message) and association.state is State.Sta6:
        if indication.command.message_id == 2:
            association.release()
        elif indication.command.message_id == 3:
            association.abort()


def end_of(role: str) -> End:
    association = Association(associate_pdu_limit=ASSOCIATE_LIMIT, command_set_limit=COMMAND_LIMIT)
    if role.startswith("acceptor"):
        return End(wilful, association=association)
    return End(SCU(2), request("ECHOSCU", "MINIPACS", maximum_length=P_DATA_LIMIT), association)


def any_bytes(stream: bytes) -> SearchStrategy[bytes]:
    """Noise, noise behind a good beginning, and a stream in which some bytes are others."""
    noise = st.binary(max_size=300)
    behind = st.builds(lambda length, more: stream[:length] + more, st.integers(0, len(stream)), noise)
    return noise | behind | mutated(stream)


def check_bounds(association: Association) -> None:
    received = association._reader._received
    if association._is_deaf:
        assert len(received) == 0
    elif association.state is not State.Sta1 and len(received) >= HEADER:
        assert len(received) < HEADER + LIMITS.get(received[0], SHORT_LIMIT)
    assert len(association._assembler._fragments) <= COMMAND_LIMIT
    assert len(association._pdvs) == 0
    assert len(association.observations) <= 32
    assert association.state in State


@bounded
@pytest.mark.parametrize("role", STREAMS)
@given(data=st.data())
def test_any_bytes_are_survived_and_cost_no_more_than_the_limits(role: str, data: st.DataObject) -> None:
    stream = data.draw(any_bytes(STREAMS[role]))
    end = end_of(role)
    for piece in data.draw(some_pieces(stream)):
        end.take(piece)
        check_bounds(end.association)
    assert len(end.indications) <= len(stream) // HEADER + 2
    end.close()
    assert end.association.state is State.Sta1


@bounded
@pytest.mark.parametrize("role", STREAMS)
@given(data=st.data())
def test_any_bytes_mean_the_same_however_they_are_cut(role: str, data: st.DataObject) -> None:
    stream = data.draw(any_bytes(STREAMS[role]))
    whole, cut = end_of(role), end_of(role)
    whole.take(stream)
    for piece in data.draw(some_pieces(stream)):
        cut.take(piece)
    assert cut.record == whole.record


@pytest.mark.parametrize("role", STREAMS)
def test_the_streams_lead_through_many_states_without_a_violation(role: str) -> None:
    """So that what is changed of them is the only fault in them."""
    end = end_of(role)
    end.take(STREAMS[role])
    assert not any(isinstance(indication, Violation) for indication in end.indications)
    assert len(end.states) >= 5


def test_a_data_set_of_any_length_leaves_nothing_behind() -> None:
    association = open_acceptor()
    assert told(association, p_data(STORE.encode())) == []
    fragment = p_data(bytes(16_378), is_command=False, is_last=False)
    for _ in range(1000):
        assert told(association, fragment) == []
        assert len(association._reader._received) == 0
        assert not association._assembler._fragments
    assert association.is_partial


def test_fragments_without_a_byte_in_them_leave_nothing_behind() -> None:
    association = open_acceptor()
    for _ in range(1000):
        assert told(association, p_data(b"", is_last=False) * 10) == []
    assert association.is_partial
    assert told(association, echo()) == [Message(1, c_echo_rq(1))]
