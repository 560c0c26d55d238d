"""Two engines, a requestor and an acceptor, wired by bytes on their way, and everything that can happen to them.

Their users do what they like, whenever they like, allowed or not; bytes arrive in any pieces; whatever else may be sent
comes in between; either connection closes; timers expire. What has to be true is told by the invariants.
"""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from minipacs.errors import LocalProtocolError, PDUError
from minipacs.wire.association import Association
from minipacs.wire.dimse import SUCCESS, c_echo_rq, response
from minipacs.wire.indications import Closed, Indication, Violation
from minipacs.wire.pdu import Abort
from minipacs.wire.state_table import EFFECTS, TRANSITIONS, Action, Event, State
from minipacs.wire.verification import negotiate, user_information
from tests.wire.exchange import (
    ABORT_0_0,
    ACCEPTANCE,
    REJECTION,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    bounded,
    drain,
    echo,
    echo_answers,
)
from tests.wire.test_state_table import everything_about

OVER = {State.Sta1, State.Sta13}

# Requestor and acceptor, with nothing on its way between them: read off PS3.8 §7 and Table 9-10. What one of them has
# asked for, the other knows; once one is over, so is the other, as soon as it hears of that.
AGREED = {
    (State.Sta4, State.Sta1),
    (State.Sta5, State.Sta3),
    (State.Sta6, State.Sta6),
    (State.Sta7, State.Sta8),
    (State.Sta8, State.Sta7),
    (State.Sta9, State.Sta10),
    (State.Sta11, State.Sta12),
}

# What every PDU of the standard looks like, for the wrong time.
PDUS = (
    REQUEST.encode(),
    ACCEPTANCE.encode(),
    REJECTION.encode(),
    echo(),
    echo_answers(1),
    RELEASE_RQ,
    RELEASE_RP,
    ABORT_0_0,
)

# What a user may ask for, by the event that it is (PS3.8 Table 9-10).
PRIMITIVES: dict[Event, Callable[[Association], None]] = {
    Event.Evt1: lambda association: association.associate(REQUEST),
    Event.Evt7: lambda association: association.accept(negotiate(REQUEST.contexts), user_information()),
    Event.Evt8: lambda association: association.reject(REJECTION),
    Event.Evt9: lambda association: association.send(1, c_echo_rq(1)),
    Event.Evt11: Association.release,
    Event.Evt14: Association.reply_release,
    Event.Evt15: Association.abort,
    Event.Evt18: Association.artim_expired,
    Event.Evt19: lambda association: association.refuse(PDUError("said by the user")),
}
MOST_INDICATIONS = 1_000

sides = st.integers(0, 1)


class Side:
    """One engine, and the bytes that are on their way to it."""

    def __init__(self) -> None:
        self.association = Association()
        self.coming = bytearray()
        self.is_connected = False
        self.has_closed = False
        self.heard: list[Indication] = []

    @property
    def state(self) -> State:
        return self.association.state


class TwoEngines(RuleBasedStateMachine):
    """The requestor is side 0, the acceptor is side 1."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = (Side(), Side())
        self.is_clean = True
        self.has_garbage = False

    @initialize(is_open=st.booleans(), is_clean=st.booleans())
    def begin(self, is_open: bool, is_clean: bool) -> None:
        """From the start, or from an open association; with what nobody sent coming in between, or without."""
        self.is_clean = is_clean
        self.sides[0].association.associate(REQUEST)
        if is_open:
            self.connect()
            self._deliver_all()
            self.answer(1)
            self._deliver_all()

    @rule()
    @precondition(lambda self: not self.sides[0].is_connected and self.sides[0].state is State.Sta4)
    def connect(self) -> None:
        for side in self.sides:
            side.association.connected()
            side.is_connected = True
        self._carry()

    @rule(number=sides, event=st.sampled_from(sorted(PRIMITIVES)))
    def ask(self, number: int, event: Event) -> None:
        """Whatever a user wants, in whatever state: it is done, or refused and nothing has changed."""
        association = self.sides[number].association
        before, state = everything_about(association), association.state
        if (event, state) == (Event.Evt1, State.Sta1):
            return  # the table allows it; then there is another association, and no connection for it
        try:
            PRIMITIVES[event](association)
        except LocalProtocolError:
            assert everything_about(association) == before
            assert (event, state) not in TRANSITIONS or event is Event.Evt9
        else:
            assert (event, state) in TRANSITIONS
        self._carry()

    @rule(number=sides, size=st.integers(1, 400) | st.just(1_000))
    def deliver(self, number: int, size: int) -> None:
        """Some of the bytes arrive, and their meaning with them."""
        side = self.sides[number]
        if side.is_connected and not side.has_closed:
            self._receive(side, bytes(side.coming[:size]))
            del side.coming[:size]
        self._carry()

    @rule(number=sides)
    def answer(self, number: int) -> None:
        """Do what a good user would: so that the machine gets far more often than by chance."""
        association = self.sides[number].association
        events = {State.Sta3: Event.Evt7, State.Sta8: Event.Evt14, State.Sta9: Event.Evt14, State.Sta12: Event.Evt14}
        if association.state in events:
            PRIMITIVES[events[association.state]](association)
        elif association.state is State.Sta6:
            association.send(1, response(c_echo_rq(1), SUCCESS))
        self._carry()

    @rule()
    def collide(self) -> None:
        """Both ask for release at once, which they hardly ever do by chance (PS3.8 §7.2.3)."""
        if {side.state for side in self.sides} == {State.Sta6}:
            for side in self.sides:
                side.association.release()
        self._carry()

    @rule(number=sides, garbage=st.one_of(st.binary(min_size=1, max_size=20), st.sampled_from(PDUS)))
    @precondition(lambda self: self.sides[0].is_connected and not self.is_clean)
    def inject(self, number: int, garbage: bytes) -> None:
        """Something comes that the other side never sent; it may stand in the middle of what it did send."""
        self.sides[number].coming += garbage
        self.has_garbage = True

    @rule(number=sides)
    @precondition(lambda self: self.sides[0].is_connected and not self.is_clean)
    def break_in(self, number: int) -> None:
        """What is no PDU comes where one is to begin: whoever gets it has ended the association."""
        self._deliver_all()
        side = self.sides[number]
        self.has_garbage = True
        if not side.has_closed and not side.association._reader.is_partial:
            self._receive(side, b"\xff")
            assert side.state in OVER
        self._carry()

    @rule(number=sides)
    @precondition(lambda self: self.sides[0].is_connected)
    def close(self, number: int) -> None:
        """The connection is lost, and what is on its way to this side with it."""
        side = self.sides[number]
        side.coming.clear()
        side.has_closed = True
        side.association.connection_closed()
        self._hear(side)
        assert side.state is State.Sta1
        assert side.association.is_over

    @rule()
    @precondition(lambda self: self.sides[0].is_connected)
    def settle(self) -> None:
        """Everything arrives; nobody does anything: the two agree, and stay as they are."""
        self._deliver_all()
        is_whole = not self.has_garbage and not any(side.has_closed for side in self.sides)
        self._hang_up()
        states = (self.sides[0].state, self.sides[1].state)
        if is_whole:
            is_over = set(states) <= OVER
            assert is_over or states in AGREED, f"they disagree: {states}"
            assert not any(isinstance(heard, Violation) for side in self.sides for heard in side.heard) or is_over
        before = [everything_about(side.association) for side in self.sides]
        self._deliver_all()
        assert [everything_about(side.association) for side in self.sides] == before

    @invariant()
    def each_is_in_a_state_and_awaits_no_more_than_it_may(self) -> None:
        for side in self.sides:
            assert side.state in State
            assert not side.association._to_send
            assert len(side.association._reader._received) <= 2_000
            assert len(side.heard) < MOST_INDICATIONS
            assert sum(isinstance(heard, Closed | Abort | Violation) for heard in side.heard) <= 2

    def teardown(self) -> None:
        """However far they came, closing ends both."""
        if self.sides[0].is_connected:
            self._deliver_all()
        for side in self.sides:
            side.association.connection_closed()
            self._hear(side)
            assert side.state is State.Sta1
            assert drain(side.association) == []

    def _deliver_all(self) -> None:
        """Carry bytes to and fro; both are quiet soon, for nobody asks for anything meanwhile."""
        for _ in range(4):
            for side in self.sides:
                if not side.has_closed:
                    self._receive(side, bytes(side.coming))
                side.coming.clear()
            self._carry()
        assert not any(side.coming for side in self.sides), "they go on and on"

    def _hang_up(self) -> None:
        """A side in Sta1 has closed its connection (AA-2, AR-5): the other hears that behind all that was sent."""
        for side, other in (self.sides, self.sides[::-1]):
            if side.state is State.Sta1 and not other.has_closed:
                other.has_closed = True
                other.association.connection_closed()
                self._hear(other)

    def _receive(self, side: Side, data: bytes) -> None:
        side.association.receive_data(data)
        self._hear(side)

    def _hear(self, side: Side) -> None:
        side.heard += drain(side.association)

    def _carry(self) -> None:
        """Put what each side says on its way to the other."""
        for side, other in (self.sides, self.sides[::-1]):
            self._hear(side)
            other.coming += side.association.data_to_send()


def test_two_engines_never_disagree_never_hang_and_raise_nothing_of_their_own() -> None:
    run_state_machine_as_test(TwoEngines, settings=settings(bounded, max_examples=300, stateful_step_count=40))


def ask_for_release(engines: TwoEngines) -> None:
    engines.ask(0, Event.Evt11)


def release_both_at_once(engines: TwoEngines) -> None:
    engines.collide()
    engines.settle()
    engines.ask(0, Event.Evt14)


def break_in(engines: TwoEngines) -> None:
    engines.break_in(1)


def test_a_requestor_hears_that_the_acceptor_waited_in_vain_and_closed() -> None:
    """AA-2 sends nothing: only the end of the connection tells."""
    engines = TwoEngines()
    engines.begin(is_open=False, is_clean=False)
    engines.connect()
    engines.ask(1, Event.Evt18)
    engines.settle()
    assert [side.state for side in engines.sides] == [State.Sta1, State.Sta1]
    engines.teardown()


@pytest.mark.parametrize(
    ("action", "following", "steps"),
    [
        (Action.AR_1, State.Sta6, ask_for_release),
        (Action.AR_9, State.Sta13, release_both_at_once),
        (Action.AA_8, State.Sta6, break_in),
    ],
)
def test_the_machine_finds_an_engine_that_goes_astray(
    action: Action, following: State, steps: Callable[[TwoEngines], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that, finding nothing would say nothing. The same steps find nothing in an engine that is as it was."""
    go_through(steps)
    monkeypatch.setitem(EFFECTS, action, (EFFECTS[action][0], following))
    with pytest.raises(AssertionError):
        go_through(steps)


def go_through(steps: Callable[[TwoEngines], None]) -> None:
    """What the machine does with these steps, from an open association to its end."""
    engines = TwoEngines()
    engines.begin(is_open=True, is_clean=False)
    steps(engines)
    engines.settle()
    engines.each_is_in_a_state_and_awaits_no_more_than_it_may()
    engines.teardown()
