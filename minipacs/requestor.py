"""An association that we ask for, carried by a blocking socket.

It knows no service: what is asked and answered on the association is the business of its user.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from minipacs.tcp import acknowledge_at_once, tune
from minipacs.wire.association import Association
from minipacs.wire.state_table import State

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from minipacs.wire.association import Direction
    from minipacs.wire.indications import Indication

_CHUNK = 1 << 16


class Requestor:
    """The association and its connection.

    Args:
        on_pdu: told of every PDU: its direction, the milliseconds since the connection opened, its bytes.

    Attributes:
        association: the engine.
        remote_address: what the connection leads to, family and address of the socket; None before it is open.
        local_address: the IP address that we call from; empty before the connection is open.
        failed_addresses: of the addresses of the host, those that did not answer before one did, and why.
        has_received: whether anything came on the connection.
        error: why the connection was lost, when nobody closed it.
        is_tls_agreed: whether version and cipher suite of TLS were agreed.
        certificate: that of the peer, in DER, verified; None before the handshake is done.
    """

    def __init__(self, on_pdu: Callable[[Direction, float, bytes], None] | None = None) -> None:
        self._opened = perf_counter()
        self.association = Association(on_pdu=None if on_pdu is None else self._timed(on_pdu))
        self.remote_address: tuple[socket.AddressFamily, tuple[Any, ...]] | None = None
        self.local_address = ""
        self.failed_addresses: list[str] = []
        self.error: OSError | None = None
        self.is_tls_agreed = False
        self.certificate: bytes | None = None
        self.has_received = False
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLSocket | None = None

    def connect(self, host: str, port: int, timeout: float) -> None:
        """Open the connection, trying the addresses of *host* in the order of the resolver.

        Args:
            host: IP address or host name.
            port: TCP port.
            timeout: seconds for all of them.

        Raises:
            OSError: none of them answers; the error is that of the last.
        """
        deadline = perf_counter() + timeout
        candidates = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
        for number, candidate in enumerate(candidates, 1):
            # An address that drops our packets takes its share of the time, not all of it.
            share = (deadline - perf_counter()) / (len(candidates) - number + 1)
            try:
                return self._open(candidate, max(share, 0.001))
            except OSError as error:
                if number == len(candidates):
                    raise
                self.failed_addresses.append(f"no connection to {candidate[4][0]}: {error.strerror or error}")
        raise OSError("the host has no address")

    def _open(self, candidate: tuple[Any, ...], timeout: float) -> None:
        family, kind, protocol, _, address = candidate
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout)
            sock.connect(address)
            tune(sock)
        except BaseException:
            sock.close()
            raise
        self._socket = sock
        self._opened = perf_counter()
        self.remote_address = family, address
        self.local_address = sock.getsockname()[0]

    def secure(self, context: ssl.SSLContext, server_name: str, timeout: float) -> None:
        """Speak TLS on the open connection from here on.

        Args:
            context: whom to trust, and what to show.
            server_name: the host name or IP address that the certificate of the peer has to have.
            timeout: seconds for the whole handshake.

        Raises:
            OSError: the handshake failed.
        """
        assert self._socket is not None
        self._socket.settimeout(timeout)
        self._socket = self._tls = context.wrap_socket(
            self._socket, server_hostname=server_name, do_handshake_on_connect=False
        )
        try:
            self._tls.do_handshake()
            self.certificate = self._tls.getpeercert(binary_form=True)
        finally:
            self.is_tls_agreed = self._tls.cipher() is not None

    def next_indication(self, timeout: float) -> Indication:
        """Send what there is to send, and return what happens next.

        Args:
            timeout: seconds to wait for it.

        Raises:
            TimeoutError: nothing happened.
        """
        assert self._socket is not None
        deadline = perf_counter() + timeout
        has_come = False
        while True:
            self._send()
            indication = self.association.next_indication()
            if indication is not None:
                self._send()
                return indication
            remaining = deadline - perf_counter()
            if remaining <= 0:
                raise TimeoutError
            if has_come:  # and is not whole: the rest may wait for our acknowledgement
                acknowledge_at_once(self._socket)
            self._receive(remaining)
            has_come = True

    def close(self) -> None:
        """Send what there is to send, and close."""
        if self._socket is not None:
            self._send()
            if self._tls is not None:
                with suppress(OSError, ValueError):  # close_notify, without waiting for the peer's (RFC 8446 §6.1)
                    self._tls.settimeout(0)
                    self._tls.unwrap()
            self._socket.close()
            self._socket = self._tls = None
            self.association.connection_closed()

    def detach(self) -> socket.socket:
        """Return the open connection, over TLS if it is, to somebody who carries on another association by it."""
        assert self._socket is not None
        sock, self._socket, self._tls = self._socket, None, None
        return sock

    def cut(self) -> None:
        """Abort what is open, and close whatever happens; what goes wrong meanwhile is not told."""
        with suppress(Exception):
            if self._socket is not None and self.association.state not in {State.Sta1, State.Sta4, State.Sta13}:
                self.association.abort()
        with suppress(Exception):
            self.close()

    def _timed(self, on_pdu: Callable[[Direction, float, bytes], None]) -> Callable[[Direction, bytes], None]:
        return lambda direction, data: on_pdu(direction, (perf_counter() - self._opened) * 1000, data)

    def _send(self) -> None:
        assert self._socket is not None
        data = self.association.data_to_send()
        if not data:
            return
        try:
            self._socket.sendall(data)
        except OSError:
            # The peer has closed; what it sent before that is still to be read, and tells why.
            return

    def _receive(self, timeout: float) -> None:
        assert self._socket is not None
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            raise
        except OSError as error:
            self.error = error
            data = b""
        if data:
            self.has_received = True
            self.association.receive_data(data)
        else:
            self.association.connection_closed()
