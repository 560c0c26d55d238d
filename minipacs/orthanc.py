"""Orthanc's REST API, as far as a round trip goes: whom it knows, putting that right, making it echo, taking away.

It opens no DICOM connection.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from minipacs.bounded import Deadline, within
from minipacs.errors import OrthancError
from minipacs.escape import escape
from minipacs.rest import FAILED, NOT_FOUND, OK, Rest, details, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST_PORT = 65_534
"""Orthanc refuses a modality on port 65535 with 400 (measured on 1.10.1)."""

_MOST_MODALITIES = 16 << 20  # bytes of JSON; 20 000 take 8 MiB
_MOST_VALUES = 600_000  # in it; 20 000 have 300 000

_Scalar = str | int | float | bool | None
_Entry = dict[str, _Scalar] | list[_Scalar]
"""A modality in its object form, or in its array form: no value in it is more than one, so that none is large."""

_UNREADABLE = (ValueError, RecursionError)  # of JSON that is none, that is another, or that is nested without end


class System(Struct, frozen=True):
    """What an Orthanc says of itself.

    Attributes:
        ae_title: ``DicomAet``.
        port: ``DicomPort``.
        name: ``Name``.
        version: such as ``1.10.1``.
        settings: all of it, as REST shows it.
    """

    ae_title: str
    port: int
    name: str
    version: str
    settings: Mapping[str, Any]


class Modality(Struct, frozen=True):
    """An entry of Orthanc's ``DicomModalities``.

    Attributes:
        ae_title: ``AET``.
        host: ``Host``.
        port: ``Port``.
        uses_tls: ``UseDicomTls``.
        services: what it may do there, such as ``AllowEcho``: whether it may.
        fields: all of it, in the object form, to be put back as it was.
    """

    ae_title: str
    host: str
    port: int
    uses_tls: bool = False
    services: Mapping[str, bool] = {}
    fields: Mapping[str, Any] = {}

    def __str__(self) -> str:
        """Return ``TITLE@HOST:PORT``, safe to show."""
        return escape(f"{self.ae_title}@{self.host}:{self.port}")


class _System(Struct):
    ae_title: str = field(name="DicomAet")
    port: int = field(name="DicomPort")
    version: str = field(name="Version")
    name: str = field(name="Name", default="")


class _Modality(Struct):
    ae_title: str = field(name="AET")
    host: str = field(name="Host")
    port: int = field(name="Port")
    uses_tls: bool = field(name="UseDicomTls", default=False)


class Orthanc:
    """An Orthanc, spoken to by REST.

    Args:
        url: of its web server, a path prefix included.
        timeout: seconds for each request from its first byte to the last of its answer.

    Attributes:
        deadline: when all requests together have to be over; None: there is no such time.

    Raises:
        OrthancError: *url* is none.
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self._rest = Rest(url)
        self.url = self._rest.url
        self.host = self._rest.host
        self.timeout = timeout
        self.deadline: Deadline | None = None

    def system(self) -> System:
        """Return what it says of itself.

        Raises:
            OrthancError: it cannot be asked.
        """
        settings = self._get("/system")
        try:
            said = msgspec.convert(settings, _System)
        except ValueError:
            what = f"{self.url} is no Orthanc: its /system says {shown(str(settings))}"
            raise OrthancError(what) from None
        return System(said.ae_title, said.port, said.name, said.version, settings)

    def modalities(self) -> dict[str, Modality]:
        """Return whom it knows, by symbolic name.

        Raises:
            OrthancError: it cannot be asked.
        """
        text = self._rest.ask("GET", "/modalities?expand", None, self._seconds(), most=_MOST_MODALITIES).text
        if text.count(",") > _MOST_VALUES:
            what = f"{self.url}/modalities?expand answers more than {_MOST_VALUES} values: is that an Orthanc?"
            raise OrthancError(what)
        try:
            entries = msgspec.json.decode(text, type=dict[str, _Entry])
            return {_symbol(name): _modality(entry) for name, entry in entries.items()}
        except _UNREADABLE:
            raise OrthancError(f"{self.url}/modalities?expand is not to be understood: {shown(text)}") from None

    def register(self, name: str, fields: Mapping[str, Any]) -> None:
        """Let it know a modality under a symbolic name; it forgets that when it ends, unless it keeps a database of it.

        Args:
            name: symbolic name, ``[A-Za-z0-9_-]``.
            fields: ``AET``, ``Host``, ``Port`` and whatever else its object form takes.

        Raises:
            OrthancError: it cannot be asked, or refuses.
        """
        self._rest.ask("PUT", _path(name), dict(fields), self._seconds())

    def unregister(self, name: str) -> bool:
        """Let it forget whom it knows under that name; False when there is nobody.

        Raises:
            OrthancError: it cannot be asked, or refuses.
        """
        return self._rest.ask("DELETE", _path(name), None, self._seconds(), (NOT_FOUND,)).status == OK

    def echo(self, name: str, seconds: int = 10) -> str:
        """Make it echo the modality of that name.

        Args:
            name: symbolic name.
            seconds: that it waits for the modality.

        Returns:
            The empty string when it succeeded, else what Orthanc says: never why.

        Raises:
            OrthancError: it cannot be asked, or knows no such modality.
        """
        return self._echo(f"{_path(name)}/echo", {"Timeout": seconds})

    def echo_stranger(self, ae_title: str, host: str, port: int, seconds: int = 10) -> str:
        """Make it echo somebody whom it need not know (1.8.1 and later); otherwise as echo()."""
        return self._echo("/tools/dicom-echo", {"AET": ae_title, "Host": host, "Port": port, "Timeout": seconds})

    def remove_object(self, sop_instance_uid: str) -> int:
        """Remove what it has stored under that UID; return how many objects that were.

        Args:
            sop_instance_uid: of the object, without wildcards.

        Raises:
            OrthancError: it cannot be asked, or refuses.
        """
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}
        text = self._rest.ask("POST", "/tools/find", query, self._seconds()).text
        try:
            found = msgspec.json.decode(text, type=list[str])
        except _UNREADABLE:
            raise OrthancError(f"{self.url}/tools/find is not to be understood: {shown(text)}") from None
        paths = [f"/instances/{quote(one, safe='')}" for one in found]
        gone = [self._rest.ask("DELETE", path, None, self._seconds(), (NOT_FOUND,)).status == OK for path in paths]
        return sum(gone)

    def local_address(self) -> str:
        """Return the IP address from which this machine reaches Orthanc's: where Orthanc finds us, but for NAT.

        Raises:
            OrthancError: there is no way to that machine.
        """
        return self._route()[0]

    def is_here(self) -> bool:
        """Whether its web server is on this machine, as far as addresses show.

        Raises:
            OrthancError: there is no way to that machine.
        """
        ours, theirs = self._route()
        return ours == theirs

    # --- inside -------------------------------------------------------------------------------------------------------

    def _seconds(self) -> float:
        """Return how long the next request may take."""
        return self.timeout if self.deadline is None else min(self.timeout, self.deadline.remaining())

    def _get(self, path: str) -> dict[str, Any]:
        text = self._rest.ask("GET", path, None, self._seconds()).text
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except _UNREADABLE:
            raise OrthancError(f"{self.url} is no Orthanc: its {path} says {shown(text)}") from None

    def _echo(self, path: str, body: Mapping[str, Any]) -> str:
        answer = self._rest.ask("POST", path, body, self._seconds(), (FAILED,))
        if answer.status == OK:
            return ""
        if not answer.text:  # Orthanc's way to say that the status of the C-ECHO-RSP was not 0x0000
            return "the C-ECHO was answered with a failure"
        return shown(details(answer.text))

    def _route(self) -> tuple[str, str]:
        """Return the address of ours that Orthanc's machine sees, and its own; by IPv4 where both have it."""
        try:
            found = within(self._seconds(), lambda: socket.getaddrinfo(self.host, 9, type=socket.SOCK_DGRAM))
            family, kind, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
            with socket.socket(family, kind) as sock:
                sock.connect(address)  # sends nothing: it asks the routing table
                return str(sock.getsockname()[0]), str(sock.getpeername()[0])
        except TimeoutError:
            raise OrthancError(f"{self.url} cannot be reached: {self.host} does not resolve in time") from None
        except OSError as error:
            why = f"{self.host} does not resolve" if isinstance(error, socket.gaierror) else f"no way to {self.host}"
            raise OrthancError(f"{self.url} cannot be reached: {why}: {error.strerror or error}") from None


def is_symbol(name: str) -> bool:
    """Whether Orthanc takes *name* for a modality: ``[A-Za-z0-9_-]``, at least one (400 else, measured on 1.10.1)."""
    return name != "" and all(c.isascii() and (c.isalnum() or c in "_-") for c in name)


def _symbol(name: str) -> str:
    if not is_symbol(name):
        raise ValueError(name)
    return name


def _path(name: str) -> str:
    return f"/modalities/{quote(name, safe='')}"


def _modality(entry: _Entry) -> Modality:
    """Read an entry in its object form, or in its array form (before 1.5.0)."""
    fields = (
        dict(zip(("AET", "Host", "Port", "Manufacturer"), entry, strict=False)) if isinstance(entry, list) else entry
    )
    said = msgspec.convert(fields, _Modality)
    services = {name: bool(value) for name, value in fields.items() if name.startswith("Allow")}
    return Modality(said.ae_title, said.host, said.port, said.uses_tls, services, fields)
