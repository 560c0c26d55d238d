"""The limit of what a server in Python can do: the same bytes to and fro, and nothing done with them.

    python -m tests.bench.pingpong asyncio        a bare protocol
    python -m tests.bench.pingpong blocking       a thread a connection

Each PDU that comes is answered with the bytes that the node would send. It prints where it listens; SIGTERM ends it.
"""

import asyncio
import socket
import sys
import threading

from minipacs.wire.associate import AssociateAC
from minipacs.wire.dimse import SUCCESS, c_echo_rq, response
from minipacs.wire.messages import fragment
from minipacs.wire.pdu import ReleaseRP
from minipacs.wire.verification import negotiate, request, user_information

from .client import ASSOCIATE_RQ, CALLED, CALLING, ECHO_RQ, HOST, RELEASE_RQ

_REQUEST = request(CALLING, CALLED)
_ANSWERS = {
    ASSOCIATE_RQ[0]: AssociateAC(
        contexts=negotiate(_REQUEST.contexts), fixed_fields=_REQUEST.fixed_fields, user_information=user_information()
    ).encode(),
    ECHO_RQ[0]: fragment(1, response(c_echo_rq(1), SUCCESS), maximum_length=0)[0].encode(),
    RELEASE_RQ[0]: ReleaseRP().encode(),
}


class _Protocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        self._write(_ANSWERS[data[0]])


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Protocol, HOST, 0, backlog=512)
    _tell(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def _answer(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(65536):
            connection.sendall(_ANSWERS[data[0]])


def _accept(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=_answer, args=(listener.accept()[0],), daemon=True).start()


def _tell(port: int) -> None:
    print(f"listening on {HOST}:{port},", flush=True)


def main() -> None:
    if sys.argv[1] == "asyncio":
        asyncio.run(_serve())
    else:
        listener = socket.create_server((HOST, 0), backlog=512)
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        _tell(listener.getsockname()[1])
        threading.Event().wait()


if __name__ == "__main__":
    main()
