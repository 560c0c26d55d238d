"""Our entry among Orthanc's modalities: which one it is, how far it is right, and putting it right and back."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minipacs.addresses import is_address, is_every_address, is_loopback, is_same_host
from minipacs.ae_title import significant
from minipacs.diagnosis import symbol
from minipacs.errors import OrthancError, RegistrationError
from minipacs.escape import escape
from minipacs.orthanc import LAST_PORT, Modality, is_symbol
from minipacs.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minipacs.orthanc import Orthanc

FORGOTTEN = "Orthanc forgets it at its restart, unless DicomModalitiesInDatabase is true"

COMES_BACK = "where its configuration has it, it is there again at Orthanc's restart"

_TRIES = 5


class Wanted(Struct, frozen=True):
    """What Orthanc has to know of us.

    Attributes:
        name: symbolic name of the entry, ``[A-Za-z0-9_-]``.
        ae_title: our AE title.
        host: where Orthanc reaches our SCP; an IPv4 address or a host name.
        port: its TCP port, 1 to 65534.
        is_named: whether no entry of another name will do.
        uses_tls: whether our SCP speaks TLS there.

    Raises:
        RegistrationError: Orthanc cannot know us so.
    """

    name: str
    ae_title: str
    host: str
    port: int
    is_named: bool = False
    uses_tls: bool = False

    def __post_init__(self) -> None:
        """Refuse what Orthanc would refuse, or would take and not understand (measured on 1.10.1)."""
        if not is_symbol(self.name):
            rule = "a name among Orthanc's modalities must be letters, digits, - and _"
            raise RegistrationError(f"{rule}, not {escape(self.name) or 'empty'}")
        if not 1 <= self.port <= LAST_PORT:
            raise RegistrationError(f"Orthanc takes a port of 1 to {LAST_PORT}, not {self.port}: choose one by --port")
        if ":" in self.host:
            rule = "Orthanc takes an IPv4 address or a host name"
            raise RegistrationError(f"{rule}, not {self.host}: name one that it reaches by --our-address")

    def __str__(self) -> str:
        """Return ``TITLE@HOST:PORT``."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def as_options(self) -> str:
        """Return the options by which another command means the same, each after a space, but for the defaults."""
        usual = Settings()
        options = {
            "--name": self.name if self.is_named else None,
            "--ae-title": self.ae_title if self.ae_title != usual.ae_title else None,
            "--our-address": self.host if self.host != usual.host else None,
            "--port": str(self.port) if self.port != usual.port else None,
        }
        return "".join(f" {option} {shlex.quote(value)}" for option, value in options.items() if value is not None)

    def as_fields(self) -> dict[str, Any]:
        """Return the entry in its object form, without what may stay as it is."""
        return {
            "AET": self.ae_title,
            "Host": self.host,
            "Port": self.port,
            "AllowEcho": True,
            "UseDicomTls": self.uses_tls,
        }


def wanted(
    orthanc: Orthanc | None,
    name: str | None,
    ae_title: str,
    host: str,
    port: int,
    our_address: str | None = None,
    *,
    uses_tls: bool = False,
) -> Wanted:
    """Return what Orthanc has to know of us.

    Args:
        orthanc: which tells, when we listen on every address, the one from which it is reached; else None.
        name: symbolic name of the entry; None: made of our AE title.
        ae_title: our AE title.
        host: where we listen.
        port: its TCP port.
        our_address: where Orthanc reaches us, if the user says so; None: where we listen.
        uses_tls: whether we speak TLS there.

    Raises:
        RegistrationError: Orthanc cannot know us so.
        OrthancError: there is no way to its machine.
    """
    where = our_address or _reached_at(host, orthanc)
    return Wanted(name or symbol(ae_title), ae_title, where, port, is_named=name is not None, uses_tls=uses_tls)


def _reached_at(host: str, orthanc: Orthanc | None) -> str:
    if is_every_address(host):
        if orthanc is None:
            raise RegistrationError(f"{host} is every address of this machine: name one by --our-address")
        address = orthanc.local_address()
        return "127.0.0.1" if is_loopback(address) else address  # not ::1, which Orthanc does not take
    if not is_loopback(host):
        return host
    if orthanc is not None and not orthanc.is_here():
        raise RegistrationError(
            f"we listen on {host}, and {orthanc.host} is another machine: listen where it reaches us (--host 0.0.0.0), "
            "or say by --our-address where it does"
        )
    return host if is_address(host) else "127.0.0.1"  # not localhost: Orthanc may compare addresses as text


def find(modalities: Mapping[str, Modality], wanted: Wanted) -> str | None:
    """Return the symbolic name of the entry that is ours, by its AE title; None when there is none.

    Of several with our AE title it is one that is right, or else the one with the wanted name.
    """
    ours = [name for name in namesakes(modalities, wanted.ae_title) if not wanted.is_named or name == wanted.name]
    ours.sort(key=lambda name: (bool(differences(modalities[name], wanted)), name != wanted.name))
    return ours[0] if ours else None


def namesakes(modalities: Mapping[str, Modality], ae_title: str) -> list[str]:
    """Return the symbolic names of all entries with that AE title, as Orthanc compares titles."""
    return [name for name, entry in modalities.items() if is_same_title(entry.ae_title, ae_title)]


def ours_to_remove(modalities: Mapping[str, Modality], ae_title: str, name: str | None) -> str | None:
    """Return the symbolic name of the entry that is ours to take away; None when there is none.

    Args:
        modalities: whom Orthanc knows.
        ae_title: our own.
        name: of the entry; None: any with our AE title.

    Raises:
        RegistrationError: the entry called *name* has another AE title; or several have ours.
    """
    if name is None:
        ours = namesakes(modalities, ae_title)
        if len(ours) > 1:
            found = ", ".join(f'"{one}" ({modalities[one]})' for one in ours)
            raise RegistrationError(f"several are called {ae_title}: {found}; choose one by --name")
        return ours[0] if ours else None
    if name not in modalities:
        return None
    if not is_same_title(modalities[name].ae_title, ae_title):
        raise RegistrationError(f'"{name}" is {modalities[name]}, and we are {ae_title}: it is not ours')
    return name


def differences(entry: Modality, wanted: Wanted) -> list[str]:
    """Return, field by field, where an entry is not what it has to be for Orthanc to find us and to admit our echo."""
    found = []
    if significant(entry.ae_title) != wanted.ae_title:
        found.append(f"AE title is {escape(entry.ae_title) or 'empty'}, not {wanted.ae_title}")
    if not is_same_host(entry.host, wanted.host):
        found.append(f"host is {escape(entry.host) or 'empty'}, not {wanted.host}")
    if entry.port != wanted.port:
        found.append(f"port is {entry.port}, not {wanted.port}")
    if not entry.services.get("AllowEcho", True):
        found.append("AllowEcho is false, not true")
    if entry.uses_tls and not wanted.uses_tls:
        found.append("UseDicomTls is true, and our port is plain")
    if wanted.uses_tls and not entry.uses_tls:
        found.append("UseDicomTls is false, and our port speaks TLS")
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

    Attributes:
        replaced: ``TITLE@HOST:PORT`` that stood there before put(), safe to show; empty: nothing.
    """

    def __init__(self, orthanc: Orthanc, wanted: Wanted) -> None:
        self._orthanc = orthanc
        self._wanted = wanted
        self._name: str | None = None  # of the entry that was put, or is just being put
        self._before: Mapping[str, Any] | None = None
        self.replaced = ""

    @property
    def has_put(self) -> bool:
        """Whether there is something to take away."""
        return self._name is not None

    def put(self, *, replace: bool = False) -> str:
        """Put the entry right, whatever else stands in it staying as it is; return its symbolic name.

        Args:
            replace: also where an entry of that name has another AE title.

        Raises:
            RegistrationError: the name is taken.
            OrthancError: Orthanc cannot be asked, or refuses.
        """
        modalities = self._orthanc.modalities()
        name = find(modalities, self._wanted) or self._wanted.name
        entry = modalities.get(name)
        if entry is not None and not differences(entry, self._wanted):
            return name
        if entry is not None and not replace and not is_same_title(entry.ae_title, self._wanted.ae_title):
            raise RegistrationError(
                f'"{name}" at {self._orthanc.url} is {entry}: choose another --name for {self._wanted.ae_title}, '
                "or --replace it"
            )
        before = dict(entry.fields) if entry is not None else None
        self._name, self._before = name, before  # before it is there: whatever interrupts us, it is taken away
        self._orthanc.register(name, (before or {}) | self._wanted.as_fields())
        self.replaced = "" if entry is None else str(entry)
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
