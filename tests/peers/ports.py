"""TCP ports of this machine: one that is free, and whether a process listens on one."""

import socket
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN, as the kernel's tables write it


def free_port() -> int:
    """A port that nobody uses now. Another process may take it before you do: whoever starts must notice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens there. Asks the kernel, not the listener.

    To a DICOM node, a connection made to find out is an association that failed; and who answers it may be
    another process, which had the port before.
    """
    try:
        mine = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # it has just ended, or closed a file under our eyes: no, for now
        return False
    return any(f"socket:[{inode}]" in mine for inode in _listeners(port))


def _listeners(port: int) -> list[str]:
    """The inodes of the sockets that listen on `port`, of whatever process."""
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]
