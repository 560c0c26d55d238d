"""The look at a port that does not answer: real servers of TLS and HTTP, silent ones, and DICOM, which is let alone."""

import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter

import pytest

from minipacs import EchoResult, Outcome, Peer, echo
from minipacs.certificate import subject
from minipacs.port_look import LONGEST, look

from . import fakes
from .fakes import Conversation, faking
from .peers.dcmtk import STORESCP, storescp
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.required import required
from .raw import pdu
from .test_imports import loaded_by
from .test_scu import CASES, FIX_CLOSED, REASON_CLOSED, in_these_words, open_files

OPENSSL = "/usr/bin/openssl"
TIMEOUT = 0.5

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
OWNER = "CN=pacs,O=Hospital,C=DE"


class Certificate:
    """A certificate that its owner has signed, and its key."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self.key = folder / "certificate.pem", folder / "key.pem"
        command = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-utf8", "-subj", name]
        command += ["-keyout", str(self.key), "-out", str(self.path)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.path.read_text())

    def context(self, version: ssl.TLSVersion, demand: ssl.VerifyMode) -> ssl.SSLContext:
        """That of a server which has it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        context.minimum_version = context.maximum_version = version
        context.verify_mode = demand
        context.load_verify_locations(self.path)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"), "/C=DE/O=Hospital/CN=pacs")


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[int]:
    """A TLS server that waits for what its clients say; its port."""

    def behave(conversation: Conversation) -> None:
        with suppress(OSError), context.wrap_socket(conversation._socket, server_side=True) as sock:
            sock.recv(1)

    with faking(behave) as fake:
        assert fake.peer.port is not None
        yield fake.peer.port


def at(port: int, timeout: float = TIMEOUT) -> EchoResult:
    return echo(Peer("peer", "PEER", "127.0.0.1", port), timeout=timeout)


def look_at(port: int | None, timeout: float = LONGEST) -> str:
    return look(socket.AF_INET, ("127.0.0.1", port), timeout)


# --- TLS -----------------------------------------------------------------------------------------------------------


@required(OPENSSL)
@pytest.mark.parametrize(
    ("version", "demand", "words"),
    [
        (TLS_1_2, ssl.CERT_NONE, f"TLSv1.2, with a certificate for {OWNER}"),
        (TLS_1_2, ssl.CERT_OPTIONAL, f"TLSv1.2, with a certificate for {OWNER}"),
        (TLS_1_2, ssl.CERT_REQUIRED, "TLSv1.2, and demands a certificate of ours"),
        (TLS_1_3, ssl.CERT_NONE, f"TLSv1.3, with a certificate for {OWNER}"),
        (TLS_1_3, ssl.CERT_OPTIONAL, f"TLSv1.3, with a certificate for {OWNER}"),
        (TLS_1_3, ssl.CERT_REQUIRED, f"TLSv1.3, with a certificate for {OWNER}, and demands a certificate of ours"),
    ],
)
def test_a_tls_server_is_seen(
    version: ssl.TLSVersion, demand: ssl.VerifyMode, words: str, certificate: Certificate
) -> None:
    with serving(certificate.context(version, demand)) as port:
        result = at(port, timeout=2.0)
    assert result.observations == (f"port {port} speaks {words}",)
    assert (result.outcome, result.code) == (Outcome.NO_ASSOCIATION, "no-association.closed")
    assert result.reason == REASON_CLOSED
    assert result.fix == in_these_words(FIX_CLOSED, port)


@required(OPENSSL)
def test_a_tls_server_without_a_cipher_of_ours_is_seen(certificate: Certificate) -> None:
    context = certificate.context(TLS_1_2, ssl.CERT_NONE)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")  # its key is RSA
    with serving(context) as port:
        assert look_at(port, 2.0) == f"port {port} speaks TLS, and refuses our handshake"


@required(OPENSSL, ORTHANC)
@pytest.mark.parametrize("demands", [False, True])
def test_an_orthanc_with_tls_is_seen(demands: bool, certificate: Certificate, tmp_path: Path) -> None:
    extra = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate.path),
        "DicomTlsPrivateKey": str(certificate.key),
        "DicomTlsTrustedCertificates": str(certificate.path),
        "DicomTlsRemoteCertificateRequired": demands,
    }
    with Orthanc(tmp_path, minipacs_port=free_port(), extra=extra) as orthanc:
        port = orthanc.dicom_port
        result = at(port, timeout=5.0)
    assert (result.outcome, result.code) == (Outcome.NO_ASSOCIATION, "no-association.closed")
    assert (result.reason, result.fix) == (REASON_CLOSED, in_these_words(FIX_CLOSED, port))
    seen = f"port {port} speaks TLSv1.3, with a certificate for {OWNER}"
    assert result.observations == (f"{seen}, and demands a certificate of ours" if demands else seen,)


# --- whom a certificate is for -------------------------------------------------------------------------------------


@required(OPENSSL)
@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("/C=DE/O=Hospital/OU=Radiology/CN=pacs", "CN=pacs,OU=Radiology,O=Hospital,C=DE"),
        ("/CN=Röntgen", "CN=Röntgen"),
        ("/CN=a\x1b[2Jb", "CN=a\x1b[2Jb"),
        ("/L=Berlin", "L=Berlin"),
        ("/O=" + "x" * 64 + "/OU=" + "y" * 64, "OU=" + "y" * 64 + ",O=" + "x" * 58),
    ],
)
def test_the_subject_of_a_certificate_is_read(name: str, owner: str, tmp_path: Path) -> None:
    assert subject(Certificate(tmp_path, name).der) == owner


@required(OPENSSL)
def test_a_certificate_that_is_cut_or_changed_breaks_nothing(certificate: Certificate) -> None:
    der = certificate.der
    for place in range(200):
        assert subject(der[:place]) in {"", OWNER} or OWNER.startswith(subject(der[:place]))
        subject(der[:place] + b"\xff" + der[place + 1 :])


@required(OPENSSL)
def test_what_a_certificate_says_is_escaped(tmp_path: Path) -> None:
    with serving(Certificate(tmp_path, "/CN=a\x1b[2Jb").context(TLS_1_3, ssl.CERT_NONE)) as port:
        assert look_at(port, 2.0) == rf"port {port} speaks TLSv1.3, with a certificate for CN=a\x1b[2Jb"


# --- HTTP ----------------------------------------------------------------------------------------------------------


class Page(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_http_server_that_waits_for_a_line_is_seen() -> None:
    with http_server() as port:
        result = at(port, timeout=2.0)
    assert (result.outcome, result.code) == (Outcome.NO_ASSOCIATION, "no-association.silence")
    assert result.reason == CASES["silence"].reason.replace(f"{TIMEOUT} s", "2 s")
    assert result.fix == in_these_words(CASES["silence"].fix, port)
    assert result.observations == (f"port {port} speaks HTTP/1.0",)


@required(ORTHANC)
def test_the_web_port_of_orthanc_is_seen(tmp_path: Path) -> None:
    with Orthanc(tmp_path, minipacs_port=free_port()) as orthanc:
        assert look_at(orthanc.http_port) == f"port {orthanc.http_port} speaks HTTP/1.1"


def answers_by(*answers: bytes) -> fakes.Behaviour:
    """One connection after the other is sent this, and closed."""

    def answering(answer: bytes) -> fakes.Behaviour:
        def behave(conversation: Conversation) -> None:
            conversation._socket.recv(1 << 12)
            conversation.send(answer)
            conversation.close()

        return behave

    return fakes.in_turn(*map(answering, answers))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"] * 2, "HTTP/1.1"),
        ([b"<html>400</html>", b"HTTP/2 200\r\n"], "HTTP/2"),
        ([b"", b"HTTP/1.0 200 \x1b[2J\r\n"], "HTTP/1.0"),
        ([b"", b"HTTP/one\r\n"], ""),
        ([b"", b"SSH-2.0-OpenSSH_9.2p1\r\n"], ""),
        ([b"\x15\x03\x01\0\x02\x02\x46", b""], "TLS, and refuses our handshake"),
        ([b"\x16\x03\x03\0\x04junk", b""], "TLS"),
        ([b"", b""], ""),
    ],
)
def test_only_what_is_known_is_told(answers: list[bytes], words: str) -> None:
    with faking(answers_by(*answers)) as fake:
        assert look_at(fake.peer.port) == (f"port {fake.peer.port} speaks {words}" if words else "")


# --- what it costs, and whom it leaves alone ------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0.2, 0.5])
def test_the_look_at_a_silent_peer_ends_with_the_timeout(timeout: float) -> None:
    with faking(fakes.keeps_silent) as fake:
        started = perf_counter()
        assert look_at(fake.peer.port, timeout) == ""
        assert perf_counter() - started >= timeout - 0.01
    assert fake.connections == 2
    assert fake.conversations[0][0].startswith(b"\x16\x03")
    assert fake.conversations[1][0].startswith(b"HEAD /")


def test_the_look_takes_a_second_at_most() -> None:
    with faking(fakes.keeps_silent) as fake:
        started = perf_counter()
        look_at(fake.peer.port, 60.0)
        assert LONGEST <= perf_counter() - started < LONGEST + 3.0


def test_what_is_told_of_the_call_is_without_the_look() -> None:
    with faking(fakes.keeps_silent) as fake:
        started = perf_counter()
        result = echo(fake.peer, timeout=TIMEOUT)
        elapsed_ms = (perf_counter() - started) * 1000
    assert (result.observations, fake.connections) == ((), 3)
    assert TIMEOUT * 1000 <= result.total_ms <= elapsed_ms - TIMEOUT * 1000 + 10


def test_a_port_where_nobody_listens_any_more_tells_nothing() -> None:
    before = open_files()
    with fakes.refusing() as nobody:
        assert look_at(nobody.port) == ""
    assert open_files() == before


def pours(conversation: Conversation) -> None:
    """Sends without end."""
    with suppress(OSError):
        while True:
            conversation.send(b"\x16\x03\x03\x40\x00" + bytes(0x4000))


def trickles(conversation: Conversation) -> None:
    """Begins a handshake record, a byte each 20 ms."""
    with suppress(OSError):
        for byte in b"\x16\x03\x03\x40\x00" + bytes(500):
            conversation.send(bytes([byte]))
            select.select([], [], [], 0.02)


@pytest.mark.parametrize("behave", [pours, trickles])
def test_what_is_read_of_a_port_is_bounded(behave: fakes.Behaviour) -> None:
    with faking(behave) as fake:
        started = perf_counter()
        look_at(fake.peer.port, 60.0)
        assert perf_counter() - started < LONGEST + 3.0


def test_while_it_waits_only_the_last_attempt_is_followed_by_a_look() -> None:
    with faking(fakes.closes_after_the_request) as fake:
        result = echo(fake.peer, wait=2.0, timeout=TIMEOUT)
    assert result.code == "no-association.closed"
    firsts = [conversation[0][:1] for conversation in fake.conversations]
    assert set(firsts[:-2]) == {b"\x01"}
    assert firsts[-2:] == [b"\x16", b"H"]
    assert len(firsts) >= 4


NOT_LOOKED_AT = sorted(
    name
    for name, case in CASES.items()
    if case.code not in {"no-association.silence", "no-association.closed"} or name == "half an answer"
)


@pytest.mark.parametrize("name", NOT_LOOKED_AT)
def test_a_peer_that_answers_is_not_looked_at(name: str) -> None:
    with faking(CASES[name].behave) as fake:
        echo(fake.peer, timeout=TIMEOUT)
    assert fake.connections == 1


def test_a_dicom_peer_that_answers_the_look_by_a_pdu_is_not_asked_again() -> None:
    def aborts_then_closes(conversation: Conversation) -> None:
        conversation._socket.recv(1 << 12)
        conversation.send(pdu(0x07, b"\0\0\2\1"))
        conversation.close()

    with faking(aborts_then_closes) as fake:
        assert look_at(fake.peer.port) == ""
    assert fake.connections == 1


@required(STORESCP)
def test_a_busy_dicom_peer_bears_the_look(tmp_path: Path) -> None:
    """DCMTK's storescp serves one association after the other: it is silent to us, and goes on afterwards."""
    with storescp(tmp_path, ae_title="STORESCP") as scp:
        with socket.create_connection(("127.0.0.1", scp.port)):
            result = at(scp.port)
            assert (result.code, result.observations) == ("no-association.silence", ())
        assert at(scp.port, timeout=20.0).is_success


def test_tls_is_imported_for_a_look_alone() -> None:
    assert "ssl" not in loaded_by("import minipacs.scu, minipacs.port_look")
    assert "minipacs.port_look" not in loaded_by("import minipacs.cli.echo")
