"""What is said of an admission: why a peer was not let in, and what would let it in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.ae_title import broken_rule
from minipacs.certificate import fingerprint, shown
from minipacs.diagnosis import NOTHING_TO_SAY, Diagnosis, diagnose, quoted, symbol, target
from minipacs.escape import escape
from minipacs.rules import network_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minipacs.admission import Admission
    from minipacs.rules import Network
    from minipacs.settings import Settings
    from minipacs.wire.associate import AssociateRQ


def explain_admission(
    admission: Admission,
    request: AssociateRQ,
    address: str,
    settings: Settings,
    *,
    held: int = 0,
    certificate: bytes | None = None,
    tls_port: int | None = None,
) -> Diagnosis:
    """Return the words for *admission*; nothing to say when it let the peer in.

    Args:
        admission: what was decided.
        request: what the peer asked for.
        address: the IP address that it comes from.
        settings: who we are.
        held: how many associations that peer has.
        certificate: the one that it has shown, in DER, verified; None: none.
        tls_port: where we speak TLS, if we do.
    """
    if not admission.cause:
        return NOTHING_TO_SAY
    calling = request.calling_ae_title
    cause = admission.cause
    if cause == "admission.calling-ae-title" and broken_rule(calling) is not None:
        cause = "admission.unusable-ae-title"
    near, peer = admission.near_miss, admission.peer
    return diagnose(
        cause,
        near=near,
        ae_title=settings.ae_title,
        name=peer.name if peer else symbol(calling),
        target=target(calling, address),
        near_miss=f"; it differs from {near} in capitals only" if near else "",
        detail=escape(str(admission.error)) if admission.error else shown(certificate) if certificate else "",
        fingerprint=fingerprint(certificate) if certificate else "",
        at_tls=f" on port {tls_port}" if tls_port else ", once this node has port under [tls] in minipacs.toml",
        peers=settings.peers_option,
        held=held,
        **_facts_of_titles(request),
        **_facts_of_address(address, peer.allow_from if peer else ()),
    )


def explain_refusal(address: str, settings: Settings) -> Diagnosis:
    """Return the words for a connection from an *address* that the node does not take."""
    return diagnose("inbound.address", **_facts_of_address(address, settings.allow_from))


def _facts_of_titles(request: AssociateRQ) -> dict[str, object]:
    calling, called = escape(request.calling_ae_title), escape(request.called_ae_title)
    is_usable = broken_rule(request.called_ae_title) is None
    return {
        "calling": calling or "a peer without an AE title",
        "quoted": quoted(calling),
        "called": called or "by a blank title",
        "rename": f"; or give this node the title {called} (--ae-title)" if is_usable else "",
    }


def _facts_of_address(address: str, networks: Iterable[Network]) -> dict[str, object]:
    allowed = list(map(network_text, networks))
    return {
        "address": address,
        "allowed": ", ".join(allowed),
        "allow_from": f"[{', '.join(map(quoted, [*allowed, address]))}]",
    }
