"""Lines of the log that others can cause: no more than so many a minute of one kind, and then one with their count."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from minipacs.flood import Flood

if TYPE_CHECKING:
    from collections.abc import Hashable

logger = logging.getLogger("minipacs")


class FloodLog:
    """The log, for what is told no more often than that; inside a running event loop.

    A timer runs only while there is something that is not told yet.
    """

    def __init__(self) -> None:
        self._flood = Flood()
        self._timer: asyncio.TimerHandle | None = None

    def log(self, kind: Hashable, level: int, text: str, error: BaseException | None = None) -> bool:
        """Log *text*, or count it; return whether it was told.

        Args:
            kind: what makes two events alike.
            level: of the logging module.
            text: what there is to say.
            error: whose traceback is told with it.
        """
        before = self.passed_over(kind, text)
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
        loop = asyncio.get_running_loop()
        count = self._flood.take(kind, loop.time(), at_most, text)
        if count is None:
            self._wait()
            return None
        return f" (and {count} like it before, untold)" if count else ""

    def close(self) -> None:
        """Tell what is not told yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell(self._flood.untold(float("inf")))

    def _wait(self) -> None:
        due = self._flood.next_untold() if self._timer is None else None
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        self._tell(self._flood.untold(asyncio.get_running_loop().time()))
        self._wait()

    def _tell(self, untold: list[tuple[str, int]]) -> None:
        for text, count in untold:
            logger.warning("%d more like this, untold until now: %s", count, text)
