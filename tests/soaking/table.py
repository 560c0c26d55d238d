"""The peer table that changes each second: written in every way that people and programs write files."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..peers.node import table
from .attempts import Book, Saw
from .follow import NodeLog
from .ledger import Ledger

GUESTS = tuple(f"GUEST{number}" for number in range(8))
NEVER = "NEVER"
"""Is in tables that are broken, and in no other."""

_IN_FORCE = 20.0  # seconds; it takes a fraction of one, unless the machine stands still
_SLICE = 0.5
_BROKEN = '[peers.never]\nae_title = "NEVER"\n\n'


class Changes:
    """A thread that adds and removes guests once a second, and tells the ledger what is in force.

    What is in force the node itself says, by its line `peers: …`; not that it says it, but what clients see then, is
    what is judged.

    Args:
        path: the table.
        permanent: the peers that stay.
        pid: of the node, for SIGHUP.
    """

    def __init__(
        self,
        path: Path,
        permanent: Sequence[Mapping[str, object]],
        pid: int,
        ledger: Ledger,
        log: NodeLog,
        book: Book,
    ) -> None:
        self.delays: list[float] = []  # seconds until each change was in force
        self.broken = self.hangups = 0
        self._path = path
        self._permanent = permanent
        self._pid = pid
        self._ledger = ledger
        self._log = log
        self._book = book
        self._present: set[str] = set()
        self._random = random.Random(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="table", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2 * _IN_FORCE + 5)

    def _run(self) -> None:
        ways = (self._rename, self._write, self._rename_and_hang_up, self._break, self._write_slowly, self._vanish)
        number, due = 0, time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1.0, time.monotonic())
            try:
                ways[number % len(ways)]()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and fails the soak
                self._book.fail("the table:", f"{type(error).__name__}: {error}")
            number += 1

    # --- the ways ---------------------------------------------------------------------------------------------------

    def _rename(self) -> None:
        self._exchange(self._replace)

    def _write(self) -> None:
        self._exchange(self._path.write_text)

    def _rename_and_hang_up(self) -> None:
        def save(text: str) -> None:
            self._replace(text)
            self._hang_up()

        self._exchange(save)

    def _write_slowly(self) -> None:
        def write(text: str) -> None:
            middle = text.rindex('"')  # what is there so far is no TOML
            with self._path.open("w") as file:
                file.write(text[:middle])
                file.flush()
                time.sleep(0.1)
                file.write(text[middle:])

        self._exchange(write)

    def _vanish(self) -> None:
        """The file is deleted, and made again."""
        self._spoil(self._path.unlink)
        self._exchange(self._path.write_text)

    def _break(self) -> None:
        """A table with a fault in it, which nobody may be admitted by; read on demand, too."""
        whole = table(*self._permanent)
        kind = self.broken % 3
        if kind == 0:
            self._spoil(lambda: self._replace(_BROKEN + whole + "\n[peers.cut"))
        elif kind == 1:
            self._spoil(lambda: self._replace(_BROKEN + whole.replace("allow_from", "allowed_from")))
        else:
            self._spoil(lambda: self._replace(_BROKEN + "\x00" + whole))
            self._hang_up()

    # --- how --------------------------------------------------------------------------------------------------------

    def _exchange(self, save: Callable[[str], object]) -> None:
        """Let one or two guests come or go."""
        moving = set(self._random.sample(GUESTS, self._random.randint(1, 2)))
        present = self._present ^ moving
        peers = [{"name": title.lower(), "ae_title": title} for title in sorted(present)]
        self._ledger.change(moving, None)
        seconds = self._until_told("peers-reloaded", lambda: save(table(*self._permanent, *peers)))
        if seconds is None:
            return
        self._present = present
        self.delays.append(seconds)
        for title in moving:
            self._ledger.change([title], Saw.ECHOED if title in present else Saw.REFUSED)

    def _spoil(self, save: Callable[[], object]) -> None:
        if self._until_told("peers-invalid", save) is not None:
            self.broken += 1

    def _until_told(self, event: str, save: Callable[[], object]) -> float | None:
        """Seconds until the node said so."""
        count = self._log.counts[event]
        started = time.monotonic()
        save()
        while not self._log.wait_for(event, count + 1, _SLICE):
            if time.monotonic() > started + _IN_FORCE:
                self._book.fail("the table:", f"the node did not say {event} within {_IN_FORCE:g} s")
                return None
            if self._stop.is_set():
                return None
        return time.monotonic() - started

    def _replace(self, text: str) -> None:
        temporary = self._path.with_name("peers.toml.new")
        temporary.write_text(text)
        temporary.replace(self._path)

    def _hang_up(self) -> None:
        os.kill(self._pid, signal.SIGHUP)
        self.hangups += 1
