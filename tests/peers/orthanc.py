"""An Orthanc of the test's own: started from samples/orthanc.json as it stands, spoken to by REST."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from .ports import free_port
from .process import Child, running

ORTHANC = "/usr/sbin/Orthanc"
SAMPLE = Path(__file__).parents[2] / "samples" / "orthanc.json"

# Longer than DicomScuTimeout (10 s): an echo that Orthanc gives up has to be answered by Orthanc.
_HTTP_TIMEOUT = 60.0
# Whoever else has its port may accept and say nothing: it is asked again.
_PROBE_TIMEOUT = 1.0

_direct = build_opener(ProxyHandler({}))  # loopback: whatever proxy the environment names is not for us


class Orthanc:
    """Knows `minipacs`, that is MINIPACS@127.0.0.1:`minipacs_port`, and nobody else, until told otherwise.

    `extra` are settings that are added to those of `config`, or that replace them; `variables` those of the environment
    that `config` leaves open besides; `cwd` is where it is started; `options` are those of its command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: Path = SAMPLE,
        minipacs_port: int,
        extra: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        options: Sequence[str] = ("--verbose",),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = _with_extra(config, extra, folder) if extra else config
        self.minipacs_port = minipacs_port
        self._more_variables = variables or {}
        self._cwd = cwd
        self._options = options
        self.dicom_port = free_port()
        self.http_port = free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.pid = 0
        self.ae_title = ""  # it says so itself, once it has started
        self._log = folder / "orthanc.log"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        child = self._stack.enter_context(
            running(self.command, log=self._log, ready=self._is_ready, env=self.env, cwd=self._cwd)
        )
        self.pid = child.pid
        self._stack.callback(child.kill)  # it takes 3.5 s to stop in order, and what it keeps is the test's
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def command(self) -> list[str]:
        """What starts it."""
        return [ORTHANC, *self._options, str(self.config)]

    @property
    def env(self) -> dict[str, str]:
        """The environment in which it starts."""
        return {**os.environ, **self._variables(), **self._more_variables}

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        return self._request("GET", path, None)

    def put(self, path: str, body: object = None) -> tuple[int, str]:
        return self._request("PUT", path, body)

    def post(self, path: str, body: object = None) -> tuple[int, str]:
        return self._request("POST", path, body)

    def delete(self, path: str) -> tuple[int, str]:
        return self._request("DELETE", path, None)

    def echo(self, modality: str, timeout: int | None = None) -> tuple[int, str]:
        """Let it send a C-ECHO to a modality that it knows, giving up after `timeout` seconds."""
        return self.post(f"/modalities/{modality}/echo", {} if timeout is None else {"Timeout": timeout})

    def register(self, name: str, ae_title: str, host: str, port: int) -> None:
        """Let it know a modality, until it is stopped."""
        _expect_ok(f"register {name}", self.put(f"/modalities/{name}", [ae_title, host, port]))

    def unregister(self, name: str) -> None:
        _expect_ok(f"unregister {name}", self.delete(f"/modalities/{name}"))

    def _variables(self) -> dict[str, str]:
        """All that the sample leaves open, so that nothing comes from the environment of the tests."""
        return {
            "ORTHANC_DICOM_PORT": str(self.dicom_port),
            "ORTHANC_HTTP_PORT": str(self.http_port),
            "ORTHANC_STORAGE": str(self.folder / "storage"),
            "MINIPACS_AE_TITLE": "MINIPACS",
            "MINIPACS_HOST": "127.0.0.1",
            "MINIPACS_PORT": str(self.minipacs_port),
        }

    def _is_ready(self, _: Child) -> bool:
        """It opens its HTTP port last: when that answers, the DICOM port is open."""
        try:
            status, text = self._request("GET", "/system", None, timeout=_PROBE_TIMEOUT)
        except OSError:
            return False
        if status != HTTPStatus.OK:
            return False
        system = json.loads(text)
        self.ae_title = system["DicomAet"]
        return bool(system["DicomPort"] == self.dicom_port)  # else another Orthanc has our port

    def _request(
        self,
        method: str,
        path: str,
        body: object,
        timeout: float = _HTTP_TIMEOUT,
    ) -> tuple[int, str]:
        """The status and the text of any answer. `body` goes as JSON, unless it is bytes."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = Request(self.url + path, data=data, method=method)
        try:
            with _direct.open(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()


def _expect_ok(what: str, answer: tuple[int, str]) -> None:
    status, text = answer
    if status != HTTPStatus.OK:
        raise RuntimeError(f"{what}: Orthanc answered {status} {text}")


def _with_extra(config: Path, extra: Mapping[str, object], folder: Path) -> Path:
    """`config` with `extra` after its last setting: of two settings of one name, Orthanc takes the later.

    Not in a file of its own: of two files that name the same setting, Orthanc refuses both.
    """
    head, brace, _ = config.read_text().rpartition("}")
    assert brace, f"{config}: no JSON object"
    derived = folder / "orthanc.json"
    derived.write_text(f"{head}, {json.dumps(dict(extra), indent=2).removeprefix('{')}\n")
    return derived
