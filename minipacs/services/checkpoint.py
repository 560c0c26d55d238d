"""Where the reactor of an association of pynetdicom stands: while we exchange messages on it, and while it is idle."""

from __future__ import annotations

import threading

_PATIENCE = 5.0  # seconds, for the reactor to come by
_LOOK = 1.0  # seconds; it is rung for all that it waits for but the deadline of an association that is idle


class Checkpoint(threading.Event):
    """For ``Association._reactor_checkpoint``: it is clear once the reactor stands.

    pynetdicom's own is left behind before the reactor has really stopped, so that it now and then takes a response
    away from whoever waits for it.

    Args:
        reactor: the thread that stands here.
    """

    def __init__(self, reactor: threading.Thread) -> None:
        super().__init__()
        self._reactor = reactor
        self._changed = threading.Condition()
        self._is_open = self._is_rung = True
        self._stands = False

    def is_set(self) -> bool:
        """Whether the reactor may run."""
        return self._is_open

    def set(self) -> None:
        """Let it run."""
        with self._changed:
            self._is_open = self._is_rung = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Stop it, and wait until it has stopped; it does not wait for itself, when it serves a request."""
        with self._changed:
            self._is_open = False
            if threading.current_thread() is not self._reactor:
                self._changed.wait_for(lambda: self._stands, _PATIENCE)

    def ring(self) -> None:
        """Tell that there is something to do."""
        with self._changed:
            self._is_rung = True
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as the reactor calls it, there is none
        """Stand here until it may run, and there is something to do; this is called by the reactor."""
        with self._changed:
            self._stands = True
            self._changed.notify_all()
            if self._is_open and not self._is_rung:
                self._changed.wait(_LOOK)
            self._changed.wait_for(lambda: self._is_open)
            self._stands = self._is_rung = False
        return True
