"""Web servers on real sockets: a reverse proxy before a real Orthanc, and whatever else a URL may lead to."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

OPENSSL = "/usr/bin/openssl"

_PATIENCE = 30.0
_FORWARDED = {"authorization", "content-type", "content-length"}


class Request(BaseHTTPRequestHandler):
    """One request, and the means to answer it."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def handle_one_request(self) -> None:
        with suppress(OSError):  # the client went away, as it may
            super().handle_one_request()

    def behave(self) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        self.server.behave(self)

    do_GET = do_PUT = do_POST = do_DELETE = behave  # noqa: N815

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def is_over(self, within: float) -> bool:
        """Whether the test ends in so many seconds."""
        return self.server.is_over.wait(within)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


Behaviour: TypeAlias = Callable[[Request], None]


class _Server(ThreadingHTTPServer):
    block_on_close = False

    def __init__(self, behave: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behave = behave
        self.seen: list[str] = []
        self.is_over = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A TLS handshake that fails, or a client that goes away."""


class Web:
    """A web server that runs: its URL, and the requests that it has seen."""

    def __init__(self, server: _Server, scheme: str) -> None:
        self.port: int = server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.seen = server.seen


@contextmanager
def web(behave: Behaviour, tls: Path | None = None) -> Iterator[Web]:
    """Serve on a free port, each connection in a thread; `tls` is a PEM file with a key and its certificate."""
    with _Server(behave) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Web(server, "https" if tls else "http")
        finally:
            server.is_over.set()
            server.shutdown()
            thread.join(_PATIENCE)


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Whatever is asked."""
    return lambda request: request.answer(status, body, headers)


def passing_on(port: int, prefix: str = "", source: str = "127.0.0.1") -> Behaviour:
    """A proxy before a web server of this machine: what is asked below `prefix`, called from the address `source`."""

    def behave(request: Request) -> None:
        root = f"http://{request.headers['Host']}" if request.path.startswith("http://") else ""  # asked as a proxy
        path = request.path.removeprefix(root)
        if not path.startswith(f"{prefix}/"):
            request.answer(404, b"nothing here")
            return
        headers = {name: value for name, value in request.headers.items() if name.lower() in _FORWARDED}
        connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE, source_address=(source, 0))
        try:
            connection.request(request.command, path.removeprefix(prefix), request.body(), headers)
            answer = connection.getresponse()
            request.answer(answer.status, answer.read())
        finally:
            connection.close()

    return behave


def certificate(folder: Path, *names: str, name: str = "server") -> Path:
    """A PEM file with a key and a certificate that it signed itself, for those subject alternative names."""
    key, asked, more, made, both = (folder / f"{name}.{kind}" for kind in ("key", "csr", "ext", "crt", "pem"))
    more.write_text(f"subjectAltName={','.join(names)}\n")
    _openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=orthanc", "-out", asked)
    _openssl("x509", "-req", "-in", asked, "-signkey", key, "-days", 2, "-extfile", more, "-out", made)
    both.write_text(key.read_text() + made.read_text())
    return both


def _openssl(*arguments: str | int | Path) -> None:
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True, timeout=_PATIENCE)
