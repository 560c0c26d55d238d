"""Who is admitted, and since when: what the clients' attempts are judged by."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from .attempts import Saw


@dataclass(frozen=True)
class _State:
    since: float  # time.monotonic()
    wanted: Saw | None


class Ledger:
    """For each title that comes and goes: admitted, refused, or changing right now."""

    def __init__(self, titles: Iterable[str]) -> None:
        now = time.monotonic()
        self._states = {title: _State(now, Saw.REFUSED) for title in titles}
        self._lock = threading.Lock()

    def change(self, titles: Iterable[str], wanted: Saw | None) -> None:
        """From now on; None while the change is not known to be in force."""
        with self._lock:
            now = time.monotonic()
            for title in titles:
                self._states[title] = _State(now, wanted)

    def wanted(self, title: str, started: float) -> Saw | None:
        """What an attempt that began at *started* and has just ended should have seen."""
        with self._lock:
            state = self._states[title]
        return state.wanted if state.since <= started else None
