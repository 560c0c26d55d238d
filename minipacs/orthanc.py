"""Orthanc's REST API, as far as registration goes: what it knows of us, putting that right, making it echo.

The one door to the HTTP client. It opens no DICOM connection.
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from msgspec import Struct
from requests.utils import get_netrc_auth

from minipacs.bounded import within
from minipacs.errors import OrthancError
from minipacs.escape import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

USERNAME, PASSWORD = "MINIPACS_ORTHANC_USERNAME", "MINIPACS_ORTHANC_PASSWORD"
"""The environment variables for basic authentication; else a netrc file."""

LAST_PORT = 65_534
"""Orthanc refuses a modality on port 65535 with 400 (measured on 1.10.1)."""

# As curl and the HTTP client name them; the first that is set names the certificates to trust in place of the usual.
_CA_FILES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _FAILED = 200, 401, 403, 404, 500
_NETWORK_ERROR = 9  # an OrthancStatus, whose Message says no more than that
_MOST_SHOWN = 200
_MOST_READ = 16 << 20  # bytes of an answer; 5 000 modalities take 2 MiB
_CHUNK = 1 << 16


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
        fields: all of it, as REST shows it, to be put back as it was.
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


class Orthanc:
    """An Orthanc, spoken to by REST.

    Args:
        url: of its web server, a path prefix included.
        timeout: seconds for each request from its first byte to the last of its answer.

    Raises:
        OrthancError: *url* is none.
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.host = _host_of(self.url)
        self.timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = not _is_loopback(self.host)  # a proxy of the environment is not for ourselves
        self._session.auth = self._credentials()
        self._session.verify = next((os.environ[name] for name in _CA_FILES if os.environ.get(name)), True)

    def system(self) -> System:
        """Return what it says of itself.

        Raises:
            OrthancError: it cannot be asked.
        """
        settings = self._json("/system")
        try:
            ae_title, port, version = settings["DicomAet"], settings["DicomPort"], settings["Version"]
            return System(str(ae_title), int(port), str(settings.get("Name", "")), str(version), settings)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise OrthancError(f"{self.url} is no Orthanc: its /system says {_shown(str(settings))}") from None

    def modalities(self) -> dict[str, Modality]:
        """Return whom it knows, by symbolic name.

        Raises:
            OrthancError: it cannot be asked.
        """
        entries = self._json("/modalities?expand")
        try:
            return {str(name): _modality(entry) for name, entry in entries.items()}
        except (KeyError, TypeError, AttributeError, ValueError, IndexError):
            raise OrthancError(
                f"{self.url}/modalities?expand is not to be understood: {_shown(str(entries))}"
            ) from None

    def register(self, name: str, fields: Mapping[str, Any]) -> None:
        """Let it know a modality under a symbolic name; it forgets that when it ends, unless it keeps a database of it.

        Args:
            name: symbolic name, ``[A-Za-z0-9_-]``.
            fields: ``AET``, ``Host``, ``Port`` and whatever else its object form takes.

        Raises:
            OrthancError: it cannot be asked, or refuses.
        """
        self._send("PUT", _path(name), dict(fields))

    def unregister(self, name: str) -> bool:
        """Let it forget whom it knows under that name; False when there is nobody.

        Raises:
            OrthancError: it cannot be asked, or refuses.
        """
        return self._send("DELETE", _path(name), accepted=(_NOT_FOUND,))[0] == _OK

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

    def local_address(self) -> str:
        """Return the IP address from which this machine reaches Orthanc's: where Orthanc finds us, but for NAT.

        Raises:
            OrthancError: there is no way to that machine.
        """
        try:
            family, kind, _, _, address = socket.getaddrinfo(self.host, 9, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as sock:
                sock.connect(address)  # sends nothing: it asks the routing table
                local: str = sock.getsockname()[0]
        except OSError as error:
            raise OrthancError(f"{self.url}: no way to {escape(self.host)}: {error.strerror or error}") from None
        return local

    # --- inside -------------------------------------------------------------------------------------------------------

    def _credentials(self) -> tuple[str, str] | None:
        if os.environ.get(USERNAME):
            return os.environ[USERNAME], os.environ.get(PASSWORD, "")
        return get_netrc_auth(self.url)

    def _json(self, path: str) -> Any:
        text = self._send("GET", path)[1]
        try:
            return json.loads(text)
        except ValueError:
            raise OrthancError(f"{self.url}{path} answers no JSON: is that an Orthanc? {_shown(text)}") from None

    def _echo(self, path: str, body: Mapping[str, Any]) -> str:
        status, text = self._send("POST", path, body, accepted=(_FAILED,))
        if status == _OK:
            return ""
        if not text:  # Orthanc's way to say that the status of the C-ECHO-RSP was not 0x0000
            return "the C-ECHO was answered with a failure"
        try:
            said = json.loads(text)
            words = ("Details", "Message") if said.get("OrthancStatus") == _NETWORK_ERROR else ("Message", "Details")
            return _shown(str(said.get(words[0]) or said.get(words[1])))
        except (ValueError, AttributeError):
            return _shown(text)

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, accepted: tuple[int, ...] = ()
    ) -> tuple[int, str]:
        """Return status and text of the answer, if the status is 200 or *accepted*."""
        try:  # the HTTP client's own deadline is for each read alone
            status, text, location = within(self.timeout, lambda: self._exchange(method, path, body))
        except TimeoutError:
            raise OrthancError(_silence(self.url, self.timeout)) from None
        if status != _OK and status not in accepted:
            raise OrthancError(self._refusal(path, status, text, location))
        return status, text

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, str, str]:
        try:
            with self._session.request(
                method, self.url + path, json=body, timeout=self.timeout, allow_redirects=False, stream=True
            ) as answer:
                data = b""
                for chunk in answer.iter_content(_CHUNK):
                    data += chunk
                    if len(data) > _MOST_READ:
                        raise OrthancError(f"{self.url}{path} answers more than {_MOST_READ} bytes")
                return answer.status_code, data.decode(errors="replace"), answer.headers.get("Location", "")
        except requests.exceptions.SSLError as error:
            how = f"name the CA that signed it in {_CA_FILES[0]}"
            raise OrthancError(f"{self.url}: its certificate is not trusted: {_cause(error)}; {how}") from None
        except requests.exceptions.Timeout:
            raise OrthancError(_silence(self.url, self.timeout)) from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise OrthancError(f"{self.url} cannot be reached: {_cause(error)}") from None

    def _refusal(self, path: str, status: int, text: str, location: str) -> str:
        if location:
            return f"{self.url} sends us on to {_shown(location)}: give that URL, without {path}"
        if status == _UNAUTHORIZED:
            return (
                f"{self.url} wants a user name and password, or lets nobody in from this machine: set {USERNAME} and "
                f"{PASSWORD}, or an entry for {escape(self.host)} in a netrc file; in Orthanc: RegisteredUsers, "
                "RemoteAccessAllowed"
            )
        if status == _FORBIDDEN:
            return f"{self.url}{path}: the user may not do that, or nobody from this machine (RemoteAccessAllowed)"
        if status == _NOT_FOUND and path == "/system":
            return f"{self.url} is no Orthanc: it has no /system; check the port and the path"
        return f"{self.url}{path} answers {status}: {_shown(_details(text))}"


def _silence(url: str, seconds: float) -> str:
    return f"{url} does not answer within {seconds:g} s: check host and port, and the firewalls between"


def _host_of(url: str) -> str:
    """Return the host in *url*, which has to be one that we can ask."""
    rule = "Orthanc's URL must be http://HOST:PORT or https://HOST:PORT, with a path if it has one"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise OrthancError(f"{rule}, not {escape(url)}") from None
    if parts.username is not None:
        raise OrthancError(f"{rule}, without user name and password: set {USERNAME} and {PASSWORD}, or use netrc")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise OrthancError(f"{rule}, not {escape(url)}")
    return host


def _path(name: str) -> str:
    return f"/modalities/{quote(name, safe='')}"


def _modality(entry: Any) -> Modality:
    """Read an entry in its array form (before 1.5.0) or its object form."""
    if isinstance(entry, list):
        return Modality(str(entry[0]), str(entry[1]), int(entry[2]))
    services = {name: bool(value) for name, value in entry.items() if name.startswith("Allow")}
    uses_tls = bool(entry.get("UseDicomTls", False))
    return Modality(str(entry["AET"]), str(entry["Host"]), int(entry["Port"]), uses_tls, services, entry)


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cause(error: BaseException) -> str:
    """Return the words at the bottom of a chain of wrapped errors."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return _shown(str(reason or error).rpartition(": ")[2])


def _details(text: str) -> str:
    """Return what Orthanc says in its JSON for errors, or all of *text* when that is something else."""
    try:
        said = json.loads(text)
        return str(said.get("Details") or said.get("Message") or text)
    except (ValueError, AttributeError):
        return text


def _shown(text: str) -> str:
    shown = escape(text.strip()[:_MOST_SHOWN])
    return shown or "nothing"
