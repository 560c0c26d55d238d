"""The Verification service: which contexts are accepted, and how each message is answered (PS3.4 Annex A)."""

from __future__ import annotations

from minipacs import __version__
from minipacs.errors import PDUError
from minipacs.wire.associate import AssociateRQ
from minipacs.wire.dimse import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    VERIFICATION,
    CommandSet,
    response,
)
from minipacs.wire.framing import MAXIMUM_LENGTH
from minipacs.wire.items import ContextResult, ProposedContext, UserInformation
from minipacs.wire.pdu import Abort

IMPLEMENTATION_CLASS_UID = "2.25.277021723947087138302307502195524807535"
IMPLEMENTATION_VERSION_NAME = f"MINIPACS_{__version__}"[:16]  # at most 16 characters (PS3.7 §D.3.3.2)

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"

# A C-ECHO has no data set, so that none of these is ever used; all are accepted because devices propose them.
TRANSFER_SYNTAXES = {
    "implicit": IMPLICIT_VR_LITTLE_ENDIAN,
    "explicit": "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "deflated": "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "big-endian": "1.2.840.10008.1.2.2",  # Explicit VR Big Endian, retired
}
"""The transfer syntaxes that we accept, by the names that our command line has for them."""

_ACCEPTED = frozenset(TRANSFER_SYNTAXES.values())
_OURS = frozenset({VERIFICATION, None})  # a C-ECHO-RQ that does not say means ours

# Results of a presentation context (PS3.8 Table 9-18).
_ACCEPTANCE = 0
_ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
_TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


def user_information(maximum_length: int = MAXIMUM_LENGTH) -> UserInformation:
    """Return what we tell of ourselves; *maximum_length* in bytes of a P-DATA-TF."""
    return UserInformation(maximum_length, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)


def request(
    calling_ae_title: str,
    called_ae_title: str,
    transfer_syntaxes: tuple[str, ...] = (IMPLICIT_VR_LITTLE_ENDIAN,),
    maximum_length: int = MAXIMUM_LENGTH,
) -> AssociateRQ:
    """Return the A-ASSOCIATE-RQ of a Verification SCU.

    Implicit VR Little Endian alone by default: it is the one that every node takes (PS3.5 §10.1), and longer lists
    break some.
    """
    return AssociateRQ(
        called_ae_title=called_ae_title,
        calling_ae_title=calling_ae_title,
        contexts=(ProposedContext(1, VERIFICATION, transfer_syntaxes),),
        user_information=user_information(maximum_length),
    )


def negotiate(contexts: tuple[ProposedContext, ...], *, may_echo: bool = True) -> tuple[ContextResult, ...]:
    """Answer each proposed context: Verification is accepted with the first transfer syntax that we know.

    Args:
        contexts: as they were proposed.
        may_echo: whether Verification is accepted at all.
    """
    return tuple(_negotiate(context, may_echo) for context in contexts)


def _negotiate(context: ProposedContext, may_echo: bool) -> ContextResult:
    # The transfer syntax of a refused context is not significant, but its item has to be there (PS3.8 §9.3.3.2).
    first = context.transfer_syntaxes[0] if context.transfer_syntaxes else IMPLICIT_VR_LITTLE_ENDIAN
    if context.abstract_syntax != VERIFICATION or not may_echo:
        return ContextResult(context.context_id, _ABSTRACT_SYNTAX_NOT_SUPPORTED, first)
    for syntax in context.transfer_syntaxes:
        if syntax in _ACCEPTED:
            return ContextResult(context.context_id, _ACCEPTANCE, syntax)
    return ContextResult(context.context_id, _TRANSFER_SYNTAXES_NOT_SUPPORTED, first)


def answer(command: CommandSet) -> CommandSet | None:
    """Return the response to *command*, or None for a C-CANCEL, which has none.

    Raises:
        PDUError: it is a response though we asked nothing, or a request without the message ID that its answer needs.
    """
    if command.is_response:
        raise PDUError(f"response 0x{command.command_field:04X} to no request of ours", Abort.UNEXPECTED_PDU)
    if command.command_field == C_CANCEL_RQ:
        return None
    if command.message_id is None:
        raise PDUError("request without a message ID")
    return response(command, _status(command))


def _status(command: CommandSet) -> int:
    if command.command_field != C_ECHO_RQ:
        return UNRECOGNIZED_OPERATION
    if command.affected_sop_class_uid not in _OURS:
        return SOP_CLASS_NOT_SUPPORTED
    return SUCCESS
