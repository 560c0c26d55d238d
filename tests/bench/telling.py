"""How a benchmark goes, on standard error: what is done now, where that is a terminal, and a line a trial."""

import sys
import time
from typing import Self


class Telling:
    """Tells, for as long as a ``with`` block runs."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def now(self, text: str) -> None:
        """Show what is done now, on the line of before."""
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[K{self._at()}  {text}")
            sys.stderr.flush()

    def line(self, text: str) -> None:
        """Show what was done, on a line that stays."""
        self._clear()
        print(f"{self._at()}  {text}", file=sys.stderr, flush=True)

    def _at(self) -> str:
        return f"{time.monotonic() - self._started:4.0f} s"

    def _clear(self) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
