"""The node's certificate, its key and those that it trusts are renewed every few seconds, now and then badly.

Two authorities issue in turn, and both are trusted on either side, so that whoever calls is let in all the time.
"""

import ssl
import threading
import time
from hashlib import sha256
from pathlib import Path

from minipacs.settings import TLS
from minipacs.tls import client_context

from ..certificates import Authority, Identity
from .attempts import Book
from .follow import NodeLog

PERIOD = 5.0
"""Seconds between two renewals."""

GONE_AFTER = 10.0
"""Seconds after which a certificate that was replaced must not be seen any more; it takes a fraction of one."""

_TOLD_WITHIN = 20.0  # seconds

SETTINGS = """\
[tls]
certificate = "node.pem"
key = "node-key.pem"
trusted = "trusted.pem"
port = 0
"""


class Renewal:
    """The files of the node's `[tls]` in *conf*, and a thread that renews them."""

    def __init__(self, conf: Path, folder: Path, book: Book) -> None:
        self.count = self.broken = 0
        self.seen: dict[str, float] = {}  # fingerprint: the time when a client saw it first
        self.first, self.second = Authority(folder / "first", "CA 1"), Authority(folder / "second", "CA 2")
        self.former, self.other = Authority(folder / "former", "Former CA"), Authority(folder / "other", "Other CA")
        self.former_gone = float("inf")  # when what it issued must not be trusted any more
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(self._bundle(self.first, self.second))
        self._book = book
        self._conf = conf
        self._placed: dict[str, float] = {}  # fingerprint: when it was put in place, oldest first
        self._replaced: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)
        conf.mkdir(parents=True, exist_ok=True)
        (conf / "minipacs.toml").write_text(SETTINGS)
        self._renew()

    def start(self, log: NodeLog) -> None:
        """Renew from now on; *log* is that of the node."""
        self._log = log
        with self._lock:  # what was put in place before could be seen by none
            self._placed = dict.fromkeys(self._placed, time.monotonic())
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(_TOLD_WITHIN + 2 * PERIOD)

    def identity(self) -> Identity:
        """For a peer that the node trusts."""
        return self.first.issue()

    def context(self) -> ssl.SSLContext:
        """For a client of ours that is trusted, and calls somebody else."""
        return self.context_of(self.identity())

    def noting_context(self) -> ssl.SSLContext:
        """For a client of ours that is trusted, and takes note of the certificate that the node shows."""
        return self._noting(self.context())

    def context_of(self, identity: Identity) -> ssl.SSLContext:
        """For a client of ours that trusts the node, and shows that certificate."""
        return client_context(TLS(identity.certificate, identity.key, trusted=(self.bundle,)))

    def delays(self) -> list[float]:
        """Seconds from when a certificate was put in place until a client saw it, of those that were seen."""
        with self._lock:
            return [self.seen[name] - placed for name, placed in self._placed.items() if name in self.seen]

    # --- what is seen -------------------------------------------------------------------------------------------------

    def _noting(self, context: ssl.SSLContext) -> ssl.SSLContext:
        note = self._note

        class Noting(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                started = time.monotonic()
                super().do_handshake(block)
                note(self.getpeercert(binary_form=True) or b"", started)

        context.sslsocket_class = Noting
        return context

    def _note(self, certificate: bytes, started: float) -> None:
        name = sha256(certificate).hexdigest()
        with self._lock:
            self.seen.setdefault(name, time.monotonic())
            replaced = self._replaced.get(name)
        if name not in self._placed:
            self._book.fail("TLS:", f"the node showed a certificate that was never its own: {name[:16]}…")
        if replaced is not None and started > replaced + GONE_AFTER:
            seconds = started - replaced
            self._book.fail(
                "TLS:", f"the node showed a certificate {seconds:.1f} s after it was replaced: {name[:16]}…"
            )

    # --- what is done -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            try:
                if self.count % 4 == 3:
                    self._break()
                self._renew()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and fails the soak
                self._book.fail("the certificates:", f"{type(error).__name__}: {error}")

    def _renew(self) -> None:
        issuer, kin = (self.first, self.second) if self.count % 2 else (self.second, self.first)
        identity = issuer.issue()
        certificate = identity.certificate.read_bytes()
        name = sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()
        now = time.monotonic()
        with self._lock:
            for old in self._placed:
                self._replaced.setdefault(old, now)
            self._placed[name] = now
        self._put("node.pem", certificate)
        self._put("node-key.pem", identity.key.read_bytes())
        if self.count == 0:
            self._put("trusted.pem", self._bundle(self.former, issuer, kin))
        else:
            self._put("trusted.pem", self._bundle(issuer, kin))
            self.former_gone = min(self.former_gone, now + GONE_AFTER)
        self.count += 1

    def _break(self) -> None:
        """A key that belongs to another certificate, until the node says so; what it had before stays in force."""
        count, until = self._log.counts["tls-invalid"], time.monotonic() + _TOLD_WITHIN
        self._put("node-key.pem", self.other.issue().key.read_bytes())
        while not self._log.wait_for("tls-invalid", count + 1, 0.5):
            if self._stop.is_set():
                return
            if time.monotonic() > until:
                self._book.fail("the certificates:", f"the node did not say tls-invalid within {_TOLD_WITHIN:g} s")
                return
        self.broken += 1

    def _put(self, name: str, content: bytes) -> None:
        """By renaming, as whoever renews certificates does; nobody else may read them."""
        temporary = self._conf / f"{name}.new"
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)
        temporary.replace(self._conf / name)

    @staticmethod
    def _bundle(*authorities: Authority) -> bytes:
        return b"".join(authority.certificate.read_bytes() for authority in authorities)
