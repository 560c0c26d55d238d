"""A web server spoken to in JSON: bounded in time and size, its certificate verified, and in words when it fails.

The one door to the HTTP client.
"""

from __future__ import annotations

import os
import ssl
import threading
from contextlib import contextmanager
from http.client import HTTPException
from socket import gaierror
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import msgspec
import requests
from requests.auth import HTTPBasicAuth
from requests.exceptions import InvalidURL, ProxyError, RequestException, Timeout
from requests.utils import get_netrc_auth, select_proxy

from minipacs.addresses import is_loopback
from minipacs.bounded import within
from minipacs.errors import OrthancError
from minipacs.escape import escape
from minipacs.rest_url import host_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USERNAME, PASSWORD = "MINIPACS_ORTHANC_USERNAME", "MINIPACS_ORTHANC_PASSWORD"
"""The environment variables for basic authentication; else a netrc file."""

OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, FAILED = 200, 401, 403, 404, 500

# As curl and the HTTP client name them; the first that is set names the certificates to trust in place of the usual.
_CA_FILES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 10, 62, 64  # X509_V_ERR_… of OpenSSL

_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}  # as OpenSSL says it before and since 3.2

_PORTS = "Orthanc's web port is 8042 unless changed, and 4242 its DICOM port"
_REMOTE = "Orthanc answers so to other machines, too, unless RemoteAccessAllowed is true"

_NO_FIND = 2016  # an OrthancStatus whose Details do not tell what is wrong
_GIVEN_UP = 1.0  # seconds for a change whose answer nobody waits for any more
_MOST_SHOWN = 200
_MOST_READ = 1 << 20  # bytes of an answer
_CHUNK = 1 << 16


class Answer(NamedTuple):
    """What a web server answered: status, text, and where it sends us on to."""

    status: int
    text: str
    location: str = ""


class _Session(requests.Session):
    """Follows nobody to another URL, not even to learn how: for that it would read the whole answer, however long."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the name is that of requests
        return None


class Rest:
    """A web server.

    Args:
        url: of its root, a path prefix included.

    Raises:
        OrthancError: *url* is none.
    """

    def __init__(self, url: str) -> None:
        self.host = host_in(url.strip(), USERNAME, PASSWORD)
        self.url = url.strip().rstrip("/")
        self._session = _Session()
        self._session.trust_env = not is_loopback(self.host)  # a proxy of the environment is not for ourselves
        self._session.headers["Accept-Encoding"] = "identity"  # nothing that grows when it is unpacked
        self._session.auth, self._auth_from = self._credentials()
        self._ca_from = next((name for name in _CA_FILES if os.environ.get(name)), "")
        if self._ca_from:
            self._session.verify = self._ca_file()
        self._changing = threading.Lock()

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        seconds: float,
        accepted: tuple[int, ...] = (),
        most: int = _MOST_READ,
    ) -> Answer:
        """Send a request and return the answer, if its status is 200 or *accepted*.

        Args:
            method: of HTTP.
            path: behind the root.
            body: goes as JSON.
            seconds: from the first byte of the request to the last of its answer.
            accepted: statuses that are answers as well.
            most: bytes that the answer may have.

        Raises:
            OrthancError: there is no such answer.
        """
        try:  # the HTTP client's own deadline is for each read alone
            answer = within(seconds, lambda: self._exchange(method, path, body, seconds, most))
        except TimeoutError:
            raise self._silence(seconds) from None
        if answer.status != OK and answer.status not in accepted:
            raise OrthancError(self._refusal(path, answer) + self._proxy_hint())
        return answer

    # --- inside -------------------------------------------------------------------------------------------------------

    def _credentials(self) -> tuple[HTTPBasicAuth | None, str]:
        """Return user name and password, and where they are from."""
        if os.environ.get(USERNAME):
            found: tuple[str, str] | None = (os.environ[USERNAME], os.environ.get(PASSWORD, ""))
            source = f"{USERNAME} and {PASSWORD}"
        else:
            found, source = get_netrc_auth(self.url), "the netrc file"
        if found is None:
            return None, ""
        username, password = (text.encode(errors="surrogateescape") for text in found)
        return HTTPBasicAuth(username, password), source

    def _ca_file(self) -> str:
        path = os.environ[self._ca_from]
        if self.url.startswith("https:") and not os.path.exists(path):
            raise OrthancError(f"{self._ca_from} has to name the certificates to trust: {escape(path)} is not there")
        return path

    def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float, most: int = _MOST_READ
    ) -> Answer:
        try:
            with (
                self._turn(method),
                self._session.request(
                    method, self.url + path, json=body, timeout=seconds, allow_redirects=False, stream=True
                ) as answer,
            ):
                return Answer(answer.status_code, self._text_of(answer, path, most), answer.headers.get("Location", ""))
        except Timeout:
            raise self._silence(seconds) from None
        except (RequestException, OSError) as error:
            if any(isinstance(cause, TimeoutError) for cause in _causes(error)):  # in the middle of the answer
                raise self._silence(seconds) from None
            raise OrthancError(self._failure(error)) from None

    @contextmanager
    def _turn(self, method: str) -> Iterator[None]:
        """Let a change that was given up go first, if it is still on its way: what takes it back must not overtake it.

        But a server that does not answer it is not waited for.
        """
        waits = method not in {"GET", "POST"}
        has_turn = waits and self._changing.acquire(timeout=_GIVEN_UP)
        try:
            yield
        finally:
            if has_turn:
                self._changing.release()

    def _text_of(self, answer: requests.Response, path: str, most: int) -> str:
        most = most if answer.status_code == OK else min(most, _MOST_READ)
        data = bytearray()
        for chunk in answer.iter_content(_CHUNK):
            data += chunk
            if len(data) > most:
                raise OrthancError(f"{self.url}{path} answers more than {most >> 20} MiB: is that an Orthanc?")
        return data.decode(errors="replace")

    def _silence(self, seconds: float) -> OrthancError:
        what = f"{self.url} does not answer within {seconds:.2g} s"
        return OrthancError(f"{what}: check host and port, and the firewalls between{self._proxy_hint()}")

    def _refusal(self, path: str, answer: Answer) -> str:
        """Return what an answer with another status than 200 means."""
        if answer.location and 300 <= answer.status < 400:
            target = _joined(self.url + path, answer.location)
            if target.endswith(path):
                return f"{self.url} sends us on to another URL: give {escape(target.removesuffix(path))}"
            return f"{self.url} sends us on to {shown(target)}: give the URL of Orthanc itself, behind any login page"
        if answer.status == UNAUTHORIZED:
            return self._unauthorized()
        if answer.status == FORBIDDEN:
            return f"{self.url}{path} is forbidden (403): the user may not do that; {_REMOTE}"
        if answer.status == NOT_FOUND and path == "/system":
            return f"{self.url} is no Orthanc, for it has no /system: check the port, and the path"
        return f"{self.url}{path} answers {answer.status}: {shown(details(answer.text))}"

    def _unauthorized(self) -> str:
        if self._auth_from:
            return (
                f"{self.url} does not take the user name and password of {self._auth_from} (401): "
                f"compare them with RegisteredUsers in Orthanc; {_REMOTE}"
            )
        return (
            f"{self.url} wants a user name and password (401): set {USERNAME} and {PASSWORD}, or add an entry for "
            f"{self.host} to a netrc file; {_REMOTE}"
        )

    def _failure(self, error: Exception) -> str:
        """Return why there was no answer."""
        causes = list(_causes(error))
        if isinstance(error, InvalidURL):  # ours is valid; the words are not shown, for a password may be among them
            return f"{self.url} cannot be reached: the proxy has no valid URL{self._proxy_hint()}"
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._untrusted(cause)
            if isinstance(cause, ProxyError):
                return f"{self.url} cannot be reached: the proxy fails: {_reason(causes[-1])}{self._proxy_hint()}"
            if isinstance(cause, ssl.SSLError):
                if cause.reason in _NO_TLS:
                    return f"{self.url}: the port does not speak TLS: give http://, if that is the port of Orthanc"
                return f"{self.url}: TLS fails: {_reason(cause)}{self._ca_hint()}"
            if isinstance(cause, gaierror):
                return f"{self.url} cannot be reached: {self.host} does not resolve: {_reason(cause)}"
            if isinstance(cause, HTTPException | ConnectionResetError):
                how = f"{_PORTS}; if the port speaks TLS, give https://"
                return f"{self.url} does not answer in HTTP: {_reason(cause)}: {how}"
        how = "check host and port, and that Orthanc runs"
        return f"{self.url} cannot be reached: {_reason(causes[-1])}: {how}"

    def _untrusted(self, cause: ssl.SSLCertVerificationError) -> str:
        what = f"{self.url}: its certificate is not trusted: {shown(cause.verify_message.rstrip('.'))}"
        if cause.verify_code in {_OTHER_HOST, _OTHER_ADDRESS}:
            return f"{what}; give the URL with a name that the certificate has"
        if cause.verify_code == _EXPIRED:
            return f"{what}; renew it, and check the clock of this machine"
        how = f"name the file with the certificate of the CA that signed it in {_CA_FILES[0]} or {_CA_FILES[-1]}"
        return f"{what}; {how}{self._ca_hint()}"

    def _ca_hint(self) -> str:
        return f" (now {self._ca_from} is {escape(os.environ[self._ca_from])})" if self._ca_from else ""

    def _proxy_hint(self) -> str:
        """Return whose answer it may be, when a proxy of the environment stands between."""
        settings = self._session.merge_environment_settings(self.url, {}, None, None, None)
        if select_proxy(self.url, settings["proxies"]) is None:
            return ""
        return "; the environment names a proxy for it: NO_PROXY excludes a host"


def details(text: str) -> str:
    """Return what Orthanc says in its JSON for errors, or all of *text* when that is something else."""
    try:
        said = msgspec.json.decode(text)
        first = None if said.get("OrthancStatus") == _NO_FIND else said.get("Details")
        return str(first or said.get("Message") or text)
    except (ValueError, AttributeError, RecursionError):
        return text


def shown(text: str) -> str:
    """Return what a server sent, safe to show and not for ever."""
    return escape(text.strip()[:_MOST_SHOWN]) or "nothing"


def _joined(url: str, location: str) -> str:
    """Return where *location* leads to from *url*; itself where that is no URL."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it wraps, down to the first that was raised."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(cause: BaseException) -> str:
    said = getattr(cause, "reason", None) or getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return shown(str(said))
