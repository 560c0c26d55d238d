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
        return self._status("VmRSS")

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(self._folder / "fd"))

    @property
    def context_switches(self) -> int:
        """Of its first thread, since its start."""
        return self._status("voluntary_ctxt_switches") + self._status("nonvoluntary_ctxt_switches")

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its threads, since its start."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for_descriptors(self, count: int, within: float = 30.0) -> None:
        """Wait until it has as many open as that, no more and no fewer."""
        wait_until(lambda: self.descriptors == count, within=within, what=f"{count} descriptors")

    def _status(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
