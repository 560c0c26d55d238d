"""The status of a response (PS3.7 §C; PS3.4 §B.2.3, §C.4.1.1.4, §C.4.2.1.5, §C.4.3.1.4) → its name, and its row."""

from __future__ import annotations

from pynetdicom.status import (
    QR_FIND_SERVICE_CLASS_STATUS,
    QR_GET_SERVICE_CLASS_STATUS,
    QR_MOVE_SERVICE_CLASS_STATUS,
    STORAGE_SERVICE_CLASS_STATUS,
    code_to_category,
)

from minipacs.echo_result import Outcome
from minipacs.recognition import Failed

SUCCESS, CANCELLED, SUB_OPERATIONS_FAILED = 0x0000, 0xFE00, 0xB000
NO_SUB_OPERATIONS = 0xA702
"""Out of resources, unable to perform sub-operations: what DCMTK says where it could not send (PS3.4 §C.4.2.1.5)."""
_DESTINATION_UNKNOWN = 0xA801

_NAMES = {
    "C-STORE": STORAGE_SERVICE_CLASS_STATUS,
    "C-FIND": QR_FIND_SERVICE_CLASS_STATUS,
    "C-MOVE": QR_MOVE_SERVICE_CLASS_STATUS,
    "C-GET": QR_GET_SERVICE_CLASS_STATUS,
}

_KINDS = {"C-STORE": "store", "C-FIND": "query", "C-MOVE": "move", "C-GET": "get"}


def named(operation: str, status: int, comment: object = "") -> str:
    """Return ``0xA700, Refused: Out of Resources``, and what the peer says besides (Error Comment, 0000,0902)."""
    name = _NAMES[operation].get(status, ("", ""))[1]
    return "".join([f"0x{status:04X}", f", {name}" if name else "", f" ({comment})" if comment else ""])


def is_stored(status: int) -> bool:
    """Whether a C-STORE-RSP with that status means that the object is kept: success or a warning (PS3.4 §B.2.3)."""
    return code_to_category(status) in {"Success", "Warning"}


def is_pending(status: int) -> bool:
    """Whether more responses follow (PS3.7 §C.4.3)."""
    return bool(code_to_category(status) == "Pending")


def failure(operation: str, status: int, comment: object = "") -> Failed:
    """Name the row for a status that is no success, nor a warning of a C-STORE that kept its object."""
    return Failed(Outcome.FAILURE, _row(operation, status), named(operation, status, comment))


def _row(operation: str, status: int) -> str:
    kind = _KINDS[operation]
    is_store = kind == "store"
    if status == _DESTINATION_UNKNOWN and operation == "C-MOVE":
        return "move.destination"
    if status == CANCELLED:
        return "query.cancelled"
    ranges = {
        0xA7: "status.out-of-resources",
        0xA9: "store.mismatch" if is_store else "query.identifier",
        **dict.fromkeys(range(0xC0, 0xD0), "store.not-understood" if is_store else f"{kind}.unable"),
    }
    exact = {0x0122: "status.sop-class-not-supported", 0x0124: "status.not-authorized"}
    if is_store and is_stored(status):
        return "store.warning"
    return exact.get(status) or ranges.get(status >> 8, "status.other")
