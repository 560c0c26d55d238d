"""What ends a command before its time: it takes away what it has begun, and says how far it came."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def stoppable(*numbers: signal.Signals) -> Iterator[None]:
    """Let these signals stop the ``with`` block as Ctrl-C does, once: what was begun is taken away meanwhile.

    But what we were started to ignore, as by nohup, we ignore.
    """

    def stop(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def cancelling(cancel: Callable[[], None]) -> Iterator[None]:
    """While a peer works for us: call *cancel*, in a thread of its own, at the first Ctrl-C of the ``with`` block.

    So it is asked to stop, and says how far it came. A second one ends at once.
    """
    import threading

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
