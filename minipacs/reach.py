"""The way to a peer: its connection, and TLS on it where it wants that; or else the row of the catalogue for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minipacs.echo_result import Outcome
from minipacs.recognition import Failed, unreachable

if TYPE_CHECKING:
    import socket
    import ssl

    from minipacs.peers import Peer
    from minipacs.requestor import Requestor

_NO_ANSWER = frozenset({"no-association.silence", "no-association.closed"})


def reach(requestor: Requestor, peer: Peer, timeout: float, tls: ssl.SSLContext | None) -> None:
    """Connect to *peer*.

    Args:
        requestor: gets the connection.
        peer: has a host and a port.
        timeout: seconds to wait for the connection, and again for the TLS handshake.
        tls: the context by which to speak TLS; None: in plain.

    Raises:
        Failed: there is no way, or the peer has another certificate than it is tied to.
    """
    assert peer.host is not None
    assert peer.port is not None
    try:
        requestor.connect(peer.host, peer.port, timeout)
    except (OSError, UnicodeError) as error:
        raise unreachable(error) from None
    if tls is not None:
        _secure(requestor, peer, timeout, tls)


def look_behind(
    code: str,
    address: tuple[socket.AddressFamily, tuple[Any, ...]] | None,
    timeout: float,
    tls: ssl.SSLContext | None,
    has_received: bool,
) -> str:
    """Return what the port speaks where our A-ASSOCIATE-RQ met nothing at all, in words; empty where it does not tell.

    Args:
        code: the row of the catalogue for what became of our request.
        address: what the connection led to, family and address of the socket; None when there was none.
        timeout: seconds that a look may take.
        tls: the context by which we spoke TLS; None: in plain.
        has_received: whether anything came on the connection.
    """
    if code not in _NO_ANSWER or address is None or tls is not None or has_received:
        return ""
    from minipacs.port_look import look

    return look(*address, timeout)


def _secure(requestor: Requestor, peer: Peer, timeout: float, tls: ssl.SSLContext) -> None:
    from minipacs.certificate import described, is_of
    from minipacs.tls_recognition import handshake_failed

    server_name = peer.tls_name or str(peer.host)
    try:
        requestor.secure(tls, server_name.partition("%")[0].rstrip("."), timeout)
    except OSError as error:
        raise handshake_failed(error, is_agreed=requestor.is_tls_agreed) from None
    except UnicodeError as error:
        raise unreachable(error) from None
    if peer.certificate and not is_of(peer.certificate, requestor.certificate):
        raise Failed(Outcome.NO_ASSOCIATION, "tls.another-certificate", described(requestor.certificate or b""))
