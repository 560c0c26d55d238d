"""What is to be said of an association that a peer ended: what failed on it, or why it came to nothing. Pure.

Peers do not tell: to Orthanc, a refused presentation context is one that "is not supported".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.diagnosis import Diagnosis, diagnose, quoted
from minipacs.escape import escape
from minipacs.rules import SERVICES
from minipacs.wire.dimse import VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minipacs.ending import Ended
    from minipacs.wire.items import ProposedContext

SHORTFALLS = frozenset({"inbound.no-storage", "inbound.not-allowed", "inbound.failures"})
"""The rows that are told here."""

_SAYS_LITTLE = frozenset({"", "inbound.aborted", "inbound.closed"})
_STORAGE = "1.2.840.10008.5.1.4.1.1."  # how the SOP classes of Storage begin (PS3.4 §B.5)
_QUERY_RETRIEVE = {
    f"1.2.840.10008.5.1.4.1.2.{root}.{number}": service
    for root in (1, 2, 3)
    for number, service in enumerate(("find", "move", "get"), 1)
}


def explain_shortfall(connection: Ended, diagnosis: Diagnosis, *, has_services: bool) -> Diagnosis:
    """Return why the peer got nothing of what it asked for, or what failed; *diagnosis* when that says more.

    Args:
        connection: it ends now.
        diagnosis: why it ends.
        has_services: whether the node has more than Verification.
    """
    request, peer = connection.request, connection.admission.peer if connection.admission else None
    used = connection.usage
    if diagnosis.code not in _SAYS_LITTLE or request is None or peer is None:
        return diagnosis
    if used is not None and used.failures and not diagnosis.code:
        return diagnose("inbound.failures", detail=escape(used.first_failure))
    if connection.echoes or (used is not None and used.services):
        return diagnosis
    wanted = _services_of(request.contexts)
    allowed = SERVICES if peer.services is None else peer.services
    lacking = [service for service in wanted if service not in allowed]
    facts = {"calling": escape(request.calling_ae_title), "name": peer.name}
    if not has_services and set(wanted) - {"echo"}:
        return diagnose("inbound.no-storage", detail=" and ".join(one for one in wanted if one != "echo"), **facts)
    if not lacking:
        return diagnosis
    services = [service for service in SERVICES if service in allowed or service in lacking]
    return diagnose(
        "inbound.not-allowed",
        detail=" and ".join(lacking),
        allowed=" ".join(allowed),
        services=f"[{', '.join(map(quoted, services))}]",
        **facts,
    )


def _services_of(contexts: Iterable[ProposedContext]) -> list[str]:
    """The services that are asked for; what a C-GET proposes beside itself is what it is sent."""
    asked = {_service_of(context.abstract_syntax) for context in contexts}
    if "get" in asked:
        asked.discard("store")
    return [service for service in SERVICES if service in asked]


def _service_of(abstract_syntax: str) -> str | None:
    if abstract_syntax == VERIFICATION:
        return "echo"
    return _QUERY_RETRIEVE.get(abstract_syntax, "store" if abstract_syntax.startswith(_STORAGE) else None)
