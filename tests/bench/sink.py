"""A Storage SCP that takes everything at once and keeps nothing, so that a benchmark of an SCU measures the SCU.

It reads PDUs off bare sockets, acknowledges each piece when it comes, and answers when a data set is whole: no peer
that looks at what it is sent, or writes it down, is quicker.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from minipacs.tcp import acknowledge_at_once, tune
from minipacs.wire.header import HEADER_LENGTH, read_header
from minipacs.wire.pdu import ReleaseRP

from ..fakes import Conversation
from ..service_fakes import answer, asked, takes
from .client import HOST

_STORED, _AT_ONCE = 0x0000, 64
_LONGEST = 30.0  # seconds between two pieces


class Sink:
    """It listens.

    Attributes:
        port: where.
        objects: how many it has taken.
        pause: seconds between an object and its answer.
        paused: seconds that all these pauses have taken.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.objects = 0
        self.pause = self.paused = 0.0
        self._listener = listener
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, name="sink", daemon=True).start()

    def close(self) -> None:
        """Take nothing more."""
        for sock in (self._listener, *self._connections):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._connections.append(connection)
                threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            conversation = _Tuned(connection)
            takes(conversation)
            while any(request := asked(conversation)):
                paused = self._pause()
                with self._lock:  # before whoever sends is told, and ends
                    self.objects += 1
                    self.paused += paused
                conversation.send(answer(_STORED, *request))
            conversation.send(ReleaseRP().encode())

    def _pause(self) -> float:
        if not self.pause:
            return 0.0
        started = time.perf_counter()
        time.sleep(self.pause)
        return time.perf_counter() - started


class _Tuned(Conversation):
    """Reads PDUs as they come, remembers none, and acknowledges what is no whole one."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        tune(sock)
        sock.settimeout(_LONGEST)
        self._sock = sock
        self._data = bytearray()

    def pdu(self) -> bytes:
        self._read(HEADER_LENGTH)
        length = HEADER_LENGTH + read_header(self._data)[1]
        self._read(length)
        pdu = bytes(self._data[:length])
        del self._data[:length]
        return pdu

    def _read(self, length: int) -> None:
        while len(self._data) < length:
            chunk = self._sock.recv(1 << 18)
            if not chunk:
                raise ConnectionError("closed")
            self._data += chunk
            acknowledge_at_once(self._sock)


@contextmanager
def sink() -> Iterator[Sink]:
    """Listen, on a free port of loopback."""
    running = Sink(socket.create_server((HOST, 0), backlog=_AT_ONCE))
    try:
        yield running
    finally:
        running.close()
