"""The associations that we have with others for a peer that asked us to, by a C-MOVE: as many as there is room for."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING

from minipacs.services import counting

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.handover import Usage


class NoRoom(Exception):
    """As many associations are open as may be."""


class Errands:
    """Counts them; its methods are called by any thread.

    Attributes:
        count: how many there are now.
        has_room: says whether there may be one more.
    """

    def __init__(self) -> None:
        self.count = 0
        self.has_room: Callable[[], bool] = lambda: True
        self._lock = threading.Lock()

    def begin(self, usage: Usage) -> ExitStack:
        """Count one more until what is returned is closed, and in *usage*, that of the peer.

        Raises:
            NoRoom: there may be no more.
        """
        with self._lock:
            if not self.has_room():
                raise NoRoom("as many associations are open as [limits] allows")
            self.count += 1
            usage.calls += 1
        stack = ExitStack()
        stack.callback(self._end, usage)
        return stack

    def _end(self, usage: Usage) -> None:
        with self._lock:
            self.count -= 1
            usage.calls -= 1


errands: ContextVar[Errands | None] = ContextVar("errands", default=None)
"""Those of the server of the association which the thread serves."""


def begin() -> ExitStack:
    """Count one for the server of this thread, as Errands.begin() does; where no server counts, none is."""
    current, counter = errands.get(), counting.counter.get()
    return ExitStack() if current is None or counter is None else current.begin(counter.usage)
