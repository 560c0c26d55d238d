"""What a process of ours has from its first moment to its last: its three descriptors, and what a signal does to it.

It imports next to nothing, for it comes before everything else.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT)

_NUMBERS = (*_STOPS, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # Windows has none

_MOST_AT_ONCE = 1 << 12  # bytes, one a signal


def keep_standard_streams() -> None:
    """Take the descriptors 0 to 2 where they are closed: else a socket gets one of them, and what is printed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - as long as the process


class Signals:
    """What signals do to a node, from before its imports until it has ended: none ends it but by an orderly stop.

    SIGTERM and SIGINT end the start with exit code 0, and one more of them changes nothing; SIGHUP does nothing then,
    for there is nothing to read again.

    Attributes:
        are_held: whether they have been taken over.
    """

    def __init__(self) -> None:
        self.are_held = False
        self._steps: Mapping[signal.Signals, Callable[[], object]] = {}
        self._has_stopped = False

    def hold(self) -> None:
        """Take them over, as long as nothing is there that they could be led to."""
        self.are_held = True
        for number in _NUMBERS:
            signal.signal(number, self._came)

    @contextmanager
    def led_to(self, loop: AbstractEventLoop, steps: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
        """Let each signal do its step in *loop*, which runs in the main thread; behind this, they are ignored.

        asyncio itself lets a signal do what the system does by default again when the loop is closed: end us.
        """
        ours, its = os.pipe()
        os.set_blocking(ours, False)
        os.set_blocking(its, False)
        loop.add_reader(ours, os.read, ours, _MOST_AT_ONCE)  # wakes it, whichever thread the signal came to
        signal.set_wakeup_fd(its, warn_on_full_buffer=False)
        self._steps = {number: partial(loop.call_soon_threadsafe, step) for number, step in steps.items()}
        self.hold()
        if self._has_stopped:  # where a SystemExit was lost: in a finalizer, as of an import
            self._came(signal.SIGTERM, None)
        try:
            yield
        finally:
            self.ignore()
            signal.set_wakeup_fd(-1)
            loop.remove_reader(ours)
            os.close(ours)
            os.close(its)

    def ignore(self) -> None:
        """Let none do anything any more: the process ends of itself."""
        sys.unraisablehook = _but_for_late_signals
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _came(self, number: int, _: FrameType | None) -> None:
        if (step := self._steps.get(signal.Signals(number))) is not None:
            step()
        elif number in _STOPS and not self._has_stopped:
            self._has_stopped = True
            self.ignore()
            raise SystemExit(0)


def _but_for_late_signals(unraisable: sys.UnraisableHookArgs) -> None:
    """Pass over a signal that another thread took just before it was ignored: Python prints a traceback of that."""
    if "ignored due to race condition" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


SIGNALS = Signals()
"""Those of this process."""
