"""The connections without an association: who of them gives way when they are too many, or hold too much. No I/O.

A good peer is seldom the one: it is among the newest, and what it sends is short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from minipacs.settings import Limits

C = TypeVar("C")


class Crowd(Generic[C]):
    """Remembers them in the order in which they came.

    Args:
        limits: how many may be open, how many speak TLS, and how much they may hold.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[C, int] = {}  # bytes
        self._total = 0
        self._secured: dict[C, None] = {}

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self._held)

    def join(self, one: C, connections: int) -> C | None:
        """Take note of a new connection; return the oldest, no longer one of us, if it has to give way.

        Args:
            one: the new connection.
            connections: how many are open, with an association or without.
        """
        self._held[one] = 0
        return self._without(next(iter(self._held))) if connections > self._limits.connections else None

    def hold(self, one: C, size: int) -> C | None:
        """Take note that *one* holds *size* bytes; return who holds most, no longer one of us, if it is too much."""
        if one in self._held:
            self._total += size - self._held[one]
            self._held[one] = size
        if self._total <= self._limits.unfinished:
            return None
        return self._without(max(self._held, key=lambda other: self._held[other]))

    def secure(self, one: C) -> C | None:
        """Take note that *one* speaks TLS; return the oldest that does, no longer one of us, if it has to give way."""
        if one in self._held:
            self._secured[one] = None
        return self._without(next(iter(self._secured))) if len(self._secured) > self._limits.handshakes else None

    def leave(self, one: C) -> None:
        """Forget *one*, if it is one of us."""
        self._total -= self._held.pop(one, 0)
        self._secured.pop(one, None)

    def _without(self, one: C) -> C:
        """Not when it is lost: of many that come at once, each makes another give way."""
        self.leave(one)
        return one
