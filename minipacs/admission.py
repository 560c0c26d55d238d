"""Who is admitted: the rules, in their order. Pure, and closed when in doubt.

The codes of a rejection are those of PS3.8 §9.3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.addresses import is_within
from minipacs.certificate import is_of, is_valid_now
from minipacs.wire.associate import APPLICATION_CONTEXT, AssociateRJ

if TYPE_CHECKING:
    from minipacs.peers import Peer, PeerTable
    from minipacs.wire.associate import AssociateRQ

PROTOCOL_VERSION = AssociateRJ(1, 2, 2)
APPLICATION_CONTEXT_NAME = AssociateRJ(1, 1, 2)
CALLED_AE_TITLE = AssociateRJ(1, 1, 7)
CALLING_AE_TITLE = AssociateRJ(1, 1, 3)
LOCAL_LIMIT = AssociateRJ(2, 3, 2)
NO_REASON = AssociateRJ(1, 1, 1)


class Admission(Struct, frozen=True):
    """What became of a request.

    Attributes:
        peer: the peer of the table that asks; None for a stranger.
        rejection: None when it is admitted.
        cause: the rule that refused it, as a code of the catalogue; empty when it is admitted.
        near_miss: the title of a known peer, or our own, that differs in case alone; else empty.
        error: what went wrong inside a rule.
    """

    peer: Peer | None = None
    rejection: AssociateRJ | None = None
    cause: str = ""
    near_miss: str = ""
    error: Exception | None = None


def admit(
    request: AssociateRQ,
    address: str,
    table: PeerTable,
    ae_title: str,
    *,
    is_full: bool = False,
    peer_is_full: bool = False,
    certificate: bytes | None = None,
) -> Admission:
    """Decide about *request*.

    Args:
        request: what the peer asks for.
        address: the IP address that it comes from.
        table: the peers that are known now.
        ae_title: our own.
        is_full: whether the limit of associations is reached.
        certificate: the one that the peer has shown, in DER, verified; None: none.
        peer_is_full: whether the peer of that calling AE title has reached its own.

    Returns:
        The admission; a rejection with 1/1/1 when a rule itself fails, never an admission.
    """
    try:
        return _admit(request, address, table, ae_title, is_full, peer_is_full, certificate)
    except Exception as error:  # noqa: BLE001 - a guard that breaks stays shut, whatever broke it
        return Admission(None, NO_REASON, "admission.internal-error", error=error)


def _admit(
    request: AssociateRQ,
    address: str,
    table: PeerTable,
    ae_title: str,
    is_full: bool,
    peer_is_full: bool,
    certificate: bytes | None,
) -> Admission:
    if not request.protocol_version & 1:  # only bit 0 is tested (PS3.8 §9.3.2)
        return Admission(None, PROTOCOL_VERSION, "admission.protocol-version")
    peer = table.with_ae_title(request.calling_ae_title)
    if request.application_context != APPLICATION_CONTEXT:
        return Admission(peer, APPLICATION_CONTEXT_NAME, "admission.application-context")
    if request.called_ae_title != ae_title:
        near = ae_title if request.called_ae_title.casefold() == ae_title.casefold() else ""
        return Admission(peer, CALLED_AE_TITLE, "admission.called-ae-title", near)
    if peer is None:
        near = _differs_in_case(request.calling_ae_title, table)
        cause = "admission.capitals" if near else "admission.calling-ae-title"
        return Admission(None, CALLING_AE_TITLE, cause, near)
    if peer.allow_from and not is_within(address, peer.allow_from):
        return Admission(peer, CALLING_AE_TITLE, "admission.address")
    if certificate is not None and not is_valid_now(certificate):  # it was, when TLS shook hands
        return Admission(peer, CALLING_AE_TITLE, "admission.certificate-expired")
    if peer.certificate and not is_of(peer.certificate, certificate):
        cause = "admission.no-certificate" if certificate is None else "admission.certificate"
        return Admission(peer, CALLING_AE_TITLE, cause)
    if peer_is_full:
        return Admission(peer, LOCAL_LIMIT, "admission.peer-limit")
    if is_full:
        return Admission(peer, LOCAL_LIMIT, "admission.limit")
    return Admission(peer)


def _differs_in_case(ae_title: str, table: PeerTable) -> str:
    folded = ae_title.casefold()
    return next((peer.ae_title for peer in table.values() if peer.ae_title.casefold() == folded), "")
