"""Whether somebody has a file open for writing, and who: what is in it may be half of what is meant."""

from __future__ import annotations

import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]


def is_open_for_writing(path: Path) -> bool:
    """Whether a process has the file at *path* open for writing; False as well where that cannot be known.

    Linux grants a read lease on a file of the caller's own only while nobody has it open for writing (fcntl(2),
    F_SETLEASE). Elsewhere, or for a file of another user, it is not known; and a network file system may refuse the
    lease for reasons of its own, so that True means no more than "perhaps".
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


def writer_of(path: Path) -> int | None:
    """Return a process that has the file at *path* open for writing; None when there is none that we may see."""
    if not is_open_for_writing(path):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return next((int(process.name) for process in _processes() if _writes(process, status)), None)


def _processes() -> list[Path]:
    try:
        return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _writes(process: Path, status: os.stat_result) -> bool:
    """Whether *process* has that file open for writing. Who ends meanwhile, or is not ours to look at, has not."""
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return False
    for descriptor in descriptors:
        with suppress(OSError, ValueError, IndexError):
            if os.path.samestat(descriptor.stat(), status):
                flags = (process / "fdinfo" / descriptor.name).read_text().split("flags:")[1].split()[0]
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    return False
