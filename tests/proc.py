"""What the kernel tells of a process that runs: memory, descriptors, processor time (Linux, proc(5))."""

import os
from pathlib import Path

from .peers.process import wait_until


class Process:
    """A process of the test's own."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def resident_kib(self) -> int:
        """Its resident memory now, in KiB."""
        return _status(self._folder, "VmRSS")

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(self._folder / "fd"))

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return len(os.listdir(self._folder / "task"))

    @property
    def context_switches(self) -> int:
        """Of all its threads that run now, since their start."""
        tasks = list((self._folder / "task").iterdir())
        return sum(_status(task, f"{kind}_ctxt_switches") for task in tasks for kind in ("voluntary", "nonvoluntary"))

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its threads, since its start."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for_descriptors(self, count: int, within: float = 30.0) -> None:
        """Wait until it has as many open as that, no more and no fewer."""
        wait_until(lambda: self.descriptors == count, within=within, what=f"{count} descriptors")


def peak_kib(pid: int) -> int:
    """The most resident memory that a process has had since it began to run its program, in KiB; 0 when it is gone."""
    try:
        return _status(Path(f"/proc/{pid}"), "VmHWM")
    except (OSError, StopIteration):
        return 0


def children(pid: int) -> list[int]:
    """The processes that it has started and that still run."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _status(folder: Path, name: str) -> int:
    lines = (folder / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
