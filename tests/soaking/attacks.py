"""Hostile clients that come in waves: each as many at once on the plain port and on the one for TLS, then a pause.

Beside them, in each wave, peers that are admitted send what is small and dear to whoever stores it or looks it up.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..hostile import Attack, attacking
from ..hostile_images import attacking_images
from .attempts import Book

PAUSE = 4.0
"""Seconds between two waves."""

WAVE = 5.0
"""Seconds for which all of them are there."""

_REHEARSAL = 15.0  # seconds
_CALM = 1.5  # seconds after a wave in which the node still clears up
_PATIENCE = 60.0

ATTACK = Attack(silent=100, half_sent=100, trickling=50, closing=10, http=10, foreign=10, seconds=_PATIENCE)


class Attacks:
    """A thread that lets them come and go."""

    def __init__(self, ports: Sequence[int], index: Path, folder: Path, book: Book) -> None:
        self.waves: list[tuple[float, float]] = []  # when each began and ended, in seconds since the soak began
        self.opened: Counter[str] = Counter()  # connections, by behaviour
        self._ports = ports
        self._index = index
        self._folder = folder
        self._book = book
        self._calm_since: float | None = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="attacks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)

    def rehearse(self) -> None:
        """Attack once before anything is measured: the node then has what it keeps for so many requests at once."""
        with attacking_images(self._ports[0], self._index, seconds=_PATIENCE) as images:
            self._stop.wait(_REHEARSAL)
            images.stop()

    def is_attacked(self) -> bool:
        """Whether they are there, or have just been."""
        calm_since = self._calm_since
        return calm_since is None or time.monotonic() < calm_since + _CALM

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            try:
                self._attack()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and fails the soak
                self._book.fail("the attackers:", f"{type(error).__name__}: {error}")

    def _attack(self) -> None:
        began, self._calm_since = time.monotonic(), None
        with ExitStack() as stack:
            waves = [
                stack.enter_context(attacking(port, replace(ATTACK, tls=bool(number)), self._folder))
                for number, port in enumerate(self._ports)
            ]
            images = stack.enter_context(attacking_images(self._ports[0], self._index, seconds=_PATIENCE))
            self._stop.wait(WAVE)
            for wave in waves:
                for behaviour, counts in wave.stop().items():
                    self.opened[behaviour] += counts.opened
            for behaviour, answers in images.stop().items():
                self.opened[behaviour] += sum(answers.values())
                if "no answer" in answers:
                    self._book.fail("the attackers:", f"{behaviour} got no answer")
        ended = self._calm_since = time.monotonic()
        self.waves.append((began - self._book.started, ended - self._book.started))
