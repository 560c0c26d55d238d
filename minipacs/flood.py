"""A flood of like events, told in one line a minute with its count. It reads no clock; it is handed the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

PERIOD = 60.0
"""Seconds in which events of one kind are told once."""

_MOST_KINDS = 1_000


class Flood:
    """Remembers what was told lately."""

    def __init__(self) -> None:
        self._told: dict[Hashable, float] = {}
        self._untold: dict[Hashable, int] = {}

    def take(self, kind: Hashable, now: float) -> int | None:
        """Count one event of *kind*.

        Args:
            kind: what makes two events alike.
            now: the time in seconds.

        Returns:
            How many like it were passed over since one was told, when this one is to be told; else None.
        """
        if now < self._told.get(kind, float("-inf")) + PERIOD:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return None
        if len(self._told) >= _MOST_KINDS:  # a scan from ever new addresses
            self._told.clear()
            self._untold.clear()
        self._told[kind] = now
        return self._untold.pop(kind, 0)
