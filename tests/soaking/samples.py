"""Memory, descriptors and work of the node, each half second; and whether they stay flat."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median
from typing import TextIO

PERIOD = 0.5
WARM_UP = 10.0
"""Seconds from the first sample in which memory and descriptors may grow: imports, the first of each kind of peer."""

MOST_GROWTH = 4096
"""KiB by which the median of the last third may be above that of the first."""

MOST_DESCRIPTORS = 2
"""By how many the median of the last third may be above that of the first; they come and go with the peers."""

_FEWEST = 5  # samples in a third, else nothing is said
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    elapsed_s: float
    rss_kib: int
    descriptors: int
    threads: int
    cpu_s: float
    is_attacked: int  # 1 while attackers are there, and for a while after


def read_sample(pid: int, elapsed: float, is_attacked: bool) -> Sample:
    """Look at a process by /proc."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    ticks = (process / "stat").read_text().rpartition(")")[2].split()
    return Sample(
        elapsed_s=round(elapsed, 3),
        rss_kib=int(status["VmRSS"].split()[0]),
        descriptors=len(os.listdir(process / "fd")),
        threads=int(status["Threads"]),
        cpu_s=(int(ticks[11]) + int(ticks[12])) / _TICK,
        is_attacked=int(is_attacked),
    )


class Sampler:
    """A thread that takes a sample each half second, and writes it to a CSV file."""

    def __init__(self, pid: int, started: float, is_attacked: Callable[[], bool], file: TextIO) -> None:
        self.samples: list[Sample] = []
        self._pid = pid
        self._started = started
        self._is_attacked = is_attacked
        self._file = file
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
        file.write(",".join(field.name for field in fields(Sample)) + "\n")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10 * PERIOD)

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            try:
                sample = read_sample(self._pid, time.monotonic() - self._started, self._is_attacked())
            except (OSError, KeyError):  # it has ended, which others tell
                return
            self.samples.append(sample)
            self._file.write(",".join(map(str, astuple(sample))) + "\n")


@dataclass(frozen=True)
class Growth:
    """Of the medians, from the first third to the last, while nobody attacks; None: too few samples to say."""

    rss_kib: float | None
    descriptors: float | None

    def faults(self) -> list[str]:
        faults = []
        if self.rss_kib is not None and self.rss_kib > MOST_GROWTH:
            faults.append(f"memory grew by {self.rss_kib:.0f} KiB, more than {MOST_GROWTH}")
        if self.descriptors is not None and self.descriptors > MOST_DESCRIPTORS:
            faults.append(f"open descriptors grew by {self.descriptors:g}, more than {MOST_DESCRIPTORS}")
        return faults


def growth(samples: Sequence[Sample]) -> Growth:
    """How much more there is in the last third than in the first, after the warm-up."""
    warm = [sample for sample in samples if sample.elapsed_s >= samples[0].elapsed_s + WARM_UP]
    if not warm:
        return Growth(None, None)
    begin, end = warm[0].elapsed_s, warm[-1].elapsed_s
    third = (end - begin) / 3
    calm = [sample for sample in warm if not sample.is_attacked]
    first = [sample for sample in calm if sample.elapsed_s <= begin + third]
    last = [sample for sample in calm if sample.elapsed_s >= end - third]
    if min(len(first), len(last)) < _FEWEST:
        return Growth(None, None)
    return Growth(
        median(sample.rss_kib for sample in last) - median(sample.rss_kib for sample in first),
        median(sample.descriptors for sample in last) - median(sample.descriptors for sample in first),
    )
