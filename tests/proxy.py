"""A reverse proxy before a real Orthanc, which holds back the answer to one request: done there, and not known here."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_direct = build_opener(ProxyHandler({}))
_NEVER = 30.0


class Proxy(ThreadingHTTPServer):
    """Passes on every request; the answer to the first that is *method* *path* waits until the end.

    Or, unless it *is_done*, that request itself.
    """

    daemon_threads = True

    def __init__(self, upstream: str, method: str, path: str, *, is_done: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.held = (method, path)
        self.is_done = is_done
        self._holds = threading.Event()
        self.is_over = threading.Event()

    def is_holding(self) -> bool:
        return self._holds.is_set()

    def hold(self) -> None:
        """Once."""
        if not self._holds.is_set():
            self._holds.set()
            self.is_over.wait(_NEVER)


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        is_held = (self.command, self.path) == self.server.held
        if is_held and not self.server.is_done:
            self.server.hold()
        request = Request(self.server.upstream + self.path, data=body, method=self.command)
        try:
            with _direct.open(request, timeout=_NEVER) as answer:
                status, data = answer.status, answer.read()
        except HTTPError as error:
            with error:
                status, data = error.code, error.read()
        if is_held:
            self.server.hold()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:  # whoever asked was interrupted
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing: the test asserts on what is done."""


@contextmanager
def holding_back(upstream: str, method: str, path: str, *, is_done: bool = True) -> Iterator[Proxy]:
    proxy = Proxy(upstream, method, path, is_done=is_done)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.is_over.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()
