"""Descriptors below the 1 024th, put by for those who can wait on no other (select(2)), as pynetdicom."""

from __future__ import annotations

import errno
import os
import socket

_LIMIT = 1024


class LowDescriptors:
    """Keeps some, for when connections hold all the others.

    Args:
        count: how many, as far as there are as many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[int] = []
        self.refill()

    def lowered(self, sock: socket.socket) -> socket.socket:
        """Return *sock* as it is when its descriptor is low, else on one that is.

        Raises:
            OSError: none is left; *sock* is closed.
        """
        if sock.fileno() < _LIMIT:
            return sock
        with sock:
            if not self._kept:
                raise OSError(errno.EMFILE, f"no file descriptor below {_LIMIT} is left")
            descriptor = self._kept.pop()
            os.dup2(sock.fileno(), descriptor, inheritable=False)
        return socket.socket(fileno=descriptor)

    def refill(self) -> None:
        """Put as many by as are free."""
        while len(self._kept) < self._count:
            try:
                descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return
            if descriptor >= _LIMIT:
                os.close(descriptor)
                return
            self._kept.append(descriptor)

    def close(self) -> None:
        """Give all back."""
        while self._kept:
            os.close(self._kept.pop())
