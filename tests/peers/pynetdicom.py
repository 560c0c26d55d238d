"""What pynetdicom needs to be a steady peer."""

import socket
import threading
from contextlib import suppress

from pynetdicom.transport import AssociationSocket

_PATIENCE = 5.0


class Checkpoint(threading.Event):
    """Where its reactor stops while a message is exchanged: for `association._reactor_checkpoint`.

    Its own is left behind before the reactor has really stopped, which then now and then takes the response away from
    whoever waits for it. This one is cleared when the reactor stands.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stands = threading.Event()
        self.set()

    def set(self) -> None:
        self._stands.clear()
        super().set()

    def clear(self) -> None:
        super().clear()
        self._stands.wait(_PATIENCE)

    def wait(self, timeout: float | None = None) -> bool:
        while not super().wait(0.005):
            self._stands.set()
        return True


def _shutdown_socket(self: AssociationSocket) -> None:
    """Close it; else it is left open where the peer was quicker, and fails whichever test runs when it is collected."""
    sock = self.socket  # which another thread may forget meanwhile
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


AssociationSocket._shutdown_socket = _shutdown_socket  # type: ignore[method-assign]
