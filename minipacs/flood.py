"""A flood of like events: the first are told, the rest is counted, and its count told later. It reads no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

PERIOD = 60.0
"""Seconds in which no more of one kind are told."""

_MOST_KINDS = 1_000

_OTHERS = object()
"""What is of one more kind than are told apart, as in a scan from ever new addresses: together they are one."""


class Flood:
    """Remembers what was told lately, of a bounded number of kinds."""

    def __init__(self) -> None:
        self._periods: dict[Hashable, _Period] = {}  # in the order in which they began

    def take(self, kind: Hashable, now: float, at_most: int = 1, text: str = "") -> int | None:
        """Count one event of *kind*.

        Args:
            kind: what makes two events alike.
            now: the time in seconds.
            at_most: how many of the kind are told in a period; one, where some were passed over in that before.
            text: what there is to say of it, for whoever tells later that more like it came.

        Returns:
            How many like it were passed over since one was told, when this one is to be told; else None.
        """
        if kind not in self._periods and not self._has_room(now):
            kind, text = _OTHERS, f"of more kinds than are told apart, this the last: {text}"
        period = self._periods.get(kind)
        if period is None or now >= period.began + PERIOD:
            untold = 0 if period is None else period.untold
            self._periods.pop(kind, None)
            self._periods[kind] = _Period(now, text, goes_on=untold > 0)
            return untold
        period.text = text
        if period.told < at_most and not period.goes_on:
            period.told += 1
            return 0
        period.untold += 1
        return None

    def untold(self, now: float) -> list[tuple[str, int]]:
        """Take what was passed over in periods that are over; to tell it begins another.

        Returns:
            The last text of each kind, and how many of it were passed over.
        """
        over = {k: p for k, p in self._periods.items() if p.untold and now >= p.began + PERIOD}
        for kind, period in over.items():
            del self._periods[kind]
            self._periods[kind] = _Period(now, period.text, goes_on=True)
        return [(period.text, period.untold) for period in over.values()]

    def next_untold(self) -> float | None:
        """Return when the first period is over in which something was passed over; None when nothing was."""
        return min((period.began + PERIOD for period in self._periods.values() if period.untold), default=None)

    def _has_room(self, now: float) -> bool:
        """Whether one more kind can be told apart, now that the oldest are forgotten where there are too many."""
        while len(self._periods) >= _MOST_KINDS:
            kind, period = next(iter(self._periods.items()))
            if now < period.began + PERIOD:
                return False
            del self._periods[kind]
        return True


class _Period:
    """What became of one kind since it was told."""

    __slots__ = ("began", "goes_on", "text", "told", "untold")

    def __init__(self, began: float, text: str, *, goes_on: bool = False) -> None:
        self.began = began
        self.text = text
        self.goes_on = goes_on  # a flood of the period before: it is told of once a period
        self.told = 1
        self.untold = 0
