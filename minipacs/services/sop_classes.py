"""Which SOP classes make up a service, and in which transfer syntaxes they are offered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import (
    JPEG2000,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom.presentation import StoragePresentationContexts
from pynetdicom.sop_class import _STORAGE_CLASSES

from minipacs.wire.dimse import VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1", "1.2.840.10008.5.1.4.1.2.2"
"""The information models (PS3.4 §C.6.1, §C.6.2); a service has its class of either by one number more."""

FIND, MOVE, GET = (tuple(f"{root}.{number}" for root in (PATIENT_ROOT, STUDY_ROOT)) for number in (1, 2, 3))

SOP_CLASSES: Mapping[str, tuple[str, ...]] = {
    "echo": (VERIFICATION,),
    "store": tuple(str(uid) for uid in _STORAGE_CLASSES.values()),
    "find": FIND,
    "move": MOVE,
    "get": GET,
}
"""Service → UIDs of its SOP classes; those of ``store`` are all that pynetdicom knows (PS3.4 §B.5)."""

UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""What messages without pixel data are sent in, and what images can be written in anew, in the order of preference."""

STORAGE_SYNTAXES = (
    *UNCOMPRESSED,
    str(DeflatedExplicitVRLittleEndian),
    str(ExplicitVRBigEndian),
    *(str(uid) for uid in AllTransferSyntaxes if uid.is_encapsulated),
)
"""UIDs of what images are taken in: as they come, since they are stored and never decoded."""


_JPIP_DEFLATED = "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"  # JPIP Referenced Deflate, and with HTJ2K

DEFLATED = frozenset({str(DeflatedExplicitVRLittleEndian), *_JPIP_DEFLATED})
"""UIDs of the transfer syntaxes whose data sets are deflated as a whole: what is odd is padded (PS3.5 §A.5)."""


def service_of(abstract_syntax: str) -> str | None:
    """Return the service that the SOP class with that UID belongs to; None for one that pynetdicom does not know."""
    return next((service for service, uids in SOP_CLASSES.items() if abstract_syntax in uids), None)


USUAL_STORAGE = tuple(str(context.abstract_syntax) for context in StoragePresentationContexts)
"""UIDs of the storage SOP classes that pynetdicom takes to be in use: few enough to be proposed all at once."""

USUAL_SYNTAXES = (
    *UNCOMPRESSED,
    str(DeflatedExplicitVRLittleEndian),
    str(JPEGBaseline8Bit),
    str(JPEGExtended12Bit),
    str(JPEGLossless),
    str(JPEGLosslessSV1),
    str(JPEGLSLossless),
    str(JPEGLSNearLossless),
    str(JPEG2000Lossless),
    str(JPEG2000),
    str(RLELossless),
    str(ExplicitVRBigEndian),
)
"""UIDs of what images are usually kept in; of each class, as many as do not make a request too long for some peers."""
