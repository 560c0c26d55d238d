"""DCMTK's command-line tools as peers: echoscu calls, storescp is called."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .ports import free_port, listens
from .process import Child, running

ECHOSCU = "/usr/bin/echoscu"
STORESCP = "/usr/bin/storescp"

# Above the 30 s after which DCMTK itself gives up, so that it is DCMTK that says what happened.
_TIMEOUT = 45.0


@dataclass(frozen=True)
class StoreSCP:
    """A storescp that listens, and answers C-ECHO and C-STORE."""

    ae_title: str
    port: int
    folder: Path
    child: Child

    @property
    def log(self) -> str:
        return self.child.log


def echoscu(*args: str | int) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Mind that it exits 0 for some echoes that have failed."""
    command = [ECHOSCU, *map(str, args)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )


@contextmanager
def storescp(
    folder: Path,
    *,
    ae_title: str,
    port: int | None = None,
    args: Sequence[str] = (),
) -> Iterator[StoreSCP]:
    """Received instances go to `folder`/received; `args` are further options of storescp."""
    port = free_port() if port is None else port
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    command = [STORESCP, "--aetitle", ae_title, "--output-directory", str(received), *args, str(port)]
    with running(command, log=folder / "storescp.log", ready=lambda child: listens(child.pid, port)) as child:
        yield StoreSCP(ae_title, port, received, child)
