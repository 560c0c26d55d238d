"""Every cell of PS3.8 Table 9-10, held against pynetdicom's copy of it and walked with real calls and real bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from minipacs.errors import LocalProtocolError
from minipacs.wire.association import Association
from minipacs.wire.dimse import c_echo_rq
from minipacs.wire.indications import Closed, Indication, Violation
from minipacs.wire.messages import Message
from minipacs.wire.pdu import Abort, ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import TRANSITIONS, Event, State
from minipacs.wire.verification import user_information
from tests.wire.exchange import (
    ABORT_0_0,
    ABORT_2_1,
    ABORT_2_2,
    ABORT_2_6,
    ACCEPTANCE,
    REJECTION,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    asked,
    connected,
    drain,
    echo,
    open_acceptor,
    open_requestor,
    told,
)

# --- the ways into each state --------------------------------------------------------------------------------------


def asking() -> Association:
    """A requestor in Sta4."""
    association = Association()
    association.associate(REQUEST)
    return association


def waiting() -> Association:
    """A requestor in Sta5."""
    association = asking()
    association.connected()
    association.data_to_send()
    return association


def releasing(association: Association) -> Association:
    association.release()
    association.data_to_send()
    return association


def asked_to_release(association: Association) -> Association:
    assert told(association, RELEASE_RQ) == [ReleaseRQ()]
    return association


def replied(association: Association) -> Association:
    association.reply_release()
    association.data_to_send()
    return association


def aborted(association: Association) -> Association:
    association.abort()
    association.data_to_send()
    return association


def rejected() -> Association:
    association = asked()
    association.reject(REJECTION)
    association.data_to_send()
    return association


def collided() -> tuple[Association, Association]:
    """Requestor and acceptor that asked each other for release at once: Sta9 and Sta10."""
    requestor, acceptor = open_requestor(), open_acceptor()
    requestor.release()
    acceptor.release()
    to_acceptor, to_requestor = requestor.data_to_send(), acceptor.data_to_send()
    assert told(requestor, to_requestor) == told(acceptor, to_acceptor) == [ReleaseRQ()]
    return requestor, acceptor


def collided_further() -> tuple[Association, Association]:
    """The same, after the requestor has replied: Sta11 and Sta12."""
    requestor, acceptor = collided()
    requestor.reply_release()
    assert told(acceptor, requestor.data_to_send()) == [ReleaseRP()]
    return requestor, acceptor


@dataclass(frozen=True)
class Way:
    """A way into a state; *role* is empty where there is none yet."""

    name: str
    role: str
    state: State
    go: Callable[[], Association]


WAYS = (
    Way("idle", "", State.Sta1, Association),
    Way("given up", "requestor", State.Sta1, lambda: aborted(asking())),
    Way("connected", "acceptor", State.Sta2, connected),
    Way("asked", "acceptor", State.Sta3, asked),
    Way("asking", "requestor", State.Sta4, asking),
    Way("waiting", "requestor", State.Sta5, waiting),
    Way("open", "acceptor", State.Sta6, open_acceptor),
    Way("open", "requestor", State.Sta6, open_requestor),
    Way("releasing", "acceptor", State.Sta7, lambda: releasing(open_acceptor())),
    Way("releasing", "requestor", State.Sta7, lambda: releasing(open_requestor())),
    Way("asked to release", "acceptor", State.Sta8, lambda: asked_to_release(open_acceptor())),
    Way("asked to release", "requestor", State.Sta8, lambda: asked_to_release(open_requestor())),
    Way("collided", "requestor", State.Sta9, lambda: collided()[0]),
    Way("collided", "acceptor", State.Sta10, lambda: collided()[1]),
    Way("collided further", "requestor", State.Sta11, lambda: collided_further()[0]),
    Way("collided further", "acceptor", State.Sta12, lambda: collided_further()[1]),
    Way("rejected", "acceptor", State.Sta13, rejected),
    Way("released", "acceptor", State.Sta13, lambda: replied(asked_to_release(open_acceptor()))),
    Way("released", "requestor", State.Sta13, lambda: replied(asked_to_release(open_requestor()))),
    Way("released after a collision", "acceptor", State.Sta13, lambda: replied(collided_further()[1])),
    Way("aborted", "acceptor", State.Sta13, lambda: aborted(open_acceptor())),
    Way("aborted", "requestor", State.Sta13, lambda: aborted(open_requestor())),
)

# --- the events ----------------------------------------------------------------------------------------------------

PEER_ABORT = Abort(2, 1)
ECHO = Message(1, c_echo_rq(1))

# Evt19 twice: a PDU of a type that there is not, and one that there is but that cannot be read.
BYTES = {
    (Event.Evt3, ""): ACCEPTANCE.encode(),
    (Event.Evt4, ""): REJECTION.encode(),
    (Event.Evt6, ""): REQUEST.encode(),
    (Event.Evt10, ""): echo(),
    (Event.Evt12, ""): RELEASE_RQ,
    (Event.Evt13, ""): RELEASE_RP,
    (Event.Evt16, ""): PEER_ABORT.encode(),
    (Event.Evt19, "unrecognized"): bytes.fromhex("0800 00000004 00000000"),
    (Event.Evt19, "invalid"): bytes.fromhex("0500 00000002 0000"),
}

CALLS: dict[Event, Callable[[Association], None]] = {
    Event.Evt1: lambda association: association.associate(REQUEST),
    Event.Evt2: Association.connected,
    Event.Evt5: Association.connected,
    Event.Evt7: lambda association: association.accept(ACCEPTANCE.contexts, user_information()),
    Event.Evt8: lambda association: association.reject(REJECTION),
    Event.Evt9: lambda association: association.send(1, c_echo_rq(1)),
    Event.Evt11: Association.release,
    Event.Evt14: Association.reply_release,
    Event.Evt15: Association.abort,
    Event.Evt17: Association.connection_closed,
    Event.Evt18: Association.artim_expired,
}


@dataclass(frozen=True)
class Step:
    """One event, in a state that was reached in one way."""

    way: Way
    event: Event
    variant: str = ""

    def __str__(self) -> str:
        words = (self.way.state.name, self.way.role, self.way.name, self.event.name, self.variant)
        return " ".join(filter(None, words))

    @property
    def cell(self) -> tuple[str, str]:
        return self.event.name, self.way.state.name

    @property
    def pdu(self) -> bytes:
        """What arrives, where the event is that something arrives."""
        return BYTES.get((self.event, self.variant), b"")


def steps() -> Iterator[Step]:
    """Every event in every way; the connection opens as Evt2 for a requestor, and as Evt5 for everybody else."""
    for way in WAYS:
        yield from (Step(way, event, variant) for event, variant in BYTES)
        impossible = Event.Evt5 if way.role == "requestor" else Event.Evt2
        yield from (Step(way, event) for event in CALLS if event is not impossible)


def ignored_when_idle(step: Step) -> bool:
    """In Sta1 bytes and a close may be late: a caller need not know that the association has just ended."""
    return step.way.state is State.Sta1 and (bool(step.pdu) or step.event is Event.Evt17)


STEPS = tuple(steps())
WALKED = tuple(step for step in STEPS if step.cell in TRANSITION_TABLE)
BLANK = tuple(step for step in STEPS if step.cell not in TRANSITION_TABLE)

# --- what the actions do (PS3.8 Tables 9-6 to 9-9) -----------------------------------------------------------------

SENT = {
    "AE-2": REQUEST.encode(),
    "AE-7": ACCEPTANCE.encode(),
    "AE-8": REJECTION.encode(),
    "DT-1": echo(),
    "AR-1": RELEASE_RQ,
    "AR-4": RELEASE_RP,
    "AR-7": echo(),
    "AR-9": RELEASE_RP,
    "AA-1": ABORT_0_0,
}

INDICATED: dict[str, Indication] = {
    "AE-3": ACCEPTANCE,
    "AE-4": REJECTION,
    "AE-6": REQUEST,
    "DT-2": ECHO,
    "AR-2": ReleaseRQ(),
    "AR-3": ReleaseRP(),
    "AR-6": ECHO,
    "AR-8": ReleaseRQ(),
    "AR-10": ReleaseRP(),
    "AA-3": PEER_ABORT,
    "AA-4": Closed(),
}

PDU_NAMES = {
    Event.Evt3: "A-ASSOCIATE-AC",
    Event.Evt4: "A-ASSOCIATE-RJ",
    Event.Evt6: "A-ASSOCIATE-RQ",
    Event.Evt10: "P-DATA-TF",
    Event.Evt12: "A-RELEASE-RQ",
    Event.Evt13: "A-RELEASE-RP",
}


def following(step: Step, action: str) -> State:
    """The state that pynetdicom's table of actions names; two of them have two (PS3.8 Tables 9-6 and 9-8)."""
    if action == "AE-6":
        return State.Sta3  # Sta13 is for a provider that rejects by itself; here the service user does
    if action == "AR-8":
        return State.Sta9 if step.way.role == "requestor" else State.Sta10
    return State[str(ACTIONS[action][2])]


def sent(step: Step, action: str) -> bytes:
    if action in {"AA-7", "AA-8"}:
        return {"unrecognized": ABORT_2_1, "invalid": ABORT_2_6}.get(step.variant, ABORT_2_2)
    return SENT.get(action, b"")


def fault(step: Step) -> str:
    """The words for a PDU that breaks a rule by coming, or by what it is."""
    if step.event is Event.Evt19:
        return "unknown PDU type 0x08" if step.variant == "unrecognized" else "A-RELEASE-RQ of 2 bytes, not 4"
    return f"unexpected {PDU_NAMES[step.event]} in {step.way.state.name}"


def indicated(step: Step, action: str) -> list[Indication]:
    if action == "AA-8" or (action == "AA-1" and step.pdu):
        answer = sent(step, action)
        return [Violation(fault(step), Abort(answer[8], answer[9]), step.pdu[:64])]
    return [INDICATED[action]] if action in INDICATED else []


# --- the tests -----------------------------------------------------------------------------------------------------


def apply(step: Step, association: Association) -> list[Indication]:
    """Let the event happen; return what is indicated."""
    if step.pdu:
        return told(association, step.pdu)
    CALLS[step.event](association)
    return drain(association)


def everything_about(association: Association) -> list[str]:
    """Each attribute of it and of its parts, in words."""
    parts = (association, association._reader, association._assembler)
    return [repr(vars(part)) for part in parts]


def test_the_table_is_the_one_that_pynetdicom_has() -> None:
    ours = {(event.name, state.name): action.name.replace("_", "-") for (event, state), action in TRANSITIONS.items()}
    assert ours == TRANSITION_TABLE


def test_every_cell_of_the_table_is_walked() -> None:
    assert {step.cell for step in WALKED} == set(TRANSITION_TABLE)
    assert len({step.cell for step in WALKED}) == len(TRANSITION_TABLE) == 123


def test_every_blank_cell_that_can_be_tried_is_tried() -> None:
    """All but Evt2 where only acceptors get, and Evt5 where only requestors do: the call is the other event there."""
    every_cell = {(event.name, state.name) for event in Event for state in State}
    untried = every_cell - {step.cell for step in STEPS}
    acceptors, requestors = ({way.state.name for way in WAYS if way.role == role} for role in ("acceptor", "requestor"))
    assert untried == {("Evt2", state) for state in acceptors - requestors} | {
        ("Evt5", state) for state in requestors - acceptors - {"Sta1"}
    }


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.state.name} {way.role} {way.name}")
def test_each_way_leads_into_its_state(way: Way) -> None:
    association = way.go()
    assert association.state is way.state
    assert association.data_to_send() == b""
    assert drain(association) == []


@pytest.mark.parametrize("step", WALKED, ids=str)
def test_an_event_does_what_the_table_says(step: Step) -> None:
    action = TRANSITION_TABLE[step.cell]
    association = step.way.go()
    assert apply(step, association) == indicated(step, action)
    assert association.data_to_send() == sent(step, action)
    assert association.state is following(step, action)
    assert association.is_over == (association.state is State.Sta1 and step.way.state is not State.Sta4)


@pytest.mark.parametrize("step", [step for step in BLANK if not ignored_when_idle(step)], ids=str)
def test_what_cannot_happen_is_refused_and_changes_nothing(step: Step) -> None:
    association = step.way.go()
    before = everything_about(association)
    with pytest.raises(LocalProtocolError):
        apply(step, association)
    assert everything_about(association) == before


@pytest.mark.parametrize("step", [step for step in BLANK if ignored_when_idle(step)], ids=str)
def test_what_still_comes_of_a_connection_that_is_no_more_is_ignored(step: Step) -> None:
    association = step.way.go()
    before = everything_about(association)
    assert apply(step, association) == []
    assert everything_about(association) == before
