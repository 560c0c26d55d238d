"""What the node says on standard output and standard error, written by a thread that alone waits until it is read."""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOM = 1 << 22
"""Bytes that wait to be written, while as many may be underway."""


class Outlet:
    """Takes lines at once, as far as there is room, and writes them as they are read.

    Args:
        descriptor: where they go.
        dropped: returns the line that says how many were dropped.

    Attributes:
        error: why the last lines could not be written; None when they could.
    """

    def __init__(self, descriptor: int, dropped: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._dropped_line = dropped
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self._is_closed = False
        self.error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="minipacs-outlet", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have *line* written, or count it where there is no room for it."""
        with self._changed:
            if self._is_closed or self._size + len(line) > _ROOM:
                self._dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)
            if len(self._lines) == 1:
                self._changed.notify()

    def end(self) -> None:
        """Take no more; what was taken is still written."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def wait(self, deadline: float) -> None:
        """Wait until all is written, but not beyond *deadline* of the monotonic clock."""
        self._thread.join(max(0.0, deadline - monotonic()))

    def _run(self) -> None:
        while lines := self._next():
            try:
                self._write(b"".join(lines))
                self.error = None
            except OSError as error:  # there is no reader any more, or no room on the disk
                self.error = error
                with self._changed:
                    self._dropped += len(lines)

    def _next(self) -> list[bytes]:
        """Return what is to be written, once there is some; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._is_closed)
            lines, self._lines, self._size = self._lines, [], 0
            if self._dropped and lines:
                lines.append(self._dropped_line(self._dropped))
                self._dropped = 0
        return lines

    def _write(self, data: bytes) -> None:
        """Write all of it; whoever shares the descriptor may have made it one that does not wait."""
        rest = memoryview(data)
        while rest:
            with suppress(BlockingIOError):
                rest = rest[os.write(self._descriptor, rest) :]
                continue
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
