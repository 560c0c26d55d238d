"""Lines of the log that peers can cause in the threads of associations: so many a minute of a kind, and a count."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING

from minipacs.flood import Flood

if TYPE_CHECKING:
    from collections.abc import Hashable

_MOST = 60  # of a kind in a minute

logger = logging.getLogger("minipacs")


class Told:
    """The log, for what is told no more often than that; safe to use from several threads."""

    def __init__(self) -> None:
        self._flood = Flood()
        self._lock = threading.Lock()

    def log(self, kind: Hashable, level: int, text: str) -> None:
        """Log *text*, which is safe to show, with how many of its *kind* were passed over before it; or count it."""
        with self._lock:
            count = self._flood.take(kind, monotonic(), _MOST, text)
        if count is not None:
            before = f" (and {count} like it before, untold)" if count else ""
            logger.log(level, "storage: %s%s", text, before)
