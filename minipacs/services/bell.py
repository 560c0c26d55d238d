"""How a thread that waits for a connection learns of what else it waits for, without looking again and again."""

from __future__ import annotations

import queue
import select
import socket
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Bell:
    """Rung by any thread, and heard by the one that waits.

    Raises:
        OSError: no descriptors are left for it.
    """

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._is_awaited = False

    def ring(self) -> None:
        """Wake whoever waits; for whoever does not, nothing is to be done."""
        if self._is_awaited:
            self._is_awaited = False
            with suppress(OSError):  # it has rung already, or is closed
                self._far.send(b"\0")

    def wait(
        self,
        connection: socket.socket | None,
        seconds: float,
        is_needless: Callable[[], bool],
        events: int = select.POLLIN,
    ) -> bool:
        """Wait until it rings, or something comes on *connection*.

        Args:
            connection: is looked at as well, by poll(2), which takes any descriptor; None: none is.
            seconds: how long at most.
            is_needless: asked when the bell can be heard: whether what rings it is there already.
            events: what is looked for on *connection*; its end is always.

        Returns:
            Whether something came on *connection*, or it is closed.
        """
        poll = select.poll()
        poll.register(self._near, select.POLLIN)
        if connection is not None:
            try:
                poll.register(connection, events)
            except (OSError, ValueError):  # closed under our eyes
                return True
        self._is_awaited = True
        come = [] if is_needless() else [descriptor for descriptor, _ in poll.poll(ceil(max(0.0, seconds) * 1000))]
        self._is_awaited = False
        if (near := self._near.fileno()) in come:
            with suppress(OSError):
                self._near.recv(64)
        return any(descriptor != near for descriptor in come)

    def close(self) -> None:
        """Give its descriptors back; it may be rung all the same."""
        self._near.close()
        self._far.close()


class Ringing(queue.Queue[Any]):
    """A queue that rings for each item which is put into it.

    Args:
        ring: is called, in the thread that puts it.
        most: items that it holds; 0: any number.
    """

    def __init__(self, ring: Callable[[], None], most: int = 0) -> None:
        super().__init__(most)
        self._ring = ring

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._ring()
