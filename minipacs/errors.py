"""Every exception that minipacs raises on purpose.

    MinipacsError
    ├── FileError            a file of ours cannot be used; carries every fault in it
    │   ├── PeerTableError
    │   ├── SettingsError
    │   ├── CertificateError
    │   └── StorageError
    ├── ListenError          the node cannot listen where it was told to
    ├── OrthancError         an Orthanc cannot be asked by REST, or refuses
    │   └── RegistrationError    it cannot know us as we are, or somebody else has our name there
    ├── ControlError         a running node cannot be asked, or no longer
    └── ProtocolError
        ├── LocalProtocolError   we asked the engine for what its state does not allow: a defect here
        └── PDUError             bytes that are no valid PDU or message: a defect of the peer

A peer that says no is a *result*, not an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class MinipacsError(Exception):
    """The root of the tree."""


class FileError(MinipacsError):
    """A file of ours cannot be used.

    Attributes:
        faults: one line a fault, each ``FILE: KEY: RULE, not VALUE``.
        is_passing: whether it is not the file that is at fault, but that the system had nothing left to open it with.
    """

    def __init__(self, faults: Sequence[str], *, is_passing: bool = False) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)
        self.is_passing = is_passing


class PeerTableError(FileError):
    """A peer table that is not valid."""


class SettingsError(FileError):
    """Settings that are not valid."""


class CertificateError(FileError):
    """Certificates for trying TLS out that cannot be made, or a file that is not what it should be."""


class StorageError(FileError):
    """The folder where objects are kept cannot be used."""


class ListenError(MinipacsError):
    """The node cannot listen where it was told to: which address, why, and what to do."""


class OrthancError(MinipacsError):
    """An Orthanc cannot be asked by REST, or refuses: which, why, and what to do."""


class RegistrationError(OrthancError):
    """An Orthanc cannot know us as we are, or somebody else has our name there: what to change."""


class ControlError(MinipacsError):
    """A running node cannot be asked through its control socket, or no longer: which, and why."""


class ProtocolError(MinipacsError):
    """The upper layer protocol was not kept."""


class LocalProtocolError(ProtocolError):
    """The engine was asked for what its state does not allow (a blank cell of PS3.8 Table 9-10)."""


class PDUError(ProtocolError):
    """Bytes of a peer that are no valid PDU or message.

    Attributes:
        reason: the reason of the A-ABORT by the service provider that answers them (PS3.8 §9.3.8).
    """

    def __init__(self, message: str, reason: int = 6) -> None:
        super().__init__(message)
        self.reason = reason
