"""What pynetdicom needs to be a steady peer."""

import threading

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
