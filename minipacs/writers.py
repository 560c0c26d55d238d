"""Whether somebody has a file open for writing, so that what is in it may be half of what is meant."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path


def is_open_for_writing(path: Path) -> bool:
    """Whether a process has the file at *path* open for writing; False as well where that cannot be known.

    Linux grants a read lease on a file of the caller's own only while nobody has it open for writing (fcntl(2),
    F_SETLEASE). Elsewhere, on a network file system, or for a file of another user, it is not known.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe or a device may do something
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Whoever opens it for writing while we hold the lease makes the kernel send a signal: one that does nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
