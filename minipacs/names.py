"""The names that people give to the numbers of the wire, by pydicom and pynetdicom.

Their one door: they take a quarter of a second to import, so that whoever wants names imports this module when they
are asked for. What has no name there is returned as it is; a UID of a peer is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.uid import AllTransferSyntaxes
from pynetdicom.dimse_messages import _MESSAGE_TYPES
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext
from pynetdicom.status import VERIFICATION_SERVICE_CLASS_STATUS

from minipacs.escape import escape

if TYPE_CHECKING:
    from minipacs.wire.associate import AssociateRJ
    from minipacs.wire.pdu import Abort

TRANSFER_SYNTAXES = {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
"""Keyword → UID, such as ``JPEGBaseline8Bit``; in pydicom's order, which begins with Implicit VR Little Endian."""

USUAL_TRANSFER_SYNTAXES = tuple(str(uid) for uid in AllTransferSyntaxes)
"""UIDs of those that pydicom takes to be in use. A proposal of more than 50 silences DCMTK, and so Orthanc."""

_UNNAMED = "(no value available)"  # says pynetdicom of an A-ABORT outside its tables


def uid_name(uid: str) -> str:
    """Return the name of a UID of the standard, such as ``Verification SOP Class``; empty for any other."""
    return UID_dictionary[uid][0] if uid in UID_dictionary else ""


def named_uid(uid: str) -> str:
    """Return ``Verification SOP Class (1.2.840.10008.1.1)``, or the UID alone, escaped."""
    name = uid_name(uid)
    return f"{name} ({uid})" if name else escape(uid) or "(empty)"


def rejection(pdu: AssociateRJ) -> tuple[str, str, str]:
    """Return result, source and reason of an A-ASSOCIATE-RJ by name (PS3.8 §9.3.4)."""
    theirs = A_ASSOCIATE_RJ()
    theirs.result, theirs.source, theirs.reason_diagnostic = pdu.result, pdu.source, pdu.reason
    return (
        _named(theirs, "result_str", pdu.result),
        _named(theirs, "source_str", pdu.source),
        _named(theirs, "reason_str", pdu.reason),
    )


def abort(pdu: Abort) -> tuple[str, str]:
    """Return source and reason of an A-ABORT by name (PS3.8 §9.3.8); the reason is empty where the source has none."""
    theirs = A_ABORT_RQ()
    theirs.source, theirs.reason_diagnostic = pdu.source, pdu.reason
    source, reason = theirs.source_str, theirs.reason_str
    unnamed = f"unknown {pdu.reason}" if pdu.source == 2 else ""
    return (
        source if source != _UNNAMED else f"unknown {pdu.source}",
        reason if reason != _UNNAMED else unnamed,
    )


def context_result(result: int) -> str:
    """Return the result of a presentation context by name (PS3.8 Table 9-18)."""
    context = PresentationContext()
    context.result = result
    return context.status if context.status != "Unknown" else f"unknown result {result}"


def status(code: int) -> str:
    """Return a status of a C-ECHO-RSP by name (PS3.7 §9.1.5.1.4), such as ``Success``."""
    if code not in VERIFICATION_SERVICE_CLASS_STATUS:
        return f"unknown status 0x{code:04X}"
    category, meaning = VERIFICATION_SERVICE_CLASS_STATUS[code]
    return f"{category}: {meaning}" if meaning else category


def command_field(value: int) -> str:
    """Return the name of a DIMSE message by its command field (PS3.7 §E.1), such as ``C-ECHO-RQ``."""
    return _MESSAGE_TYPES[value][0] if value in _MESSAGE_TYPES else f"unknown command 0x{value:04X}"


def command_element(element: int) -> tuple[str, str]:
    """Return name and VR of an element of group 0000 (PS3.7 §E.1); empty for one that the standard does not have."""
    try:
        return dictionary_description(element), dictionary_VR(element)
    except KeyError:
        return "", ""


def _named(pdu: A_ASSOCIATE_RJ, attribute: str, code: int) -> str:
    try:
        return str(getattr(pdu, attribute))
    except ValueError:  # outside its tables
        return f"unknown {code}"
