"""Servers that store images, each in a process of its own that begins with nothing stored."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..peers import dcmtk
from ..peers.node import environment, serving, table
from ..peers.orthanc import Orthanc
from ..peers.ports import free_port, listens
from ..peers.process import running
from ..proc import peak_kib
from .client import CALLED, CALLING, HOST
from .figures import OURS
from .servers import ORTHANC, STORESCP

PYNETDICOM_STORESCP, DCMQRSCP = "pynetdicom storescp", "dcmqrscp"


@dataclass(frozen=True)
class ImageServer:
    """One that listens, and how many objects it has."""

    port: int
    pid: int
    stored: Callable[[], int]

    @property
    def peak_megabytes(self) -> float:
        """The most memory that it has had."""
        return peak_kib(self.pid) * 1.024 / 1000


Start = Callable[[Path], AbstractContextManager[ImageServer]]


@contextmanager
def _minipacs(folder: Path) -> Iterator[ImageServer]:
    """With its defaults: each object is on the disk before it is acknowledged, and in the index."""
    with serving(folder, table({"name": "bench", "ae_title": CALLING}), "--storage", "kept") as node:
        yield ImageServer(node.port, node.child.pid, _counting(folder / "kept" / "objects", "*/*.dcm"))


@contextmanager
def _pynetdicom(folder: Path) -> Iterator[ImageServer]:
    """Its storescp, straight."""
    port, received = free_port(), folder / "received"
    options = ["--ae-title", CALLED, "--bind-address", HOST, "--output-directory", str(received)]
    command = [sys.executable, "-m", "pynetdicom", "storescp", *options, str(port)]
    with running(
        command, log=folder / "log", ready=lambda child: listens(child.pid, port), env=environment(), cwd=folder
    ) as child:
        yield ImageServer(port, child.pid, _counting(received, "*"))


@contextmanager
def _storescp(folder: Path) -> Iterator[ImageServer]:
    """As it ships."""
    with dcmtk.storescp(folder, ae_title=CALLED) as scp:
        yield ImageServer(scp.port, scp.child.pid, _counting(scp.folder, "*"))


@contextmanager
def _dcmqrscp(folder: Path) -> Iterator[ImageServer]:
    with dcmtk.dcmqrscp(folder, ae_title=CALLED, hosts={}) as scp:
        yield ImageServer(scp.port, scp.child.pid, _counting(scp.folder, "*.dcm"))


@contextmanager
def _orthanc(folder: Path) -> Iterator[ImageServer]:
    """With its own storage and index, open to all, and without a log of each step."""
    extra = dict.fromkeys(("DicomAlwaysAllowStore", "DicomAlwaysAllowGet"), True)
    with Orthanc(folder, minipacs_port=1, extra=extra, options=()) as server:
        yield ImageServer(
            server.dicom_port, server.pid, lambda: int(json.loads(server.get("/statistics")[1])["CountInstances"])
        )


def _counting(folder: Path, pattern: str) -> Callable[[], int]:
    return lambda: sum(1 for _ in folder.glob(pattern))


STORING: dict[str, Start] = {
    OURS: _minipacs,
    PYNETDICOM_STORESCP: _pynetdicom,
    STORESCP: _storescp,
    ORTHANC: _orthanc,
}

RETRIEVING: dict[str, Start] = {OURS: _minipacs, DCMQRSCP: _dcmqrscp, ORTHANC: _orthanc}
