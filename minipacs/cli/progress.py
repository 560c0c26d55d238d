"""A line on the terminal that tells that something is under way, once it takes more than a second."""

from __future__ import annotations

import os
import sys
import threading
from time import monotonic
from typing import Self

_WIDTH = 30  # of a bar
_PAUSE = 0.1  # seconds between two changes of what is shown, at least: a terminal takes its time
_COLUMNS = 80  # of a terminal that does not tell


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()  # None: closed, as by 2>&-


class Progress:
    """Shows *text* and the seconds that went by, for as long as a ``with`` block runs; only on a terminal."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._started = self._last = monotonic()
        self._is_shown = False
        self._thread = threading.Thread(target=self._run, daemon=True) if _is_terminal() else None

    def __enter__(self) -> Self:
        """Begin."""
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and leave no trace."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()
            self.clear()

    def say(self, text: str) -> None:
        """Show another text from now on."""
        self._text = text

    def clear(self) -> None:
        """Take the line away, for another to be written in its place."""
        with self._lock:
            self._last = monotonic()
            if self._is_shown:
                self._is_shown = False
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def _line(self) -> str:
        return f"{self._text} … {self._seconds():.0f} s"

    def _seconds(self) -> float:
        return monotonic() - self._started

    def _run(self) -> None:
        while not self._is_over.wait(1):
            if self._is_due():
                self._show()

    def _is_due(self) -> bool:
        """Whether it is time: not at once after the line was taken away, or another could come behind it."""
        return self._seconds() >= 1 and monotonic() - self._last > _PAUSE

    def _show(self) -> None:
        """Write the line; one that is longer than the terminal is wide could not be taken away."""
        with self._lock:
            self._is_shown = True
            self._last = monotonic()
            sys.stderr.write(f"\r{self._line()[: _columns() - 1]}\x1b[K")
            sys.stderr.flush()


class Bar(Progress):
    """Shows *text*, and how much of something is done, once that is known."""

    def __init__(self, text: str, total: int = 0) -> None:
        super().__init__(text)
        self._done, self._total = 0, total

    def at(self, done: int, total: int) -> None:
        """So much is done, of so much."""
        self._done, self._total = done, total
        if self._thread is not None and self._is_due():
            self._show()

    def _line(self) -> str:
        if not self._total:
            return super()._line()
        full = self._done * _WIDTH // self._total
        left = self._seconds() / self._done * (self._total - self._done) if self._done else None
        time = f"{self._seconds():.0f} s" if left is None else f"{left:.0f} s left"
        return f"{self._text}  [{'#' * full}{'-' * (_WIDTH - full)}]  {self._done} of {self._total} … {time}"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS
