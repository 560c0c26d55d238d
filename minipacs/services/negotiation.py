"""Which presentation contexts a peer may have, and in which transfer syntax each (PS3.8 §9.3.3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from pynetdicom import build_context, evt

from minipacs.handover import Offer
from minipacs.rules import is_uid
from minipacs.services.intake import offered
from minipacs.services.sop_classes import FIND, GET, MOVE, SOP_CLASSES, STORAGE_SYNTAXES
from minipacs.services.telling import tell
from minipacs.wire.items import ContextResult, Item, ProposedContext
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

    from minipacs.peers import Peer
    from minipacs.wire.associate import AssociateRQ

EVENT_OF_SERVICE = {
    "echo": evt.EVT_C_ECHO,
    "store": evt.EVT_C_STORE,
    "find": evt.EVT_C_FIND,
    "move": evt.EVT_C_MOVE,
    "get": evt.EVT_C_GET,
}

_SERVICE_OF_EVENT = {event: service for service, event in EVENT_OF_SERVICE.items()}
_SERVICE_OF = {uid: service for service, uids in SOP_CLASSES.items() for uid in uids}
_SYNTAXES_OF_MESSAGES = frozenset(TRANSFER_SYNTAXES.values())
_SYNTAXES_OF_OBJECTS = frozenset(STORAGE_SYNTAXES)
_ROLE_SELECTION, _SOP_CLASS_EXTENDED = 0x54, 0x56

# Results of a presentation context (PS3.8 Table 9-18).
_ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
_TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

_LONGEST_SENT = 1 << 18
"""The P-DATA-TF that we send at most, in bytes: to a peer that takes any, pynetdicom sends an object in one."""

_NOT_AUTHORIZED = 0x0124  # PS3.7 §C.5.22


class Negotiation:
    """Answers requests for associations.

    Args:
        services: those that there are.
        any_sop_class: whether private and unknown SOP classes are taken for ones of Storage.
    """

    def __init__(self, services: frozenset[str], *, any_sop_class: bool) -> None:
        self._services = services
        self._any_sop_class = any_sop_class

    def may_use(self, peer: Peer) -> frozenset[str]:
        """Return the services that *peer* may use."""
        return self._services if peer.services is None else self._services & frozenset(peer.services)

    def offer(self, request: AssociateRQ, peer: Peer) -> Offer | None:
        """Return how an association is handed over; None when it asks for nothing beyond Verification that it may use.

        The server sees what may be accepted and nothing else: each context with the one transfer syntax of ours that
        the peer names first, for it knows best in which its objects are.
        """
        may_use = self.may_use(peer)
        retrieved = {uid for uid, (_, as_scp) in _roles(request).items() if as_scp}
        accepted, refused, services = [], [], set()
        for context in request.contexts:
            service = self._service_of(context.abstract_syntax)
            if service == "store" and context.abstract_syntax in retrieved and "get" in may_use:
                service = "get" if "store" not in may_use else "store"
            if service not in may_use:
                refused.append(_refusal(context, _ABSTRACT_SYNTAX_NOT_SUPPORTED))
            elif (syntax := _choice(context)) is None:
                refused.append(_refusal(context, _TRANSFER_SYNTAXES_NOT_SUPPORTED))
            else:
                accepted.append(ProposedContext(context.context_id, context.abstract_syntax, (syntax,)))
                services.add(service)
        if not services - {"echo"}:
            return None
        # Titles as they are significant, and nothing that is unknown: what is tolerated is told by us already. Of the
        # extended negotiations, a server of ours answers roles and what queries are like (PS3.7 §D.3.3).
        told = request.user_information
        length = min(told.maximum_length or _LONGEST_SENT, _LONGEST_SENT)
        others = tuple(item for item in told.others if _role(item) is not None or _is_of_queries(item))
        asked = replace(
            request,
            contexts=tuple(accepted),
            fixed_fields=b"",
            user_information=replace(told, maximum_length=length, others=others),
        )
        return Offer(asked, tuple(refused), frozenset(services))

    def contexts(self, offer: Offer) -> list[PresentationContext]:
        """Return what pynetdicom is to accept of what it is asked for by *offer*."""
        roles = _roles(offer.request)
        contexts: dict[str, PresentationContext] = {}
        for proposed in offer.request.contexts:
            uid = proposed.abstract_syntax
            if uid in contexts:
                contexts[uid].add_transfer_syntax(proposed.transfer_syntaxes[0])
                continue
            contexts[uid] = build_context(uid, list(proposed.transfer_syntaxes))
            if uid in roles:
                contexts[uid].scu_role = "store" in offer.services
                contexts[uid].scp_role = "get" in offer.services
        return list(contexts.values())

    def _service_of(self, abstract_syntax: str) -> str | None:
        service = _SERVICE_OF.get(abstract_syntax)
        if service is None and self._any_sop_class and is_uid(abstract_syntax):
            return "store"
        return service


def guarded(handler: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return *handler* so that it is called for peers alone that may use its service.

    pynetdicom looks for the service of a request by its SOP class, and not by its presentation context: what was
    refused there could be had on a context of another service.
    """
    event_type, function, *arguments = handler
    service = _SERVICE_OF_EVENT.get(event_type)
    if service is None:
        return handler

    def checked(event: Any, *more: Any) -> Any:
        offer = offered.get()
        if offer is not None and service in offer.services:
            return function(event, *more)
        tell(f"{service} not allowed", f"{service} was asked for on an association that may not use it")
        if service in {"echo", "store"}:
            return _NOT_AUTHORIZED
        event.assoc.abort()
        return iter(())

    return (event_type, checked, *arguments)


def _choice(context: ProposedContext) -> str | None:
    is_message = _SERVICE_OF.get(context.abstract_syntax, "store") != "store"
    known = _SYNTAXES_OF_MESSAGES if is_message else _SYNTAXES_OF_OBJECTS
    return next((syntax for syntax in context.transfer_syntaxes if syntax in known), None)


def _refusal(context: ProposedContext, result: int) -> ContextResult:
    first = context.transfer_syntaxes[0] if context.transfer_syntaxes else IMPLICIT_VR_LITTLE_ENDIAN
    return ContextResult(context.context_id, result, first)


def _roles(request: AssociateRQ) -> dict[str, tuple[bool, bool]]:
    """Return, by SOP class, whether the peer wants to be SCU and SCP (PS3.7 §D.3.3.4)."""
    return dict(filter(None, map(_role, request.user_information.others)))


def _role(item: Item) -> tuple[str, tuple[bool, bool]] | None:
    if item.type != _ROLE_SELECTION or len(item.value) < 4:
        return None
    uid = item.value[2:-2].decode("latin-1")
    if int.from_bytes(item.value[:2], "big") != len(uid) or not is_uid(uid):
        return None
    return uid, (bool(item.value[-2]), bool(item.value[-1]))


def _is_of_queries(item: Item) -> bool:
    """Whether it is a SOP Class Extended Negotiation (PS3.7 §D.3.3.5) for queries or retrievals, and whole."""
    if item.type != _SOP_CLASS_EXTENDED or len(item.value) < 4:
        return False
    length = int.from_bytes(item.value[:2], "big")
    return length + 2 < len(item.value) and item.value[2 : 2 + length].decode("latin-1") in {*FIND, *MOVE, *GET}
