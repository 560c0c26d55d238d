"""A line on the terminal that tells that something is under way, once it takes more than a second."""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import Self


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()  # None: closed, as by 2>&-


class Progress:
    """Shows *text* and the seconds that went by, for as long as a ``with`` block runs; only on a terminal."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_over = threading.Event()
        self._shown = threading.Lock()
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
        if self._thread is not None:
            with self._shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def _run(self) -> None:
        started = monotonic()
        while not self._is_over.wait(1):
            with self._shown:
                sys.stderr.write(f"\r\x1b[K{self._text} … {monotonic() - started:.0f} s")
                sys.stderr.flush()


class Bar:
    """A bar on the terminal, once what is under way takes more than a second; only on a terminal."""

    def __init__(self, text: str, length: int | None = None) -> None:
        import click

        self._started = monotonic()
        self._bar = click.progressbar(length=length or 1, label=text, file=sys.stderr, show_pos=True)
        self._is_shown = False

    def at(self, done: int, length: int | None = None) -> None:
        """So much is done, of so much where that is known only now."""
        if length:
            self._bar.length = length
        if _is_terminal() and (self._is_shown or monotonic() - self._started > 1):
            self._is_shown = True
            self._bar.update(done - self._bar.pos)

    def clear(self) -> None:
        """Take the line away, for another to be written in its place, or at the end."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
