"""Our certificate, our key and those whom we trust, which follow their files: renewed without a restart."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.certificate import of_pem, shown, validity
from minipacs.errors import SettingsError
from minipacs.live_files import LiveFiles
from minipacs.node_status import ReloadResult, TLSStatus
from minipacs.timestamp import rfc3339
from minipacs.tls import check_key, client_context, read_files, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from minipacs.settings import TLS

_CONFIRMATION = 1.0
"""Seconds for which a fault has to last: whoever renews puts the certificate there first, and then its key."""

_MOST_SESSIONS = 256
"""Of TLS 1.2, that OpenSSL keeps with a context: none is resumed, and each takes 10 kB."""

_SOON, _SHARE = timedelta(days=30), 3
"""How long before its end a certificate is warned of; one that is short-lived, in the last third of its time."""


@dataclass(frozen=True)
class Credentials:
    """What the files say. Equal when every byte of them is.

    Attributes:
        context: by which peers are answered.
        certificate: ours, in DER.
        digest: SHA-256 of all files.
        content: of each.
    """

    context: ssl.SSLContext = field(compare=False)
    certificate: bytes
    digest: bytes
    content: Mapping[Path, bytes] = field(compare=False, repr=False)

    def __str__(self) -> str:
        """Return which certificate it is, and until when it is valid."""
        return f"{shown(self.certificate)}, valid until {validity(self.certificate)[1]:%Y-%m-%d}"

    def warning(self, now: datetime) -> str:
        """Return what is to be said of the validity of our certificate; empty when nothing is."""
        begin, end = validity(self.certificate)
        if end <= now:
            return f"our certificate expired on {end:%Y-%m-%d}: peers refuse it; renew certificate under [tls]"
        if begin > now:
            return f"our certificate is not valid before {begin:%Y-%m-%d %H:%M} UTC: peers refuse it; set the clock"
        if end - now < min(_SOON, (end - begin) / _SHARE):
            return (
                f"our certificate expires in {(end - now).days} days, on {end:%Y-%m-%d}: renew certificate under [tls]"
            )
        return ""


class Renewal(Struct, frozen=True):
    """What came of reading the files again.

    Attributes:
        credentials: those in force now.
        is_new: whether our certificate is another than before.
        faults: why the files were not taken, a line each; empty when they were.
    """

    credentials: Credentials
    is_new: bool = False
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as one line."""
        if self.faults:
            return f"TLS: the last good certificates stay in force: {'; '.join(self.faults)}"
        if self.is_new:
            return f"TLS: our certificate is {self.credentials} now"
        return f"TLS: read again; our certificate is still {self.credentials}"


class LiveTLS(LiveFiles[Credentials]):
    """What the files under [tls] say, for as long as a ``with`` block runs.

    Args:
        tls: names the files, and has a certificate.
        told: called in a thread of its own with each Renewal; equal content is not told.

    Raises:
        SettingsError: a file cannot be used at the start; with the reason.
    """

    def __init__(self, tls: TLS, told: Callable[[Renewal], None]) -> None:
        assert tls.certificate is not None
        assert tls.key is not None
        super().__init__([tls.certificate, tls.key, *tls.trusted], SettingsError, _CONFIRMATION)
        self._tls = tls
        self._certificate = tls.certificate
        self._told = told
        self._serving: tuple[Credentials, ssl.SSLContext] | None = None  # what the latter was made of
        self._result: ReloadResult = "loaded"
        self._time = rfc3339(time())

    def context(self) -> ssl.SSLContext:
        """Return the context by which peers are answered now: another one once many sessions are kept with it."""
        current = self.current
        if self._serving is None or self._serving[0] is not current:
            self._serving = current, current.context
        elif self._serving[1].session_stats()["number"] >= _MOST_SESSIONS:
            with suppress(SettingsError):  # nothing is left to make one with
                self._serving = current, self.new_context()
        return self._serving[1]

    def new_context(self) -> ssl.SSLContext:
        """Return one like it, that has no session to resume."""
        return server_context(self._tls, self.current.content)

    def client_context(self) -> ssl.SSLContext:
        """Return one by which peers are called now, made of what is in force: the files may just be exchanged."""
        return client_context(self._tls, self.current.content)

    @property
    def status(self) -> TLSStatus:
        """What is in force, and what came of the last look at the files."""
        current, faults = self.current, self._faults
        return TLSStatus(
            certificate=shown(current.certificate),
            not_after=rfc3339(validity(current.certificate)[1].timestamp()),
            warning=current.warning(datetime.now(UTC)) or None,
            time=self._time,
            result=self._result,
            faults=faults,
        )

    def _read(self) -> Credentials:
        content = read_files(self._tls)
        check_key(self._tls)
        context = server_context(self._tls, content)
        digest = sha256(b"".join(sha256(content[path]).digest() for path in self._paths)).digest()
        return Credentials(context, of_pem(content[self._certificate]), digest, content)

    def _begun(self, faults: tuple[str, ...]) -> None:
        """Whoever starts us tells."""

    def _exchanged(self, old: Credentials) -> None:
        is_new = self.current.certificate != old.certificate
        self._note("reloaded" if self.current != old else "valid-again")
        self._told(Renewal(self.current, is_new=is_new))

    def _refused(self, faults: tuple[str, ...]) -> None:
        self._note("invalid")
        self._told(Renewal(self.current, faults=faults))

    def _note(self, result: ReloadResult) -> None:
        self._result, self._time = result, rfc3339(time())
