"""The resident memory of processes while something is done, and whether it grows meanwhile."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ..peers.node import environment
from ..peers.process import Child
from ..proc import Process
from .account import Account

PERIOD = 0.02
"""Seconds between two looks."""

MOST_GROWTH = 4.0
"""MiB by which the median of the last quarter may be above that of the second; in the first, it warms up."""

WARM_UP = 2.0
"""Seconds from the start of a client in which its memory may grow: it imports what it needs."""

_FEWEST = 5  # samples in a quarter, else nothing is said
_FEWEST_OF_NEW = round(WARM_UP / 2 / PERIOD)  # on a busy machine it warms up for longer


@dataclass
class Memory:
    """MiB of a process, a sample each time that it was looked at; *is_new*: from its start on."""

    is_new: bool = False
    samples: list[float] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """The most; what lasts shorter than a look may be missed."""
        return max(self.samples, default=0.0)

    @property
    def growth(self) -> float | None:
        """Of the median, from the second quarter to the last; None: too few samples to say."""
        warm = self.samples[round(WARM_UP / PERIOD) :] if self.is_new else self.samples
        quarter = len(warm) // 4
        if quarter < (_FEWEST_OF_NEW if self.is_new else _FEWEST):
            return None
        return median(warm[-quarter:]) - median(warm[quarter : 2 * quarter])


@contextmanager
def watched(pid: int, *, is_new: bool = False) -> Iterator[Memory]:
    """Look at a process, until it ends or the `with` block does."""
    memory, is_over = Memory(is_new), threading.Event()

    def look() -> None:
        process = Process(pid)
        while not is_over.is_set():
            try:
                memory.samples.append(process.resident_kib / 1024)
            except (OSError, StopIteration):  # it has ended
                return
            is_over.wait(PERIOD)

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        is_over.set()
        thread.join()


@dataclass(frozen=True)
class Done:
    """A command that has ended, and the memory of it and of the nodes beside it."""

    exit_code: int
    output: str  # standard output and standard error
    client: Memory
    nodes: Sequence[Memory]


def run(command: Sequence[str], folder: Path, *nodes: int, within: float = 600.0) -> Done:
    """Run it in *folder*, and look at it and at the *nodes*, which are process IDs."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        beside = [stack.enter_context(watched(pid)) for pid in nodes]
        child = Child(command, folder / "client.log", environment(), folder)
        stack.callback(child.end)
        with watched(child.pid, is_new=True) as client:
            exit_code = child.wait(within)
    return Done(exit_code, child.log, client, beside)


def judge_growth(account: Account, what: str, memory: Memory) -> None:
    """Put down the memory of *what*, and that it did not grow."""
    grown = memory.growth
    words = (
        "too short to say whether it grows" if grown is None else f"{grown:+.1f} from the second quarter to the last"
    )
    account.figure(f"memory of {what}", f"{memory.peak:.1f} MiB at most, {words}")
    account.promise(
        grown is None or grown <= MOST_GROWTH,
        f"the memory of {what} grew by {grown or 0:.1f} MiB, more than {MOST_GROWTH:g}",
    )
