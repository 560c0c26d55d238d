"""The items of the A-ASSOCIATE PDUs, labelled (PS3.8 §9.3.2 and §9.3.3, PS3.7 Annex D).

A length that reaches past the end is cut there, and what cannot be read is a field of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.names import context_result
from minipacs.tracing.fields import Field, Part, announced, number, text, uid
from minipacs.wire import items

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.tracing.fields import Show

_USER_IDENTITY_AC_ITEM = 0x59

ITEMS = {
    items.APPLICATION_CONTEXT_ITEM: "Application context",
    items.PROPOSED_CONTEXT_ITEM: "Presentation context, proposed",
    items.CONTEXT_RESULT_ITEM: "Presentation context, answered",
    items.ABSTRACT_SYNTAX_ITEM: "Abstract syntax",
    items.TRANSFER_SYNTAX_ITEM: "Transfer syntax",
    items.USER_INFORMATION_ITEM: "User information",
    items.MAXIMUM_LENGTH_ITEM: "Maximum length",
    items.IMPLEMENTATION_CLASS_UID_ITEM: "Implementation class UID",
    0x53: "Asynchronous operations window",
    0x54: "SCP/SCU role selection",
    items.IMPLEMENTATION_VERSION_NAME_ITEM: "Implementation version name",
    0x56: "SOP class extended negotiation",
    0x57: "SOP class common extended negotiation",
    items.USER_IDENTITY_RQ_ITEM: "User identity",
    _USER_IDENTITY_AC_ITEM: "User identity, answered",
}
"""The items of the A-ASSOCIATE PDUs by type (PS3.8 §9.3.2 and §9.3.3, PS3.7 §D.3.3)."""

_IDENTITIES = {
    1: "user name",
    2: "user name and passcode",
    3: "Kerberos service ticket",
    4: "SAML assertion",
    5: "JSON web token",
}
_NAMED_IDENTITIES = {1, 2}  # of which the primary field is a user name, and no secret


def label_items(part: Part) -> None:
    """Take items until nothing is left."""
    while part and not part.is_full:
        _item(part)


def user_information_fields(value: bytes) -> tuple[Field, ...]:
    """Return the fields of the value of a user information item; those that open a sub-item have depth 0."""
    part = Part(value, 0, len(value), 0, [])
    _items_within(part)
    return tuple(part.fields)


def _item(part: Part) -> None:
    header = part.peek(4)
    length = int.from_bytes(header[2:], "big")
    name = f"item 0x{header[0]:02X} {ITEMS.get(header[0], '(unknown)')}, length"
    part.take(4, name, announced(length, len(part) - 4))
    content = part.part(length)
    _CONTENTS.get(header[0], _unknown)(content)
    # Whatever is behind a user identity that cannot be read may be a part of it.
    content.rest("unknown bytes", is_secret=header[0] in {items.USER_IDENTITY_RQ_ITEM, _USER_IDENTITY_AC_ITEM})


def _unknown(content: Part) -> None:
    content.rest("value")


def _whole(name: str, show: Show) -> Callable[[Part], None]:
    return lambda content: _ignore(content.take(len(content), name, show))


def _ignore(_: bytes) -> None:
    """It is in a field now."""


def _context(content: Part, third: str, show: Show | None) -> None:
    content.number(1, "presentation context ID")
    content.take(1, "reserved")
    content.take(1, third, show)
    content.take(1, "reserved")
    _items_within(content)


def _items_within(content: Part) -> None:
    """Label the items of an item, which hold no further ones but in what a peer makes up."""
    while content and not content.is_full:
        if content.peek(1)[0] in _CONTAINERS:
            content.rest("an item that has no place here")
        else:
            _item(content)


def _proposed_context(content: Part) -> None:
    _context(content, "reserved", None)


def _context_result(content: Part) -> None:
    _context(content, "result", lambda data: f"{data[0]}: {context_result(data[0])}")


def _asynchronous_operations(content: Part) -> None:
    for name in ("operations invoked", "operations performed"):
        content.take(2, name, lambda data: number(data) if any(data) else "0: any number")


def _role_selection(content: Part) -> None:
    content.take(content.number(2, "length"), "SOP class", uid)
    content.number(1, "SCU role")
    content.number(1, "SCP role")


def _extended_negotiation(content: Part) -> None:
    content.take(content.number(2, "length"), "SOP class", uid)
    content.rest("application information")


def _common_extended_negotiation(content: Part) -> None:
    content.take(content.number(2, "length"), "SOP class", uid)
    content.take(content.number(2, "length"), "service class", uid)
    related = content.part(content.number(2, "length of the list"))
    while related and not related.is_full:
        related.take(related.number(2, "length"), "related general SOP class", uid)


def _user_identity(content: Part) -> None:
    kind = content.take(1, "type", lambda data: f"{data[0]}: {_IDENTITIES.get(data[0], 'unknown')}")
    is_named = bool(kind) and kind[0] in _NAMED_IDENTITIES
    content.number(1, "response requested")
    content.take(content.number(2, "length"), "primary field", text if is_named else None, is_secret=not is_named)
    content.take(content.number(2, "length"), "secondary field", is_secret=True)


def _user_identity_answer(content: Part) -> None:
    content.take(content.number(2, "length"), "server response", is_secret=True)


_CONTAINERS = {items.PROPOSED_CONTEXT_ITEM, items.CONTEXT_RESULT_ITEM, items.USER_INFORMATION_ITEM}

_CONTENTS: dict[int, Callable[[Part], None]] = {
    items.APPLICATION_CONTEXT_ITEM: _whole("application context name", uid),
    items.PROPOSED_CONTEXT_ITEM: _proposed_context,
    items.CONTEXT_RESULT_ITEM: _context_result,
    items.ABSTRACT_SYNTAX_ITEM: _whole("abstract syntax name", uid),
    items.TRANSFER_SYNTAX_ITEM: _whole("transfer syntax name", uid),
    items.USER_INFORMATION_ITEM: _items_within,
    items.MAXIMUM_LENGTH_ITEM: _whole("maximum length received", number),
    items.IMPLEMENTATION_CLASS_UID_ITEM: _whole("implementation class UID", uid),
    0x53: _asynchronous_operations,
    0x54: _role_selection,
    items.IMPLEMENTATION_VERSION_NAME_ITEM: _whole("implementation version name", text),
    0x56: _extended_negotiation,
    0x57: _common_extended_negotiation,
    items.USER_IDENTITY_RQ_ITEM: _user_identity,
    _USER_IDENTITY_AC_ITEM: _user_identity_answer,
}
