"""Accepting connections: how it begins, pauses while file descriptors are used up, and ends without losing one.

asyncio's own way tries hundreds of times a second when no descriptor is left, and leaves none to the rest of the
process; nor does it know addresses that are to be refused.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from minipacs import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 64  # connections that are accepted before anybody else has a turn
_RETRY = 1.0  # seconds after which it is tried again, in case that somebody else's file was closed

# What befell the one connection that would have been next (accept(2)). Not every system has them all.
_OF_THAT_CONNECTION = frozenset(
    getattr(errno, name, None)
    for name in (
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EPERM",
        "EPROTO",
    )
)

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Told(Protocol):
    """Whoever is told how accepting fares."""

    def refused(self, address: str) -> None:
        """Take note that a connection from there was closed before a byte was read."""

    def paused(self, error: OSError | None) -> None:
        """Take note that accepting pauses: for *error*, or because few descriptors are left."""

    def resumed(self, seconds: float) -> None:
        """Take note that all who waited are accepted, and for how long accepting had paused."""


class Acceptor:
    """Accepts the connections of several listening sockets, inside a running event loop.

    Args:
        told: how it fares.
        admits: whether connections from an IP address are taken; if that fails, they are not. None: all are.
        spare: file descriptors that are left to the rest of the process, as far as there are as many.
    """

    def __init__(self, told: Told, admits: Callable[[str], bool] | None = None, spare: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._admits = admits
        self._spare = spare
        self._sockets: dict[socket.socket, Callable[[Any], asyncio.BaseProtocol]] = {}
        self._becoming: set[asyncio.Task[Any]] = set()  # connections in a moment
        self._open = 0  # of what was accepted
        self._paused_at: float | None = None
        self._retry: asyncio.TimerHandle | None = None

    def listen(self, sock: socket.socket, make: Callable[[Any], asyncio.BaseProtocol]) -> None:
        """Accept what comes at *sock*, which is ours from now on.

        Args:
            sock: a socket that listens.
            make: returns the protocol of a connection, given the address of the peer as ``accept`` returns it.
        """
        sock.setblocking(False)
        self._sockets[sock] = make
        self._loop.add_reader(sock, self._accept, sock)

    def lost(self) -> None:
        """Take note that one of our connections is gone, which leaves a descriptor in a moment."""
        self._open -= 1
        if self._retry is not None:
            self._loop.call_soon(self._try_again)

    async def close(self) -> None:
        """Accept no more; what was accepted becomes a connection first, or nobody would close it."""
        self._stop_reading()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._becoming:
            await asyncio.wait(self._becoming)
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                self._all_are_accepted()
                return
            except OSError as error:
                if error.errno in _OF_THAT_CONNECTION:
                    continue
                self._pause(error)
                return
            if self._is_admitted(address):
                self._take(connection, address, self._sockets[sock])
            else:
                _reset(connection)
                self._told.refused(address[0])
            if not self._has_room(connection.fileno()):
                self._pause(None)
                return

    def _is_admitted(self, address: Any) -> bool:
        if self._admits is None:
            return True
        try:
            return self._admits(address[0])
        except Exception:  # noqa: BLE001 - a guard that breaks stays shut, whatever broke it
            return False

    def _take(self, connection: socket.socket, address: Any, make: Callable[[Any], asyncio.BaseProtocol]) -> None:
        self._open += 1
        task = self._loop.create_task(self._become(connection, lambda: make(address)))
        self._becoming.add(task)
        task.add_done_callback(self._becoming.discard)

    async def _become(self, connection: socket.socket, make: Callable[[], asyncio.BaseProtocol]) -> None:
        try:
            await self._loop.connect_accepted_socket(make, connection)
        except Exception as error:  # noqa: BLE001 - one connection less
            connection.close()
            self.lost()
            self._loop.call_exception_handler({"message": "a connection could not be taken", "exception": error})

    # --- when descriptors are used up ---------------------------------------------------------------------------------

    def _has_room(self, descriptor: int) -> bool:
        """Whether as many descriptors are left as are to be; the system gives away the lowest that is free."""
        return descriptor < descriptors.soft_limit_less(self._spare) or not self._open

    def _pause(self, error: OSError | None) -> None:
        self._stop_reading()
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY, self._try_again)
        if self._paused_at is None:
            self._paused_at = self._loop.time()
            self._told.paused(error)

    def _try_again(self) -> None:
        if self._retry is None:  # it was tried meanwhile, or is over
            return
        self._retry.cancel()
        self._retry = None
        next_one = _next_descriptor(next(iter(self._sockets)))
        if next_one is not None and self._has_room(next_one):
            for sock in self._sockets:
                self._loop.add_reader(sock, self._accept, sock)
        else:
            self._retry = self._loop.call_later(_RETRY, self._try_again)

    def _all_are_accepted(self) -> None:
        if self._paused_at is not None and self._retry is None:
            self._told.resumed(self._loop.time() - self._paused_at)
            self._paused_at = None

    def _stop_reading(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock)


def _next_descriptor(sock: socket.socket) -> int | None:
    try:
        descriptor = os.dup(sock.fileno())
    except OSError:
        return None
    os.close(descriptor)
    return descriptor


def _reset(connection: socket.socket) -> None:
    """Close so that nothing of it is kept, by the system neither."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    connection.close()
