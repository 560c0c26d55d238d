"""Who calls whom for what goes beyond Verification, and what is said when that fails. It knows no pynetdicom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from minipacs.call_words import words_of_call

if TYPE_CHECKING:
    import ssl

    from minipacs.diagnosis import Diagnosis
    from minipacs.peers import Peer
    from minipacs.recognition import Failed


class Caller(Struct, frozen=True, kw_only=True):
    """Who calls whom, and how.

    Attributes:
        peer: whom to call; it has a host and a port.
        calling_ae_title: our AE title.
        timeout: seconds to wait for the connection, for the TLS handshake, and for each answer.
        scp_port: where our own SCP listens, for the advice to register it.
        tls: the context by which to speak TLS; None: in plain.
        scp_host: where the peer reaches our SCP, for that advice; empty: at the address that we call from.
    """

    peer: Peer
    calling_ae_title: str
    timeout: float
    scp_port: int
    tls: ssl.SSLContext | None = None
    scp_host: str = ""

    def words(self, failed: Failed, local_address: str = "", **facts: object) -> Diagnosis:
        """Return what is said of a call that led no further, and of what was seen besides."""
        words = words_of_call(
            failed,
            self.peer,
            self.calling_ae_title,
            local_address=local_address or "<our address>",
            scp_port=self.scp_port,
            timeout=self.timeout,
            **facts,
        )
        return replace(words, reason=f"{words.reason}; observed: {failed.seen}") if failed.seen else words
