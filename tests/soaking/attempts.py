"""What a client tried, what came of it, and what should have: the book in which every attempt is judged."""

import csv
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TextIO

_TOLD = 5  # failures of one kind that are told in full


class Saw(StrEnum):
    """What a client saw."""

    ECHOED = "echoed"
    REFUSED = "refused"  # said no in the way that belongs to it, and not by silence or a fault
    NEITHER = "neither"


@dataclass(frozen=True)
class Attempt:
    """One association of a client, from its connection to its end. Times are those of time.monotonic(), in seconds."""

    client: str
    who: str  # the title by which it called, and from where if that matters
    started: float
    ended: float
    wanted: Saw | None  # None: whether it is to be admitted changed meanwhile, so that nothing is expected
    saw: Saw
    told: str = ""  # what went wrong, in the words of the client
    measured_ms: float | None = None  # where the whole of it is not what counts

    @property
    def is_failure(self) -> bool:
        return self.wanted is not None and self.saw is not self.wanted

    @property
    def ms(self) -> float:
        return (self.ended - self.started) * 1000 if self.measured_ms is None else self.measured_ms


@dataclass
class Tally:
    """All attempts of one client."""

    right: int = 0
    wrong: int = 0
    unjudged: int = 0
    refused: int = 0
    elapsed: "array[float]" = field(default_factory=lambda: array("d"))  # seconds since the soak began
    ms: "array[float]" = field(default_factory=lambda: array("d"))


class Book:
    """Takes attempts from any thread, writes each to a CSV file, and keeps what fails."""

    def __init__(self, file: TextIO, started: float) -> None:
        self.started = started
        self.tallies: dict[str, Tally] = {}
        self.failures: list[str] = []
        self.failure_count = 0
        self._told: Counter[str] = Counter()
        self._rows = csv.writer(file, lineterminator="\n")
        self._lock = threading.Lock()
        self._rows.writerow(("elapsed_s", "client", "who", "ms", "wanted", "saw"))

    def enter(self, attempt: Attempt) -> None:
        with self._lock:
            tally = self.tallies.setdefault(attempt.client, Tally())
            elapsed = attempt.started - self.started
            tally.elapsed.append(elapsed)
            tally.ms.append(attempt.ms)
            wanted = attempt.wanted or "-"
            row = (f"{elapsed:.3f}", attempt.client, attempt.who, f"{attempt.ms:.3f}", wanted, attempt.saw)
            self._rows.writerow(row)
            if attempt.wanted is None:
                tally.unjudged += 1
            elif not attempt.is_failure:
                tally.right += 1
                tally.refused += attempt.saw is Saw.REFUSED
            else:
                tally.wrong += 1
                self._fail(elapsed, f"{attempt.client}: {attempt.who}", _wrong(attempt))

    def fail(self, where: str, what: str) -> None:
        """Take note of something else that must not be."""
        with self._lock:
            self._fail(time.monotonic() - self.started, where, what)

    def counts(self) -> tuple[int, int, int]:
        """Echoes of admitted peers, strangers refused, failures; so far."""
        with self._lock:
            tallies = self.tallies.values()
            refused = sum(tally.refused for tally in tallies)
            return sum(tally.right for tally in tallies) - refused, refused, self.failure_count

    def _fail(self, elapsed: float, where: str, what: str) -> None:
        self.failure_count += 1
        self._told[where] += 1
        if self._told[where] <= _TOLD:
            self.failures.append(f"{elapsed:.1f} s: {where} {what}")


def _wrong(attempt: Attempt) -> str:
    if attempt.wanted is Saw.ECHOED:
        return f"is admitted, and its echo failed after {attempt.ms:.0f} ms: {attempt.told}"
    if attempt.saw is Saw.ECHOED:
        return "is a stranger, and got in"
    return f"is a stranger, and was not refused as it should be: {attempt.told}"


class Client:
    """A thread that tries again and again, at a steady rate, one attempt after the other."""

    def __init__(self, name: str, period: float, attempt: Callable[[], Attempt], book: Book) -> None:
        self.name = name
        self._period = period
        self._attempt = attempt
        self._book = book
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let it finish what it is at, and begin nothing more."""
        self._stop.set()

    def join(self, within: float) -> None:
        self._thread.join(within)
        if self._thread.is_alive():
            self._book.fail(f"{self.name}:", f"its last attempt did not end within {within:g} s")

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period, time.monotonic())  # who is late does not hurry afterwards
            try:
                self._book.enter(self._attempt())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and fails the soak
                self._book.fail(f"{self.name}:", f"{type(error).__name__}: {error}")
