"""The servers that are measured, each in a process of its own on a free port: ours, and what else people would use."""

import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..peers.dcmtk import storescp
from ..peers.node import environment, serving, table
from ..peers.orthanc import Orthanc
from ..peers.process import Child, running
from ..proc import Process
from .client import CALLED, CALLING
from .figures import OURS

ROOT = Path(__file__).parents[2]

PYNETDICOM, STORESCP, STORESCP_FORK, ORTHANC = "pynetdicom", "storescp", "storescp --fork", "Orthanc"
ASYNCIO, BLOCKING = "asyncio ping-pong", "blocking ping-pong"

_PYNETDICOM = """
import sys, threading
from pynetdicom import AE
ae = AE("MINIPACS")
ae.add_supported_context("1.2.840.10008.1.1")
if sys.argv[2:]:
    ae.maximum_associations = int(sys.argv[2])
server = ae.start_server(("127.0.0.1", int(sys.argv[1])), block=False)
print("listening on", "127.0.0.1:%d," % server.socket.getsockname()[1], flush=True)
threading.Event().wait()
"""

# As many at once as a benchmark asks for; whatever else it may take is as it is by default.
_LIMITS = "[limits]\nassociations = 2000\nassociations_per_peer = 2000\nconnections = 4000\n[timeouts]\nidle = 3600\n"
_MANY = 2000


@dataclass(frozen=True)
class Server:
    """One that listens."""

    port: int
    process: Process


Start = Callable[[Path], AbstractContextManager[Server]]


def allow_many_files() -> None:
    """Raise our limit of open files, which our children inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))


@contextmanager
def started(starts: Mapping[str, Start], folder: Path) -> Iterator[dict[str, Server]]:
    """Run them all, each in a folder of its own below *folder*."""
    with ExitStack() as stack:
        servers = {}
        for number, (name, start) in enumerate(starts.items()):
            own = folder / f"server-{number}"
            own.mkdir(parents=True)
            servers[name] = stack.enter_context(start(own))
        yield servers


def pynetdicom_command(port: int = 0, most: int | None = _MANY) -> list[str]:
    """A Verification SCP of pynetdicom's, for *most* associations at once; None: its default, which is 10."""
    return [sys.executable, "-c", _PYNETDICOM, str(port), *([] if most is None else [str(most)])]


def _minipacs(settings: str = "") -> Start:
    """The node as users run it, with a table of one peer."""

    @contextmanager
    def start(folder: Path) -> Iterator[Server]:
        conf = folder / "conf"
        conf.mkdir()
        (conf / "minipacs.toml").write_text(settings)
        with serving(folder, table({"name": "bench", "ae_title": CALLING})) as node:
            yield Server(node.port, Process(node.child.pid))

    return start


def _printing(command: Sequence[str]) -> Start:
    """One of our scripts, which prints where it listens."""

    @contextmanager
    def start(folder: Path) -> Iterator[Server]:
        def line(child: Child) -> str:
            return next((text for text in child.log.splitlines(keepends=True) if text.endswith(",\n")), "")

        with running(
            command, log=folder / "log", ready=lambda child: bool(line(child)), env=environment(), cwd=ROOT
        ) as child:
            yield Server(int(line(child).rpartition(":")[2].rstrip(",\n")), Process(child.pid))

    return start


def _storescp(*options: str) -> Start:
    @contextmanager
    def start(folder: Path) -> Iterator[Server]:
        with storescp(folder, ae_title=CALLED, args=options) as scp:
            yield Server(scp.port, Process(scp.child.pid))

    return start


@contextmanager
def _orthanc(folder: Path) -> Iterator[Server]:
    """As it is by default, it lets anybody echo."""
    with Orthanc(folder, minipacs_port=1, extra={"DicomAlwaysAllowEcho": True}) as server:
        yield Server(server.dicom_port, Process(server.pid))


SERVERS: dict[str, Start] = {
    OURS: _minipacs(_LIMITS),
    PYNETDICOM: _printing(pynetdicom_command()),
    STORESCP: _storescp(),
    STORESCP_FORK: _storescp("--fork"),
    ORTHANC: _orthanc,
}

BY_DEFAULT: dict[str, Start] = {
    OURS: _minipacs(),
    PYNETDICOM: _printing(pynetdicom_command(most=None)),
    STORESCP: _storescp(),
    ORTHANC: _orthanc,
}
"""As they are when nobody says otherwise."""

LIMITS: dict[str, Start] = {
    name: _printing([sys.executable, "-m", "tests.bench.pingpong", name.split()[0]]) for name in (ASYNCIO, BLOCKING)
}
