"""DCMTK's dcmqrscp, an archive that answers queries, with files of ours in it."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.peers.ports import free_port, listens
from tests.peers.process import running

DCMQRSCP, DCMQRIDX = "/usr/bin/dcmqrscp", "/usr/bin/dcmqridx"

_CONFIG = """
NetworkTCPPort  = {port}
MaxPDUSize      = 16384
MaxAssociations = 16
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
MINIPACS  {folder}  RW (500, 1024mb)  ANY
AETable END
"""


@contextmanager
def dcmqrscp(folder: Path, files: Sequence[Path]) -> Iterator[int]:
    """Run it as MINIPACS, with those files in its index; its port."""
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "dcmqrscp.cfg"
    config.write_text(_CONFIG.format(port=port, folder=folder))
    subprocess.run([DCMQRIDX, str(folder), *map(str, files)], check=True, capture_output=True, timeout=30)
    command = [DCMQRSCP, "-c", str(config)]
    with running(command, log=folder / "dcmqrscp.log", ready=lambda child: listens(child.pid, port)):
        yield port
