"""Where the reactor of an association of pynetdicom stops while we exchange messages on it."""

from __future__ import annotations

import threading

_PATIENCE = 5.0  # seconds; the reactor passes by each millisecond


class Checkpoint(threading.Event):
    """For ``Association._reactor_checkpoint``: cleared when the reactor stands.

    pynetdicom's own is left behind before the reactor has really stopped, so that it now and then takes a response
    away from whoever waits for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stands = threading.Event()
        self.set()

    def set(self) -> None:
        """Let it run."""
        self._stands.clear()
        super().set()

    def clear(self) -> None:
        """Stop it, and wait until it has stopped."""
        super().clear()
        self._stands.wait(_PATIENCE)

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as the reactor calls it, there is none
        """Stand here until it may run; this is called by the reactor."""
        while not self.is_set():
            self._stands.set()
            super().wait()
        return True
