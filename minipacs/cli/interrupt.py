"""Ctrl-C while a peer works for us: it is asked to stop, and says how far it came. A second one ends at once."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def cancelling(cancel: Callable[[], None]) -> Iterator[None]:
    """Call *cancel*, in a thread of its own, at the first Ctrl-C of the ``with`` block."""
    is_pressed = False

    def on_interrupt(*_: object) -> None:
        nonlocal is_pressed
        if is_pressed:
            raise KeyboardInterrupt
        is_pressed = True
        threading.Thread(target=cancel, daemon=True).start()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
