"""Two associations wired together in memory, and what the tests of the engine say to each other.

An `End` is one side: an association, and a user that answers each indication. What it was told, where it stood and
what it sent is kept, so that two runs can be compared.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from minipacs.errors import PDUError
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.association import Association
from minipacs.wire.dimse import SUCCESS, VERIFICATION, c_echo_rq, response
from minipacs.wire.indications import Indication, Violation
from minipacs.wire.items import ProposedContext
from minipacs.wire.messages import Message
from minipacs.wire.pdu import PDV, PDataTF, ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import State
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN, answer, negotiate, request, user_information

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

REQUEST = request("ECHOSCU", "MINIPACS")
STORAGE_REQUEST = AssociateRQ(
    called_ae_title="MINIPACS",
    calling_ae_title="STORESCU",
    contexts=(ProposedContext(1, CT_IMAGE_STORAGE, (IMPLICIT_VR_LITTLE_ENDIAN,)),),
    user_information=user_information(),
)
ACCEPTANCE = AssociateAC(
    contexts=negotiate(REQUEST.contexts), fixed_fields=REQUEST.fixed_fields, user_information=user_information()
)
REJECTION = AssociateRJ(1, 1, 3)

# What is always the same on the wire, as PS3.8 §9.3.6 to §9.3.8 prints it.
RELEASE_RQ = bytes.fromhex("0500 00000004 00000000")
RELEASE_RP = bytes.fromhex("0600 00000004 00000000")
ABORT_0_0 = bytes.fromhex("0700 00000004 00000000")
ABORT_2_1 = bytes.fromhex("0700 00000004 00000201")
ABORT_2_2 = bytes.fromhex("0700 00000004 00000202")
ABORT_2_6 = bytes.fromhex("0700 00000004 00000206")

bounded = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Enough examples to find what is wrong, few enough to be run every time; a busy machine is no failure."""

ae_titles = (
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=16)
    .map(lambda title: title.strip(" "))
    .filter(bool)
)
uids = st.lists(st.integers(0, 10**10).map(str), min_size=2, max_size=5).map(".".join)
context_ids = st.integers(0, 127).map(lambda n: 2 * n + 1)
ushorts = st.integers(0, 0xFFFF)


def ignore(_: str) -> None:
    """Take an observation, and say nothing."""


def p_data(data: bytes, *, context_id: int = 1, is_command: bool = True, is_last: bool = True) -> bytes:
    """One fragment in a P-DATA-TF of its own."""
    return PDataTF((PDV(context_id, is_command, is_last, data),)).encode()


def echo(message_id: int = 1) -> bytes:
    """A C-ECHO-RQ in a P-DATA-TF of its own."""
    return p_data(c_echo_rq(message_id).encode())


def proposal(context_id: int) -> ProposedContext:
    """Verification, as everybody proposes it."""
    return ProposedContext(context_id, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,))


def asking_for(*contexts: ProposedContext, maximum_length: int = 16_384) -> bytes:
    """An A-ASSOCIATE-RQ for these."""
    asking = AssociateRQ(
        called_ae_title="MINIPACS",
        calling_ae_title="ECHOSCU",
        contexts=contexts,
        user_information=user_information(maximum_length),
    )
    return asking.encode()


def with_length(body: bytes) -> bytes:
    """An A-ASSOCIATE-RQ of this body, with the length that it has."""
    return b"\x01\0" + len(body).to_bytes(4, "big") + body


def drain(association: Association) -> list[Indication]:
    """Every indication that is to be had now, none of them answered."""
    indications = []
    while (indication := association.next_indication()) is not None:
        indications.append(indication)
    return indications


def told(association: Association, data: bytes) -> list[Indication]:
    """What *data* makes the association say."""
    association.receive_data(data)
    return drain(association)


def in_one_pdu(*commands: bytes) -> bytes:
    """Whole command sets, each a PDV, all in one P-DATA-TF."""
    return PDataTF(tuple(PDV(1, is_command=True, is_last=True, data=command) for command in commands)).encode()


def echo_answers(*message_ids: int) -> bytes:
    """The C-ECHO-RSPs to these, each in a P-DATA-TF of its own."""
    return b"".join(p_data(response(c_echo_rq(n), SUCCESS).encode()) for n in message_ids)


def connected() -> Association:
    """An acceptor in Sta2."""
    association = Association()
    association.connected()
    return association


def asked() -> Association:
    """An acceptor in Sta3."""
    association = connected()
    assert told(association, REQUEST.encode()) == [REQUEST]
    return association


def open_acceptor(maximum_length: int = 16_384) -> Association:
    """An acceptor in Sta6, which has announced *maximum_length*."""
    association = asked()
    association.accept(negotiate(REQUEST.contexts), user_information(maximum_length))
    association.data_to_send()
    return association


def open_requestor() -> Association:
    """A requestor in Sta6."""
    association = Association()
    association.associate(REQUEST)
    association.connected()
    association.data_to_send()
    assert told(association, ACCEPTANCE.encode()) == [ACCEPTANCE]
    return association


# --- users ---------------------------------------------------------------------------------------------------------

User: TypeAlias = Callable[[Association, Indication], None]


def agree(association: Association) -> None:
    """Reply to the A-RELEASE-RQ as soon as the state allows, which in a collision is not at once."""
    if association.state in {State.Sta8, State.Sta9, State.Sta12}:
        association.reply_release()


def scp(association: Association, indication: Indication, maximum_length: int = 16_384) -> None:
    """Accept, answer and agree to everything."""
    match indication:
        case AssociateRQ():
            association.accept(negotiate(indication.contexts), user_information(maximum_length))
        case Message() if association.state is not State.Sta7:  # where nothing may be sent any more
            serve(association, indication)
        case ReleaseRQ() | ReleaseRP():
            agree(association)


def serve(association: Association, message: Message) -> None:
    """Answer as the Verification service does."""
    try:
        reply = answer(message.command)
    except PDUError as fault:
        association.refuse(fault)
    else:
        if reply is not None:
            association.send(message.context_id, reply)


@dataclass
class SCU:
    """Echo so many times, one after the other, and release."""

    echoes: int

    def __call__(self, association: Association, indication: Indication) -> None:
        match indication:
            case AssociateAC() | Message() if association.state is State.Sta6:
                self._go_on(association)
            case ReleaseRQ() | ReleaseRP():
                agree(association)

    def _go_on(self, association: Association) -> None:
        if self.echoes and 1 in association.accepted_contexts:
            association.send(1, c_echo_rq(self.echoes))
            self.echoes -= 1
        else:
            association.release()


# --- ends ----------------------------------------------------------------------------------------------------------


@dataclass
class End:
    """One side of an association, and the record of what it went through."""

    user: User
    asking: AssociateRQ | None = None
    association: Association = field(default_factory=Association)
    indications: list[Indication] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        if self.asking is not None:
            self.association.associate(self.asking)
        self.association.connected()
        self._keep()

    def take(self, data: bytes) -> None:
        """Let *data* arrive, and the user answer."""
        self.association.receive_data(data)
        while (indication := self.association.next_indication()) is not None:
            self.indications.append(indication)
            assert len(self.indications) < 1000, "there is no end of indications"
            self._keep()
            self.user(self.association, indication)
            self._keep()
        self._keep()

    def close(self) -> None:
        """Let the connection close."""
        self.association.connection_closed()
        self.take(b"")

    def _keep(self) -> None:
        self.sent += self.association.data_to_send()
        if self.states[-1:] != [self.association.state]:
            self.states.append(self.association.state)

    @property
    def record(self) -> tuple[list[object], list[State], bytes, tuple[str, ...]]:
        """What has to be the same however the bytes came; of a violation, how much of it was there may differ."""
        return (
            [(i.text, i.abort) if isinstance(i, Violation) else i for i in self.indications],
            self.states,
            bytes(self.sent),
            self.association.observations,
        )


def talk(requestor: End, acceptor: End) -> None:
    """Carry bytes to and fro until both have nothing more to say, then close as whoever is done does."""
    carried = {id(requestor): 0, id(acceptor): 0}
    ways = ((requestor, acceptor), (acceptor, requestor))
    while any(len(sender.sent) > carried[id(sender)] for sender, _ in ways):
        for sender, receiver in ways:
            data = bytes(sender.sent[carried[id(sender)] :])
            carried[id(sender)] += len(data)
            receiver.take(data)
    for closing, other in ways:
        if closing.association.is_over:
            other.close()


def pieces(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    """*stream* cut at these positions."""
    return [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]


def some_pieces(stream: bytes) -> SearchStrategy[list[bytes]]:
    """*stream* cut anywhere."""
    return st.lists(st.integers(0, len(stream)), max_size=8).map(lambda cuts: pieces(stream, sorted(cuts)))


def mutated(stream: bytes) -> SearchStrategy[bytes]:
    """*stream* with a few bytes changed, put in or left out."""
    places = st.integers(0, len(stream))
    change = st.tuples(places, st.integers(0, 8), st.binary(max_size=4))
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _changed(stream, changes))


def _changed(stream: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for start, length, instead in changes:
        stream = stream[:start] + instead + stream[start + length :]
    return stream
