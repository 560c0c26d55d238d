"""TCP ports of this machine: one that is free, and whether a process listens on one."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN, as the kernel's tables write it


_FIRST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 100

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody uses now, and a new one each time.

    It is none of those that the kernel gives to whoever leaves the choice to it, such as every connection that is made
    until you take it. Another process may choose it all the same: whoever starts must notice.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_first_ephemeral() - _FIRST)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
    raise RuntimeError(f"no port is free in {_TRIES} tries")


def _first_ephemeral() -> int:
    """The first that the kernel gives; behind all of them, where it gives nearly every port, or does not tell."""
    if not _EPHEMERAL.exists():
        return 1 << 15
    first = int(_EPHEMERAL.read_text().split()[0])
    return first if first > 2 * _FIRST else 1 << 16


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


def has_ipv6() -> bool:
    """Whether this machine has the address ::1."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
