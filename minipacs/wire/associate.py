"""The PDUs that ask for an association and answer that, and their bytes (PS3.8 §9.3.2 to §9.3.4)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct
from msgspec.structs import force_setattr

from minipacs.ae_title import significant
from minipacs.errors import PDUError
from minipacs.wire.header import check_length, pdu_bytes
from minipacs.wire.items import (
    APPLICATION_CONTEXT_ITEM,
    CONTEXT_RESULT_ITEM,
    PROPOSED_CONTEXT_ITEM,
    USER_INFORMATION_ITEM,
    ContextResult,
    ProposedContext,
    UserInformation,
    item,
    read_items,
    read_uid,
)

if TYPE_CHECKING:
    from minipacs.wire.items import Observe

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 §A.2.1

_LAST_CONTEXT_RESULT = 4  # PS3.8 Table 9-18


class AssociateRQ(Struct, frozen=True, kw_only=True):
    """A-ASSOCIATE-RQ (PS3.8 §9.3.2). Titles stand without what the standard ignores.

    Attributes:
        fixed_fields: bytes 11 to 74, as they are on the wire: the A-ASSOCIATE-AC has to repeat them (§9.3.3).
    """

    TYPE: ClassVar[int] = 0x01
    NAME: ClassVar[str] = "A-ASSOCIATE-RQ"

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    user_information: UserInformation = UserInformation()
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    fixed_fields: bytes = b""

    def __post_init__(self) -> None:
        """Derive the fixed fields of a request that we make ourselves."""
        if not self.fixed_fields:
            titles = self.called_ae_title.ljust(16) + self.calling_ae_title.ljust(16)
            force_setattr(self, "fixed_fields", titles.encode("latin-1") + bytes(32))

    def encode(self) -> bytes:
        """Return the whole PDU as bytes."""
        contexts = b"".join(context.encode() for context in self.contexts)
        return _associate(self, contexts)

    @classmethod
    def decode(cls, body: bytes, observe: Observe) -> AssociateRQ:
        """Read the body of the PDU; PDUError when it is no valid request."""
        fields = _AssociateFields(body, PROPOSED_CONTEXT_ITEM, observe)
        contexts = tuple(ProposedContext.decode(value, observe) for value in fields.contexts)
        _check_context_ids([context.context_id for context in contexts])
        called, calling = (_read_title(fields.fixed[i : i + 16], observe) for i in (0, 16))
        return cls(
            called_ae_title=called,
            calling_ae_title=calling,
            contexts=contexts,
            user_information=fields.user_information,
            application_context=fields.application_context,
            protocol_version=fields.protocol_version,
            fixed_fields=fields.fixed,
        )


class AssociateAC(Struct, frozen=True, kw_only=True):
    """A-ASSOCIATE-AC (PS3.8 §9.3.3): *fixed_fields* repeat those of the request and are not to be tested."""

    TYPE: ClassVar[int] = 0x02
    NAME: ClassVar[str] = "A-ASSOCIATE-AC"

    contexts: tuple[ContextResult, ...]
    fixed_fields: bytes
    user_information: UserInformation = UserInformation()
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1

    def encode(self) -> bytes:
        """Return the whole PDU as bytes."""
        contexts = b"".join(context.encode() for context in self.contexts)
        return _associate(self, contexts)

    @classmethod
    def decode(cls, body: bytes, observe: Observe) -> AssociateAC:
        """Read the body of the PDU; PDUError when it is no valid answer."""
        fields = _AssociateFields(body, CONTEXT_RESULT_ITEM, observe)
        return cls(
            contexts=tuple(ContextResult.decode(value, observe) for value in fields.contexts),
            fixed_fields=fields.fixed,
            user_information=fields.user_information,
            application_context=fields.application_context,
            protocol_version=fields.protocol_version,
        )


class AssociateRJ(Struct, frozen=True):
    """A-ASSOCIATE-RJ (PS3.8 §9.3.4), written ``result/source/reason``."""

    TYPE: ClassVar[int] = 0x03
    NAME: ClassVar[str] = "A-ASSOCIATE-RJ"

    result: int
    source: int
    reason: int

    def __str__(self) -> str:
        """Return the codes as they are written everywhere: ``1/1/3``."""
        return f"{self.result}/{self.source}/{self.reason}"

    def encode(self) -> bytes:
        """Return the whole PDU as bytes."""
        return pdu_bytes(self.TYPE, bytes([0, self.result, self.source, self.reason]))

    @classmethod
    def decode(cls, body: bytes, observe: Observe) -> AssociateRJ:
        """Read the body of the PDU; codes outside the table are kept as they are."""
        check_length(cls.NAME, body, 4, observe)
        return cls(body[1], body[2], body[3])


def accepted_contexts(request: AssociateRQ, answer: AssociateAC, observe: Observe) -> dict[int, str]:
    """Return the transfer syntax by context ID of the contexts that *answer* accepts of those that were proposed."""
    accepted = {}
    unanswered = {context.context_id: context for context in request.contexts}
    for context in answer.contexts:
        number = context.context_id
        proposed = unanswered.pop(number, None)
        if proposed is None:
            observe(f"answer to presentation context {number}, which awaits none")
        elif context.result == 0:
            if context.transfer_syntax not in proposed.transfer_syntaxes:
                observe(f"presentation context {number} accepted in a transfer syntax not proposed")
            accepted[number] = context.transfer_syntax
        elif context.result > _LAST_CONTEXT_RESULT:
            observe(f"presentation context {number} has result {context.result}, which is none")
    for number in unanswered:
        observe(f"presentation context {number} was not answered")
    return accepted


def _associate(pdu: AssociateRQ | AssociateAC, contexts: bytes) -> bytes:
    body = struct.pack(">Hxx", pdu.protocol_version) + pdu.fixed_fields
    body += item(APPLICATION_CONTEXT_ITEM, pdu.application_context.encode("latin-1"))
    return pdu_bytes(pdu.TYPE, body + contexts + pdu.user_information.encode())


class _AssociateFields:
    """What A-ASSOCIATE-RQ and -AC have in common (PS3.8 Tables 9-11 and 9-17)."""

    def __init__(self, body: bytes, context_item: int, observe: Observe) -> None:
        if len(body) < 68:
            raise PDUError(f"A-ASSOCIATE PDU of {len(body)} bytes, fewer than its fixed fields")
        self.protocol_version = int.from_bytes(body[:2], "big")
        self.fixed = body[4:68]
        self.application_context = ""
        self.contexts: list[bytes] = []
        user_information = None
        seen: set[int] = set()
        for item_type, value in read_items(body[68:]):
            if item_type in seen:
                observe(f"item 0x{item_type:02X} twice: the last one counts")
            if item_type in {APPLICATION_CONTEXT_ITEM, USER_INFORMATION_ITEM}:
                seen.add(item_type)
            if item_type == APPLICATION_CONTEXT_ITEM:
                self.application_context = read_uid(value, observe)
            elif item_type == context_item:
                self.contexts.append(value)
            elif item_type == USER_INFORMATION_ITEM:
                user_information = UserInformation.decode(value, observe)
            else:
                observe(f"unknown item 0x{item_type:02X} ignored")
        if user_information is None:
            observe("no user information item: maximum length taken as unlimited")
        self.user_information = user_information or UserInformation()


def _read_title(field: bytes, observe: Observe) -> str:
    title = field.decode("latin-1")
    if title.rstrip(" ").endswith("\0"):
        observe("AE title padded with NUL")
    return significant(title)


def _check_context_ids(context_ids: list[int]) -> None:
    if not context_ids:
        raise PDUError("no presentation context proposed")
    if len(set(context_ids)) < len(context_ids):
        raise PDUError("a presentation context ID is used twice")
    for context_id in context_ids:
        if context_id % 2 == 0:
            raise PDUError(f"presentation context ID {context_id} is not odd")
