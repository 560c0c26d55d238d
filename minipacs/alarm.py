"""A deadline that is put off again and again, as with each byte that comes. Asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Alarm:
    """Calls *expired* once a deadline has passed.

    The timer is left to fire early and look again, which is cheaper than to exchange it each time.

    Args:
        loop: the event loop.
        expired: called then; it may set another.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, deadline: float) -> None:
        """Expire at *deadline* by the clock of the loop, in seconds, in place of the one before."""
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._look)

    def cancel(self) -> None:
        """Expire never more, and keep nothing of whom that concerned."""
        self._expired = _nobody
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self.set(self._deadline)
        else:
            self._expired()


def _nobody() -> None:
    """Is told when nobody is."""
