"""The Verification SCU: echo(peer) → EchoResult, each phase timed.

One attempt is made, without retry or fallback, so that what is told is what happened.
"""

from __future__ import annotations

from time import perf_counter, sleep
from typing import TYPE_CHECKING

from minipacs.ae_title import checked
from minipacs.call import Call
from minipacs.wire.framing import MAXIMUM_LENGTH
from minipacs.wire.items import SMALLEST_MAXIMUM_LENGTH
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN, request

if TYPE_CHECKING:
    import ssl

    from minipacs.echo_callbacks import EchoCallbacks
    from minipacs.echo_result import EchoResult
    from minipacs.peers import Peer

DEFAULT_TIMEOUT = 10.0

_RETRY_PAUSE = 0.25  # seconds between two attempts of echo(…, wait=…)


def echo(
    peer: Peer,
    calling_ae_title: str = "MINIPACS",
    *,
    count: int = 1,
    interval: float = 0.0,
    timeout: float = DEFAULT_TIMEOUT,
    wait: float = 0.0,
    scp_port: int = 11112,
    transfer_syntaxes: tuple[str, ...] = (IMPLICIT_VR_LITTLE_ENDIAN,),
    maximum_length: int = MAXIMUM_LENGTH,
    abort: bool = False,
    callbacks: EchoCallbacks | None = None,
    tls: ssl.SSLContext | None = None,
) -> EchoResult:
    """Send C-ECHO-RQ to *peer* on one association, and release it.

    Args:
        peer: whom to call; it has a host and a port.
        calling_ae_title: our AE title.
        count: how many echoes.
        interval: seconds between two of them.
        timeout: seconds to wait for the connection, for the TLS handshake, and for each answer. A peer that answers
            the request by silence or a close is looked at for that long again, 1 s at most: whether its port speaks
            TLS or HTTP.
        wait: seconds for which a failed attempt is made again; 0: one attempt.
        scp_port: where our own SCP listens, for the advice to register it.
        transfer_syntaxes: UIDs of those that we propose, in this order.
        maximum_length: bytes of a P-DATA-TF that we announce to take; 0: any.
        abort: whether to end by A-ABORT, not by A-RELEASE.
        callbacks: told of each step of each attempt.
        tls: call by TLS, by this context; None: by TLS where *peer* says so, trusting whom the system trusts.

    Returns:
        What became of it; a peer that says no, or nothing, is a result.

    Raises:
        ValueError: the peer has no host and port, our AE title is none, or a number is out of range.
    """
    if peer.host is None or peer.port is None:
        raise ValueError(f"peer {peer.name or peer.ae_title} has no host and port: it only calls us")
    if count < 1 or interval < 0 or timeout <= 0:
        raise ValueError("count must be at least 1, interval at least 0 and timeout more than 0")
    if not transfer_syntaxes or 0 < maximum_length < SMALLEST_MAXIMUM_LENGTH or maximum_length < 0:
        raise ValueError(f"transfer_syntaxes must not be empty, maximum_length 0 or at least {SMALLEST_MAXIMUM_LENGTH}")
    calling_ae_title = checked(calling_ae_title, "calling_ae_title")
    if peer.tls and tls is None:
        tls = _default_context()
    asked = request(calling_ae_title, peer.ae_title, transfer_syntaxes, maximum_length)
    until = perf_counter() + wait
    while True:
        call = Call(peer, asked, timeout, scp_port, callbacks, tls)
        result = call.run(count, interval, abort)
        if result.is_success or perf_counter() + _RETRY_PAUSE >= until:
            return call.with_look(result)
        sleep(_RETRY_PAUSE)


def _default_context() -> ssl.SSLContext:
    from minipacs.settings import TLS
    from minipacs.tls import client_context

    return client_context(TLS())
