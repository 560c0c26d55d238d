"""DCMTK's command-line tools as peers: echoscu calls, storescp is called."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .ports import free_port, listens
from .process import Child, running

ECHOSCU = "/usr/bin/echoscu"
DCMQRSCP = "/usr/bin/dcmqrscp"
GETSCU = "/usr/bin/getscu"
STORESCP = "/usr/bin/storescp"
STORESCU = "/usr/bin/storescu"

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


@contextmanager
def dcmqrscp(
    folder: Path, *, ae_title: str, hosts: Mapping[str, tuple[str, int]], args: Sequence[str] = ()
) -> Iterator[StoreSCP]:
    """A dcmqrscp that stores in `folder`/database, and moves to these hosts: AE title → address and port.

    `args` are further options of it.
    """
    port = free_port()
    database = folder / "database"
    database.mkdir(parents=True)
    entries = [f"host{number} = ({title}, {at[0]}, {at[1]})" for number, (title, at) in enumerate(hosts.items())]
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        "\n".join(
            [
                f"NetworkTCPPort = {port}",
                "MaxPDUSize = 16384",
                "MaxAssociations = 16",
                "HostTable BEGIN",
                *entries,
                "HostTable END",
                "VendorTable BEGIN",
                "VendorTable END",
                "AETable BEGIN",
                f"{ae_title} {database} RW (200, 1024mb) ANY",
                "AETable END",
                "",
            ]
        )
    )
    command = [DCMQRSCP, *args, "--config", str(config)]
    with running(command, log=folder / "dcmqrscp.log", ready=lambda child: listens(child.pid, port)) as child:
        yield StoreSCP(ae_title, port, database, child)
