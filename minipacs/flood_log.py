"""Lines of the log that others can cause: no more than so many a minute of one kind, and then one with their count."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from minipacs.flood import Flood

if TYPE_CHECKING:
    from collections.abc import Hashable

logger = logging.getLogger("minipacs")

AT_ONCE = 10
"""Lines a minute of one kind, where who mends something tries again and again."""


class FloodLog:
    """The log, for what is told no more often than that, in any thread.

    A timer runs only while there is something that is not told yet.
    """

    def __init__(self) -> None:
        self._flood = Flood()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def log(self, kind: Hashable, level: int, text: str, error: BaseException | None = None, at_most: int = 1) -> bool:
        """Log *text*, or count it; return whether it was told.

        Args:
            kind: what makes two events alike.
            level: of the logging module.
            text: what there is to say.
            error: whose traceback is told with it.
            at_most: how many of the kind are told in a minute.
        """
        before = self.passed_over(kind, text, at_most)
        if before is None:
            return False
        logger.log(level, "%s%s", text, before, exc_info=error)
        return True

    def passed_over(self, kind: Hashable, text: str, at_most: int = 1) -> str | None:
        """Return how many of that kind were passed over lately, in words, or None when this one is passed over too.

        Args:
            kind: what makes two events alike.
            text: what there is to say of this one.
            at_most: how many of the kind are told in a minute.
        """
        with self._lock:
            count = self._flood.take(kind, monotonic(), at_most, text)
            if count is None:
                self._wait()
                return None
        return f" (and {count} like it before, untold)" if count else ""

    def close(self) -> None:
        """Tell what is not told yet."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            untold = self._flood.untold(float("inf"))
        self._tell(untold)

    def _wait(self) -> None:
        """Look when there is something to tell; where no thread is left for that, the next event tries again."""
        due = self._flood.next_untold() if self._timer is None else None
        if due is not None:
            timer = threading.Timer(max(0.0, due - monotonic()), self._look)
            timer.daemon = True
            with suppress(RuntimeError):
                timer.start()
                self._timer = timer

    def _look(self) -> None:
        with self._lock:
            self._timer = None
            untold = self._flood.untold(monotonic())
            self._wait()
        self._tell(untold)

    def _tell(self, untold: list[tuple[str, int]]) -> None:
        for text, count in untold:
            logger.warning("%d more like this, untold until now: %s", count, text)
