"""Steps that take long, one at a time, with time for everything else between two of them. Asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_REST = 0.5
"""How long to rest after a step, as a share of the time that it took."""


class Turns:
    """Runs each step in its turn, on the loop that runs when it is asked for.

    A private key takes milliseconds to sign, and whoever connects may ask for it. However many do so at once: whoever
    needs no such step waits for one of them, and not for all, and no address takes the turn of another. Of one
    address the newest comes first, for whoever has waited long has little left of its deadline.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Callable[[], None]]] = {}  # by address, in the order of their turns
        self._is_due = False

    def take(self, address: str, step: Callable[[], None]) -> None:
        """Run *step* soon, when those of other addresses have had their turn."""
        self._waiting.setdefault(address, []).append(step)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if not self._waiting:
            self._is_due = False
            return
        address = next(iter(self._waiting))
        steps = self._waiting.pop(address)
        step = steps.pop()
        if steps:
            self._waiting[address] = steps  # behind the others
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            step()
        finally:
            loop.call_later((loop.time() - begin) * _REST, self._next)
