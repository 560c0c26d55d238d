"""Our entry among Orthanc's modalities: which one it is, how far it is right, and putting it right and back."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minipacs.ae_title import significant
from minipacs.diagnosis import symbol
from minipacs.errors import OrthancError
from minipacs.escape import escape
from minipacs.orthanc import LAST_PORT, Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minipacs.orthanc import Orthanc

FORGOTTEN = "Orthanc forgets it at its restart, unless DicomModalitiesInDatabase is true"

_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
_TRIES = 5


class Wanted(Struct, frozen=True):
    """What Orthanc has to know of us.

    Attributes:
        name: symbolic name of the entry, ``[A-Za-z0-9_-]``.
        ae_title: our AE title.
        host: where Orthanc reaches our SCP; an IPv4 address or a host name.
        port: its TCP port, 1 to 65534.

    Raises:
        OrthancError: Orthanc cannot know us so.
    """

    name: str
    ae_title: str
    host: str
    port: int

    def __post_init__(self) -> None:
        """Refuse what Orthanc would refuse, or would take and not understand (measured on 1.10.1)."""
        if not all(c.isascii() and (c.isalnum() or c in "_-") for c in self.name) or not self.name:
            raise OrthancError(f"a name among Orthanc's modalities must be letters, digits, - and _, not {self.name}")
        if not 1 <= self.port <= LAST_PORT:
            raise OrthancError(f"Orthanc takes a port of 1 to {LAST_PORT}, not {self.port}")
        if ":" in self.host:
            raise OrthancError(f"Orthanc takes an IPv4 address or a host name, not {self.host}: see --our-address")

    def __str__(self) -> str:
        """Return ``TITLE@HOST:PORT``."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def as_fields(self) -> dict[str, Any]:
        """Return the entry in its object form, without what may stay as it is."""
        return {"AET": self.ae_title, "Host": self.host, "Port": self.port, "AllowEcho": True, "UseDicomTls": False}


def wanted(orthanc: Orthanc | None, name: str | None, ae_title: str, host: str, port: int) -> Wanted:
    """Return what Orthanc has to know of us.

    Args:
        orthanc: which tells, when we listen on every address, the one from which it is reached; else None.
        name: symbolic name of the entry; None: made of our AE title.
        ae_title: our AE title.
        host: where we listen, or where Orthanc reaches us.
        port: its TCP port.

    Raises:
        OrthancError: Orthanc cannot know us so; or there is none to tell the address.
    """
    if host in _EVERY_ADDRESS:
        if orthanc is None:
            raise OrthancError(f"{host} is every address of this machine: see --our-address")
        host = orthanc.local_address()
    return Wanted(name or symbol(ae_title), ae_title, host, port)


def find(modalities: Mapping[str, Modality], wanted: Wanted) -> str | None:
    """Return the symbolic name of the entry that is ours, by its AE title or else by its name; None when there is none.

    Of several with our AE title it is one that is right, or else the one with the wanted name.
    """
    ours = [name for name, entry in modalities.items() if is_same_title(entry.ae_title, wanted.ae_title)]
    ours.sort(key=lambda name: (bool(differences(modalities[name], wanted)), name != wanted.name))
    if ours:
        return ours[0]
    return wanted.name if wanted.name in modalities else None


def ours_to_remove(modalities: Mapping[str, Modality], wanted: Wanted, name: str | None) -> str | None:
    """Return the symbolic name of the entry that is ours to take away; None when there is none.

    Raises:
        OrthancError: the entry called *name* has another AE title; it is not ours.
    """
    if name is None:
        found = find(modalities, wanted)
        return found if found and is_same_title(modalities[found].ae_title, wanted.ae_title) else None
    if name not in modalities:
        return None
    if not is_same_title(modalities[name].ae_title, wanted.ae_title):
        raise OrthancError(f'"{name}" is {modalities[name]}, and we are {wanted.ae_title}: it is not ours')
    return name


def differences(entry: Modality, wanted: Wanted) -> list[str]:
    """Return, field by field, where an entry is not what it has to be for Orthanc to find us and to admit our echo."""
    found = []
    if significant(entry.ae_title) != wanted.ae_title:
        found.append(f"AE title is {escape(entry.ae_title) or 'empty'}, not {wanted.ae_title}")
    if not _is_same_host(entry.host, wanted.host):
        found.append(f"host is {escape(entry.host) or 'empty'}, not {wanted.host}")
    if entry.port != wanted.port:
        found.append(f"port is {entry.port}, not {wanted.port}")
    if not entry.services.get("AllowEcho", True):
        found.append("AllowEcho is false, not true")
    if entry.uses_tls:
        found.append("UseDicomTls is true, and our port is plain")
    return found


def services_text(entry: Modality) -> str:
    """Return what the entry may and may not do there; empty where Orthanc does not tell (before 1.5.0)."""
    may = [escape(name.removeprefix("Allow")) for name, allowed in entry.services.items() if allowed]
    may_not = [escape(name.removeprefix("Allow")) for name, allowed in entry.services.items() if not allowed]
    if not may_not:
        return "every service is allowed" if may else ""
    return f"allowed: {', '.join(may) or 'nothing'}; not allowed: {', '.join(may_not)}"


class Registration:
    """Our entry in one Orthanc, put right and, when asked, put back to what it was.

    Args:
        orthanc: where.
        wanted: what it has to be.
    """

    def __init__(self, orthanc: Orthanc, wanted: Wanted) -> None:
        self._orthanc = orthanc
        self._wanted = wanted
        self._name: str | None = None  # of the entry that was put, or is just being put
        self._before: Mapping[str, Any] | None = None

    @property
    def has_put(self) -> bool:
        """Whether there is something to take away."""
        return self._name is not None

    def put(self, *, replace: bool = False) -> str:
        """Put the entry right, whatever else stands in it staying as it is; return its symbolic name.

        Args:
            replace: also where an entry of that name has another AE title.

        Raises:
            OrthancError: Orthanc cannot be asked, or refuses; or the name is taken.
        """
        modalities = self._orthanc.modalities()
        name = find(modalities, self._wanted) or self._wanted.name
        entry = modalities.get(name)
        if entry is not None and not differences(entry, self._wanted):
            return name
        if entry is not None and not replace and not is_same_title(entry.ae_title, self._wanted.ae_title):
            raise OrthancError(
                f'"{name}" at {self._orthanc.url} is {entry}: choose another --name for {self._wanted.ae_title}'
            )
        before = dict(entry.fields) if entry is not None else None
        self._name, self._before = name, before  # before it is there: whatever interrupts us, it is taken away
        self._orthanc.register(name, (before or {}) | self._wanted.as_fields())
        return name

    def take_away(self) -> bool:
        """Put back what put() found; False when it has put nothing.

        Raises:
            OrthancError: Orthanc cannot be asked, or refuses.
        """
        if self._name is None:
            return False
        for _ in range(_TRIES):  # a put that was interrupted may still be on its way
            if self._before is not None:
                self._orthanc.register(self._name, self._before)
            else:
                self._orthanc.unregister(self._name)
            entry = self._orthanc.modalities().get(self._name)
            if (entry.fields if entry is not None else None) == self._before:
                self._name = None
                return True
        raise OrthancError(f'{self._orthanc.url}: "{self._name}" is not as it was: somebody else edits it')


def is_same_title(one: str, other: str) -> bool:
    """Whether Orthanc takes two AE titles for one: it compares without regard to case, unless StrictAetComparison."""
    return significant(one).casefold() == significant(other).casefold()


def _is_same_host(one: str, other: str) -> bool:
    return one.casefold() == other.casefold() or bool(_addresses(one) & _addresses(other))


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
