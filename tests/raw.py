"""A peer of the node that keeps no rule: any bytes, over a real socket, and what comes back within a deadline.

What is valid is taken from tests.wire.exchange; what is broken, or expected as an answer to it, is packed here by hand.
"""

import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress

from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN, user_information

WITHIN = 1.0
"""An answer or a close comes within this many seconds of a fault, as wire.md promises."""

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
VERIFICATION = b"1.2.840.10008.1.1"
CT_IMAGE_STORAGE = b"1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = IMPLICIT_VR_LITTLE_ENDIAN.encode()
JPEG = b"1.2.840.10008.1.2.4.50"

_NEVER = 5.0  # no read blocks for longer, whatever a test forgot


class RawPeer:
    """One connection to the node."""

    def __init__(
        self, port: int, host: str = "127.0.0.1", buffers: int | None = None, source: str | None = None
    ) -> None:
        self.socket = socket.socket()
        if source is not None:
            self.socket.bind((source, 0))
        if buffers is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        self.socket.settimeout(_NEVER)
        try:
            self.socket.connect((host, port))
        except OSError:
            self.socket.close()
            raise

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close so that the node sees a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """Send no more, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.socket.sendall(piece)

    def receive(self, length: int, within: float = WITHIN) -> bytes:
        """So many bytes, or fewer if the node closes before that."""
        data, deadline = b"", time.monotonic() + within
        while len(data) < length and (chunk := self._receive_some(length - len(data), deadline)):
            data += chunk
        return data

    def receive_pdu(self, within: float = WITHIN) -> bytes:
        """One whole PDU; nothing if the node closes."""
        header = self.receive(6, within)
        return header + self.receive(int.from_bytes(header[2:6], "big"), within)

    def receive_all(self, within: float = WITHIN) -> bytes:
        """Everything until the node closes, which it does in time."""
        return self.receive(1 << 30, within)

    def exchange(self, *pieces: bytes) -> bytes:
        """Send, and return the PDU that answers."""
        self.send(*pieces)
        return self.receive_pdu()

    def trickle(self, data: bytes, pause: float, within: float = _NEVER) -> tuple[bytes, float]:
        """Send one byte at a time until the node answers or closes: its answer, and the seconds until then."""
        started = time.monotonic()
        for number in range(len(data)):
            with suppress(OSError):
                self.socket.sendall(data[number : number + 1])
            self.socket.settimeout(pause)
            with suppress(TimeoutError):
                first = self._receive_or_nothing(1)
                seconds = time.monotonic() - started
                return first + self.receive_all(within) if first else b"", seconds
            assert time.monotonic() < started + within, "the node lets us trickle for ever"
        raise AssertionError("the node waited for more than there was to trickle")

    def hears_nothing(self, seconds: float) -> bool:
        """Whether the node says nothing, and does not close, for so long."""
        return not select.select([self.socket], [], [], seconds)[0]

    def send_until_it_is_not_taken(self, piece: bytes, most: int = 64 << 20) -> int:
        """Send *piece* again and again, reading nothing, until the node takes no more: how many bytes it took."""
        many = piece * 1000
        sent = 0
        self.socket.setblocking(False)
        while select.select([], [self.socket], [], 0.3)[1]:
            sent += self.socket.send(many[sent % len(piece) :])
            assert sent < most, "the node takes all that we send, and we read nothing"
        self.socket.settimeout(_NEVER)
        return sent

    def _receive_some(self, length: int, deadline: float) -> bytes:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the node neither answered nor closed in time")
        self.socket.settimeout(remaining)
        return self._receive_or_nothing(min(length, 1 << 16))

    def _receive_or_nothing(self, length: int) -> bytes:
        try:
            return self.socket.recv(length)
        except ConnectionResetError:
            return b""


@contextmanager
def raw_peer(port: int, *, buffers: int | None = None, source: str | None = None) -> Iterator[RawPeer]:
    """Connect to the node, from that address of ours, and close whatever happens."""
    with closing(RawPeer(port, buffers=buffers, source=source)) as peer:
        yield peer


def is_closed_unread(port: int, data: bytes = b"", *, source: str | None = None) -> bool:
    """Whether the node closes without a word, whatever *data* it is sent from that address of ours."""
    try:
        with raw_peer(port, source=source) as peer:
            with suppress(OSError):  # it may be closed before we have sent all
                peer.send(data)
            return peer.receive_all() == b""
    except ConnectionResetError:  # or before connect() has returned
        return True


# --- bytes, broken or not ------------------------------------------------------------------------------------------


def item(item_type: int, value: bytes, length: int | None = None) -> bytes:
    """An item of an A-ASSOCIATE PDU; *length* to lie about it."""
    return struct.pack(">BxH", item_type, len(value) if length is None else length) + value


def proposing(context_id: int, abstract_syntax: bytes = VERIFICATION, *transfer_syntaxes: bytes) -> bytes:
    """A proposed presentation context, in Implicit VR Little Endian unless told otherwise."""
    syntaxes = b"".join(item(0x40, syntax) for syntax in transfer_syntaxes or (IMPLICIT,))
    return item(0x20, bytes([context_id, 0, 0, 0]) + item(0x30, abstract_syntax) + syntaxes)


def telling(*more: bytes, maximum_length: int = 16_384) -> bytes:
    """A user information item, with what it has to hold and *more*."""
    required = item(0x51, struct.pack(">I", maximum_length)) + item(0x52, b"1.2.3.4")
    return item(0x50, required + b"".join(more))


def asking(
    *contexts: bytes,
    called: bytes = b"MINIPACS",
    calling: bytes = b"ECHOSCU",
    version: int = 1,
    application_context: bytes | None = APPLICATION_CONTEXT,
    user_information: bytes | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ, for Verification unless told otherwise; titles are padded with spaces up to 16 bytes."""
    body = struct.pack(">Hxx", version) + called.ljust(16) + calling.ljust(16) + bytes(32)
    if application_context is not None:
        body += item(0x10, application_context)
    body += b"".join(contexts or (proposing(1),)) + (telling() if user_information is None else user_information)
    return pdu(0x01, body)


def accepting(request: bytes, *results: tuple[int, int, bytes]) -> bytes:
    """The A-ASSOCIATE-AC that the node answers; each result is context ID, result and transfer syntax."""
    contexts = b"".join(
        item(0x21, bytes([context_id, 0, result, 0]) + item(0x40, syntax))
        for context_id, result, syntax in results or ((1, 0, IMPLICIT),)
    )
    body = b"\0\1\0\0" + request[10:74] + item(0x10, APPLICATION_CONTEXT) + contexts + user_information().encode()
    return pdu(0x02, body)


def rejecting(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ."""
    return pdu(0x03, bytes([0, result, source, reason]))


def pdu(pdu_type: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; *length* to lie about it."""
    return struct.pack(">BxI", pdu_type, len(body) if length is None else length) + body


def pdv(data: bytes, *, context_id: int = 1, control: int = 3, length: int | None = None) -> bytes:
    """A PDV item; control is 1 for a command, and 2 for the last fragment."""
    return struct.pack(">IBB", len(data) + 2 if length is None else length, context_id, control) + data


def command(*elements: tuple[int, bytes], group_length: int | None = None) -> bytes:
    """A command set of these elements; *group_length* to lie about it."""
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    length = len(body) if group_length is None else group_length
    return struct.pack("<HHII", 0, 0, 4, length) + body


def words(*elements: tuple[int, int]) -> Sequence[tuple[int, bytes]]:
    """Elements of two bytes each."""
    return [(element, struct.pack("<H", value)) for element, value in elements]
