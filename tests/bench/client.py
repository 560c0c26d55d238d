"""A bare-socket SCU with canned PDUs, so that a benchmark of a server measures the server: one, or many at once."""

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from minipacs.tcp import acknowledge_at_once, tune
from minipacs.wire.associate import AssociateAC
from minipacs.wire.dimse import c_echo_rq
from minipacs.wire.header import HEADER_LENGTH, read_header
from minipacs.wire.messages import fragment
from minipacs.wire.pdu import PDataTF, ReleaseRP, ReleaseRQ
from minipacs.wire.verification import request

CALLING, CALLED = "BENCH", "MINIPACS"
HOST = "127.0.0.1"

ECHO_RQ = fragment(1, c_echo_rq(1), maximum_length=0)[0].encode()
RELEASE_RQ = ReleaseRQ().encode()

_TIMEOUT = 10.0  # seconds; whoever takes longer is no contestant
_CHUNK = 1 << 16


def associate_rq(calling: str = CALLING) -> bytes:
    """The A-ASSOCIATE-RQ of *calling*."""
    return request(calling, CALLED).encode()


ASSOCIATE_RQ = associate_rq()


class Client:
    """One connection to a server.

    Args:
        port: where it listens.
        is_tuned: whether small PDUs are sent and acknowledged at once (TCP_NODELAY, TCP_QUICKACK); else the socket
            has the options that the system gives it.
    """

    def __init__(self, port: int, *, is_tuned: bool = False) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=_TIMEOUT)
        self._is_tuned = is_tuned
        if is_tuned:
            tune(self.socket)

    def associate(self, asking: bytes = ASSOCIATE_RQ) -> bool:
        """Whether the association is accepted."""
        self.socket.sendall(asking)
        return self.read()[0] == AssociateAC.TYPE

    def echo(self) -> None:
        self.socket.sendall(ECHO_RQ)
        assert self.read()[0] == PDataTF.TYPE

    def release(self) -> None:
        self.socket.sendall(RELEASE_RQ)
        assert self.read()[0] == ReleaseRP.TYPE
        self.socket.close()

    def read(self) -> bytes:
        """The next PDU."""
        data = b""
        while not _is_whole(data):
            chunk = self.socket.recv(_CHUNK)
            if not chunk:
                raise ConnectionError("closed")
            if self._is_tuned:
                acknowledge_at_once(self.socket)
            data += chunk
        return data


def whole_association(port: int, *, is_tuned: bool) -> None:
    """Connect, associate, echo, release."""
    client = Client(port, is_tuned=is_tuned)
    assert client.associate(), "rejected"
    client.echo()
    client.release()


def associations_a_second(port: int, clients: int, seconds: float, *, is_tuned: bool) -> float:
    """Whole associations a second of so many clients at once, in one thread of ours."""
    with ExitStack() as stack:
        crowd = _Crowd(port, is_tuned)
        stack.callback(crowd.close)
        for _ in range(clients):
            crowd.dial()
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds or not crowd.ended:
            assert elapsed < seconds + _TIMEOUT, "the server has hung up on us"
            crowd.turn()
        return crowd.ended / elapsed


class _Crowd:
    """Clients that associate, echo and release again and again, as fast as the server lets them."""

    def __init__(self, port: int, is_tuned: bool) -> None:
        self.ended = 0
        self._port = port
        self._is_tuned = is_tuned
        self._selector = selectors.DefaultSelector()

    def dial(self) -> None:
        """One client more."""
        sock = socket.socket()
        sock.settimeout(_TIMEOUT)
        sock.connect((HOST, self._port))
        if self._is_tuned:
            tune(sock)
        sock.sendall(ASSOCIATE_RQ)
        steps = iter(((AssociateAC.TYPE, ECHO_RQ), (PDataTF.TYPE, RELEASE_RQ), (ReleaseRP.TYPE, b"")))
        self._selector.register(sock, selectors.EVENT_READ, self._reader(sock, steps.__next__))

    def turn(self) -> None:
        """Take what came, and answer it."""
        for key, _ in self._selector.select(1.0):
            key.data()

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _reader(self, sock: socket.socket, next_step: Callable[[], tuple[int, bytes]]) -> Callable[[], None]:
        received = bytearray()

        def read() -> None:
            received.extend(sock.recv(_CHUNK))
            if self._is_tuned:
                acknowledge_at_once(sock)
            if not _is_whole(received):
                return
            pdu_type, following = next_step()
            assert received[0] == pdu_type, f"PDU type {received[0]} in place of {pdu_type}"
            received.clear()
            if following:
                sock.sendall(following)
                return
            self._selector.unregister(sock)
            sock.close()
            self.ended += 1
            self.dial()

        return read


def _is_whole(data: bytes | bytearray) -> bool:
    return len(data) >= HEADER_LENGTH and len(data) >= HEADER_LENGTH + read_header(data)[1]
