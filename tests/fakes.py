"""Peers that misbehave when we call them: each a small named function, run on a real socket by `faking`.

A behaviour is handed one connection and says what the peer does with it. When it returns, what we still send is read
until we close, so that a test can see it in `Fake.received`. There are peers at the end that no socket answers for.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeAlias

from minipacs import Peer
from minipacs.wire.dimse import SUCCESS, c_echo_rq, response
from tests.raw import IMPLICIT, accepting, command, item, pdu, pdv, rejecting, telling, words
from tests.wire.exchange import ABORT_0_0, RELEASE_RP, RELEASE_RQ, p_data

_NEVER = 5.0  # no fake waits for longer, whatever we forget to send
_NOBODY_COMES = 60.0  # seconds until it is told that nobody calls; at the end of the test it is woken

_P_DATA = 0x04


class Conversation:
    """The peer's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.received: list[bytes] = []
        self._socket = sock
        self._socket.settimeout(_NEVER)

    def pdu(self) -> bytes:
        """The next PDU that we send; nothing when we have closed."""
        header = self._receive(6)
        data = header + self._receive(int.from_bytes(header[2:6], "big"))
        if data:
            self.received.append(data)
        return data

    def echo(self) -> int:
        """The message ID of the C-ECHO-RQ that we send, in as many fragments as it takes; 0 when we send none."""
        data = b""
        while (fragment := self.pdu())[:1] == bytes([_P_DATA]):
            data += fragment[12:]
            if fragment[11] & 2:
                place = data.index(struct.pack("<HHI", 0, 0x0110, 2)) + 8
                return int.from_bytes(data[place : place + 2], "little")
        return 0

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self._socket.sendall(piece)

    def send_as_one_likes(self, *pieces: bytes) -> None:
        """Send each piece when the kernel thinks fit, which is how DCMTK sends."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for piece in pieces:
            self._socket.sendall(piece)

    def hears_something(self, within: float) -> bool:
        """Whether bytes of ours come, or our close, in so many seconds."""
        return bool(select.select([self._socket], [], [], within)[0])

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def listen_until_we_close(self) -> None:
        if self._socket.fileno() != -1:
            while self.pdu():
                pass
            self._socket.close()

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length and (chunk := self._socket.recv(length - len(data))):
            data += chunk
        return data


Behaviour: TypeAlias = Callable[[Conversation], None]


class Fake:
    """A peer that listens, and what it has seen of us.

    Attributes:
        peer: how we call it.
        conversations: the PDUs that we sent on each connection; complete behind the `with` block.
        connections: how many came.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.conversations: list[list[bytes]] = []
        self.connections = 0

    @property
    def received(self) -> list[bytes]:
        """All of them."""
        return [pdu for conversation in self.conversations for pdu in conversation]


@contextmanager
def faking(behave: Behaviour, *, port: int = 0) -> Iterator[Fake]:
    """Listen, and behave that way towards one connection after the other."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(_NOBODY_COMES)
        fake = Fake(Peer("fake", "FAKE", "127.0.0.1", listener.getsockname()[1]))
        is_over = threading.Event()
        defects: list[BaseException] = []

        def serve() -> None:
            try:
                while (sock := listener.accept()[0]) and not is_over.is_set():
                    fake.connections += 1
                    _converse(sock, behave, fake)
                sock.close()
            except Exception as defect:  # noqa: BLE001 - raised again where the test ends
                defects.append(defect)

        thread = threading.Thread(target=serve, name="fake", daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            is_over.set()
            with suppress(OSError):
                socket.create_connection(listener.getsockname(), 1.0).close()  # wakes accept()
            thread.join(_NEVER * 2)
        assert not thread.is_alive(), "the fake hangs"
        if defects:
            raise defects[0]


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Each connection is treated by the next one of these."""
    remaining = iter(behaviours)
    return lambda conversation: next(remaining)(conversation)  # noqa: PLW0108 - not the same behaviour each time


def _converse(sock: socket.socket, behave: Behaviour, fake: Fake) -> None:
    conversation = Conversation(sock)
    try:
        behave(conversation)
        conversation.listen_until_we_close()
    except ConnectionError:
        pass  # we closed while it still sent: the test asserts on our side
    finally:
        conversation.close()
        fake.conversations.append(conversation.received)


# --- no answer to the A-ASSOCIATE-RQ -------------------------------------------------------------------------------


def keeps_silent(_: Conversation) -> None:
    """A TLS server that waits for a ClientHello, or a listener that another client blocks."""


def closes_at_once(conversation: Conversation) -> None:
    """A load balancer with no backend."""
    conversation.close()


def closes_after_the_request(conversation: Conversation) -> None:
    """An IP access list."""
    conversation.pdu()
    conversation.close()


def resets_after_the_request(conversation: Conversation) -> None:
    """A TLS port that is addressed in plain."""
    conversation.pdu()
    conversation.reset()


def closes_inside_its_answer(conversation: Conversation) -> None:
    """Dies while it answers."""
    request = conversation.pdu()
    conversation.send(accepting(request)[:20])
    conversation.close()


def speaks_http(conversation: Conversation) -> None:
    """Orthanc's port 8042."""
    conversation.pdu()
    conversation.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def speaks_tls(conversation: Conversation) -> None:
    """A TLS server that answers our bytes by the alert protocol_version."""
    conversation.pdu()
    conversation.send(bytes.fromhex("1503010002 0246"))


def speaks_ssh(conversation: Conversation) -> None:
    """Greets before it is asked."""
    conversation.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")


# --- another answer than A-ASSOCIATE-AC ----------------------------------------------------------------------------


def rejects(result: int, source: int, reason: int) -> Behaviour:
    """A-ASSOCIATE-RJ of these codes."""

    def behave(conversation: Conversation) -> None:
        conversation.pdu()
        conversation.send(rejecting(result, source, reason))

    return behave


def aborts_the_request(conversation: Conversation) -> None:
    """A-ABORT 2/0 in place of an A-ASSOCIATE-AC."""
    conversation.pdu()
    conversation.send(pdu(0x07, b"\0\0\2\0"))


def accepts_malformed(conversation: Conversation) -> None:
    """An A-ASSOCIATE-AC in which an item reaches past the end."""
    request = conversation.pdu()
    conversation.send(accepting(request)[:74] + item(0x10, b"", 0xFFFF) + accepting(request)[78:])


def releases_the_request(conversation: Conversation) -> None:
    """A-RELEASE-RQ in place of an A-ASSOCIATE-AC."""
    conversation.pdu()
    conversation.send(RELEASE_RQ)


def refuses_verification(result: int) -> Behaviour:
    """A-ASSOCIATE-AC with that result for our one context."""

    def behave(conversation: Conversation) -> None:
        conversation.send(accepting(conversation.pdu(), (1, result, IMPLICIT)))
        releases(conversation)

    return behave


def answers_another_context(conversation: Conversation) -> None:
    """A-ASSOCIATE-AC for a context that was not proposed, and not for the one that was."""
    conversation.send(accepting(conversation.pdu(), (3, 0, IMPLICIT)))
    releases(conversation)


# --- accepted, and then --------------------------------------------------------------------------------------------


def accepts(conversation: Conversation) -> None:
    """A-ASSOCIATE-AC."""
    conversation.send(accepting(conversation.pdu()))


def answers_echoes(conversation: Conversation) -> None:
    """C-ECHO-RSP for each C-ECHO-RQ until another PDU comes, which the release answers."""
    while message_id := conversation.echo():
        conversation.send(echo_rsp(message_id))
    if conversation.received[-1:] == [RELEASE_RQ]:
        conversation.send(RELEASE_RP)


def releases(conversation: Conversation) -> None:
    """A-RELEASE-RP if we ask for it."""
    if conversation.pdu() == RELEASE_RQ:
        conversation.send(RELEASE_RP)


def echo_rsp(message_id: int, status: int = SUCCESS) -> bytes:
    """A valid C-ECHO-RSP in a P-DATA-TF."""
    return p_data(response(c_echo_rq(message_id), status).encode())


def behaves(conversation: Conversation) -> None:
    """Does all that it should."""
    accepts(conversation)
    answers_echoes(conversation)


def aborts_the_echo(conversation: Conversation) -> None:
    """Orthanc with DicomAlwaysAllowEcho false."""
    accepts(conversation)
    conversation.echo()
    conversation.send(ABORT_0_0)


def closes_at_the_echo(conversation: Conversation) -> None:
    accepts(conversation)
    conversation.echo()
    conversation.close()


def resets_at_the_echo(conversation: Conversation) -> None:
    accepts(conversation)
    conversation.echo()
    conversation.reset()


def never_answers_the_echo(conversation: Conversation) -> None:
    accepts(conversation)
    conversation.echo()


def answers_one_echo(conversation: Conversation) -> None:
    """And hangs at the second."""
    accepts(conversation)
    conversation.send(echo_rsp(conversation.echo()))
    conversation.echo()


def answers_with_status(*statuses: int) -> Behaviour:
    """A C-ECHO-RSP with each status in its turn."""

    def behave(conversation: Conversation) -> None:
        accepts(conversation)
        for status in statuses:
            conversation.send(echo_rsp(conversation.echo(), status))
        releases(conversation)

    return behave


def answers_another_message(conversation: Conversation) -> None:
    """Confuses message IDs."""
    accepts(conversation)
    conversation.send(echo_rsp(conversation.echo() + 8))


def asks_back(conversation: Conversation) -> None:
    """A C-ECHO-RQ where the C-ECHO-RSP belongs."""
    accepts(conversation)
    conversation.send(p_data(c_echo_rq(conversation.echo()).encode()))


def answers_without_status(conversation: Conversation) -> None:
    accepts(conversation)
    elements = words((0x0100, 0x8030), (0x0120, conversation.echo()), (0x0800, 0x0101))
    conversation.send(pdu(_P_DATA, pdv(command(*elements))))


def answers_malformed(conversation: Conversation) -> None:
    """A command set whose element reaches past the end."""
    accepts(conversation)
    conversation.echo()
    conversation.send(pdu(_P_DATA, pdv(struct.pack("<HHI", 0, 0x0900, 2))))


def answers_too_long(conversation: Conversation) -> None:
    """Announces a P-DATA-TF of more than we take."""
    accepts(conversation)
    conversation.echo()
    conversation.send(pdu(_P_DATA, b"", 16_385))


def releases_in_place_of_an_answer(conversation: Conversation) -> None:
    accepts(conversation)
    conversation.echo()
    conversation.send(RELEASE_RQ)


def asks_between_echoes(conversation: Conversation) -> None:
    """A C-ECHO-RQ of its own, between two of ours."""
    accepts(conversation)
    message_id = conversation.echo()
    conversation.send(echo_rsp(message_id), p_data(c_echo_rq(message_id).encode()))


def aborts_between_echoes(conversation: Conversation) -> None:
    """Orthanc when its DicomScpTimeout is shorter than our interval."""
    accepts(conversation)
    conversation.send(echo_rsp(conversation.echo()), ABORT_0_0)


def closes_between_echoes(conversation: Conversation) -> None:
    accepts(conversation)
    conversation.send(echo_rsp(conversation.echo()))
    conversation.close()


def releases_between_echoes(conversation: Conversation) -> None:
    accepts(conversation)
    conversation.send(echo_rsp(conversation.echo()), RELEASE_RQ)


# --- at the release ------------------------------------------------------------------------------------------------


def answers_echo_then(*answers: bytes) -> Behaviour:
    """Good until our A-RELEASE-RQ, which these answer, each when we have sent a PDU."""

    def behave(conversation: Conversation) -> None:
        accepts(conversation)
        conversation.send(echo_rsp(conversation.echo()))
        for answer in answers:
            conversation.pdu()
            conversation.send(answer)

    return behave


never_answers_the_release = answers_echo_then()
releases_at_the_same_time = answers_echo_then(RELEASE_RQ, RELEASE_RP)  # a collision: we are Sta9, then Sta11
aborts_the_release = answers_echo_then(ABORT_0_0)
answers_twice = answers_echo_then(echo_rsp(1) + RELEASE_RP)


def closes_at_the_release(conversation: Conversation) -> None:
    accepts(conversation)
    conversation.send(echo_rsp(conversation.echo()))
    conversation.pdu()
    conversation.close()


# --- slow ----------------------------------------------------------------------------------------------------------


def trickles_its_acceptance(conversation: Conversation) -> None:
    _trickle(conversation, accepting(conversation.pdu()))


def trickles_its_response(conversation: Conversation) -> None:
    accepts(conversation)
    _trickle(conversation, echo_rsp(conversation.echo()))


def _trickle(conversation: Conversation, data: bytes) -> None:
    """One byte each 20 ms, until we send something."""
    for byte in _bytes(data):
        conversation.send(byte)
        if conversation.hears_something(0.02):
            return


# --- odd, and to be borne with -------------------------------------------------------------------------------------


def takes_fourteen_bytes_at_once(conversation: Conversation) -> None:
    """The smallest maximum length that there can be: our C-ECHO-RQ takes nine PDUs."""
    request = conversation.pdu()
    conversation.send(_telling(accepting(request), telling(maximum_length=14)))
    answers_echoes(conversation)


def sends_single_bytes(conversation: Conversation) -> None:
    """Each byte in a segment of its own."""
    conversation.send(*_bytes(accepting(conversation.pdu())))
    conversation.send(*_bytes(echo_rsp(conversation.echo())))
    if conversation.pdu() == RELEASE_RQ:
        conversation.send(*_bytes(RELEASE_RP))


def sends_header_and_body(conversation: Conversation) -> None:
    """As DCMTK does, with Nagle's algorithm on: a delayed acknowledgement would hold the body back for 40 ms."""
    accepts(conversation)
    while message_id := conversation.echo():
        answer = echo_rsp(message_id)
        conversation.send_as_one_likes(answer[:6], answer[6:])
    conversation.send(RELEASE_RP)


def tells_unknown_things(conversation: Conversation) -> None:
    """An unknown item and an unknown sub-item."""
    request = conversation.pdu()
    conversation.send(_telling(accepting(request), telling(item(0x7A, b"?")) + item(0x77, b"?")))
    answers_echoes(conversation)


def _telling(acceptance: bytes, user_information: bytes) -> bytes:
    """*acceptance* with other user information."""
    return pdu(0x02, acceptance[6 : acceptance.index(b"\x50\0", 74)] + user_information)


def _bytes(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


# --- nobody there --------------------------------------------------------------------------------------------------


@contextmanager
def refusing() -> Iterator[Peer]:
    """A port that is bound, so that nobody else takes it, and not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Peer("fake", "FAKE", "127.0.0.1", bound.getsockname()[1])


@contextmanager
def never_connecting() -> Iterator[Peer]:
    """A full backlog: the kernel drops what is more, as a firewall does."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(10):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.1)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            raise AssertionError("the backlog does not fill")
        yield Peer("fake", "FAKE", "127.0.0.1", listener.getsockname()[1])


@contextmanager
def at(host: str, port: int = 104) -> Iterator[Peer]:
    """A host that this machine cannot even try to reach."""
    yield Peer("fake", "FAKE", host, port)
