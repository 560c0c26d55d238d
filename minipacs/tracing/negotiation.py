"""What each side said when an association was negotiated and ended: as values for a log, and as text for people."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from minipacs import names
from minipacs.errors import PDUError
from minipacs.escape import escape, hex_dump
from minipacs.tracing.dump import name_of
from minipacs.tracing.items import user_information_fields
from minipacs.wire import items
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.header import HEADER_LENGTH
from minipacs.wire.pdu import PDU_CLASSES, Abort

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from minipacs.tracing.fields import Field
    from minipacs.wire.items import UserInformation

# Behind the fixed fields of an A-ASSOCIATE PDU its items begin.
_ITEMS_BEGIN = HEADER_LENGTH + 68

# These stand by themselves in the description.
_TOLD_APART = frozenset(
    {items.MAXIMUM_LENGTH_ITEM, items.IMPLEMENTATION_CLASS_UID_ITEM, items.IMPLEMENTATION_VERSION_NAME_ITEM}
)

_LABELS = {
    "calling_ae_title": "calling AE title",
    "called_ae_title": "called AE title",
    "implementation_class_uid": "implementation class UID",
    "presentation_contexts": "presentation context",
    "transfer_syntaxes": "transfer syntax",
}


def describe(pdu: bytes, proposal: bytes = b"") -> dict[str, object]:
    """Return what a PDU says, in values that JSON knows; text of the peer is escaped.

    Args:
        pdu: its bytes, or those that came in the place of one.
        proposal: for an A-ASSOCIATE-AC, the bytes of the A-ASSOCIATE-RQ that it answers.
    """
    description: dict[str, object] = {"pdu": name_of(pdu)}
    if not pdu or pdu[0] not in PDU_CLASSES:
        return description | {"first_bytes": hex_dump(pdu)}
    try:
        value = PDU_CLASSES[pdu[0]].decode(pdu[HEADER_LENGTH:], _ignore)
    except PDUError as fault:
        return description | {"invalid": escape(str(fault))}
    if isinstance(value, AssociateRQ):
        return description | _request(value, pdu)
    if isinstance(value, AssociateAC):
        return description | _acceptance(value, pdu, _abstract_syntaxes(proposal))
    if isinstance(value, AssociateRJ):
        result, source, reason = names.rejection(value)
        return description | {"codes": str(value), "result": result, "source": source, "reason": reason}
    if isinstance(value, Abort):
        source, reason = names.abort(value)
        return description | {"codes": str(value), "source": source, "reason": reason or None}
    return description


def as_lines(description: Mapping[str, object], width: int = 28) -> Iterator[str]:
    """Yield a description line by line, as people read it: nested by two spaces, what is absent left out.

    Args:
        description: what describe() returned.
        width: of the labels, in characters.
    """
    for key, value in description.items():
        label = _LABELS.get(key, key.replace("_", " ")).ljust(width - 1) + " "
        if key == "pdu" or value is None:
            continue
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, dict):
                yield f"{label}{entry}"
            elif set(entry) == {"uid", "name"}:
                yield f"{label}{_named(entry)}"
            else:
                (_, first), *rest = entry.items()
                yield f"{label}{first}"
                yield from (f"  {line}" for line in as_lines(dict(rest), width - 2))


def _named(uid: Mapping[str, object]) -> str:
    return f"{uid['name']} ({uid['uid']})" if uid["name"] else str(uid["uid"])


def _uid(uid: str) -> dict[str, object]:
    return {"uid": escape(uid), "name": names.uid_name(uid) or None}


def _request(request: AssociateRQ, pdu: bytes) -> dict[str, object]:
    return {
        "calling_ae_title": escape(request.calling_ae_title),
        "called_ae_title": escape(request.called_ae_title),
        **_common(request, pdu),
        "presentation_contexts": [
            {
                "id": context.context_id,
                "abstract_syntax": _uid(context.abstract_syntax),
                "transfer_syntaxes": [_uid(syntax) for syntax in context.transfer_syntaxes],
            }
            for context in request.contexts
        ],
    }


def _acceptance(answer: AssociateAC, pdu: bytes, abstract_syntaxes: Mapping[int, str]) -> dict[str, object]:
    contexts = []
    for context in answer.contexts:
        abstract_syntax = abstract_syntaxes.get(context.context_id)
        contexts.append(
            {
                "id": context.context_id,
                "result": f"{context.result}: {names.context_result(context.result)}",
                "abstract_syntax": None if abstract_syntax is None else _uid(abstract_syntax),
                # Of a refused context it says nothing (PS3.8 §9.3.3.2).
                "transfer_syntax": _uid(context.transfer_syntax) if context.result == 0 else None,
            }
        )
    return {**_common(answer, pdu), "presentation_contexts": contexts}


def _common(value: AssociateRQ | AssociateAC, pdu: bytes) -> dict[str, object]:
    information: UserInformation = value.user_information
    return {
        "implementation_class_uid": escape(information.implementation_class_uid) or None,
        "implementation_version_name": escape(information.implementation_version_name) or None,
        "maximum_length": information.maximum_length,
        "protocol_version": value.protocol_version,
        "application_context": _uid(value.application_context),
        "user_information": _further_user_information(pdu),
    }


def _further_user_information(pdu: bytes) -> list[dict[str, object]]:
    """Return the sub-items that the engine does not use, or does not even know, each with what is in it."""
    found: list[dict[str, object]] = []
    for item_type, value in items.read_items(pdu[_ITEMS_BEGIN:]):
        if item_type == items.USER_INFORMATION_ITEM:
            fields = user_information_fields(value)
            starts = [number for number, field in enumerate(fields) if field.depth == 0]
            for start, end in pairwise([*starts, len(fields)]):
                if fields[start].data[0] not in _TOLD_APART:
                    found.append(_sub_item(fields[start:end]))
    return found


def _sub_item(fields: Sequence[Field]) -> dict[str, object]:
    head, *contents = fields
    description: dict[str, object] = {"item": head.name.removeprefix("item ").removesuffix(", length")}
    for field in contents:
        if not field.name.startswith("length"):
            shown = f"({len(field.data)} bytes not shown)" if field.is_secret else field.value or hex_dump(field.data)
            description.setdefault(field.name.replace(" ", "_"), []).append(shown)  # type: ignore[attr-defined]
    return description


def _abstract_syntaxes(proposal: bytes) -> dict[int, str]:
    try:
        request = AssociateRQ.decode(proposal[HEADER_LENGTH:], _ignore)
    except PDUError:
        return {}
    return {context.context_id: context.abstract_syntax for context in request.contexts}


def _ignore(_: str) -> None:
    """What is tolerated, the engine tells."""
