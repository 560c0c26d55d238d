"""What is said of a call of ours that led no further: the row of the catalogue, filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.escape import escape

if TYPE_CHECKING:
    from minipacs.diagnosis import Diagnosis
    from minipacs.peers import Peer
    from minipacs.recognition import Failed


def words_of_call(
    failed: Failed,
    peer: Peer,
    calling_ae_title: str,
    *,
    local_address: str,
    scp_port: int,
    timeout: float,
    **facts: object,
) -> Diagnosis:
    """Return the words for *failed*.

    Args:
        failed: what became of the call.
        peer: whom we called.
        calling_ae_title: our AE title.
        local_address: the IP address that we called from; empty where no connection was open.
        scp_port: where our own SCP listens, for the advice to register it.
        timeout: seconds that we waited for each answer.
        facts: what the row needs besides, or in place of these; safe to show already.
    """
    from minipacs.diagnosis import diagnose, quoted, symbol  # the catalogue is for calls that fail

    known = {
        "called": escape(peer.ae_title),
        "calling": escape(calling_ae_title),
        "host": escape(str(peer.host)),
        "port": peer.port,
        "local_host": local_address,
        "local_port": scp_port,
        "symbol": symbol(calling_ae_title),
        "quoted": quoted(escape(calling_ae_title)),
        "timeout": timeout,
        "codes": failed.codes,
        "detail": escape(failed.detail),
    }
    return diagnose(failed.code, **(known | facts))
