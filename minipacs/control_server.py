"""The control socket of a running node: its user asks it for its status, follows its associations, has it forget.

JSON lines, one request a connection: ``{"ask":"status"}`` is answered by one line; ``{"ask":"follow"}`` by
``{"event":"following"}`` and then a line an association that ends; ``{"ask":"forget","sop_instance_uid":…}``, of an
object that it keeps, by ``{"event":"forgotten"}`` and whether it was there; ``{"ask":"take-up","files":[…]}``, once it
is decided about what those hold that the node follows, by ``{"event":"decided","faults":[…]}``: none when that is in
force. Nothing that a client does may harm an association: clients are few, what they send is short, and who does not
read is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol, cast

import msgspec

from minipacs import control_place, control_socket
from minipacs.accepting import Acceptor
from minipacs.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from minipacs.association_record import AssociationRecord
    from minipacs.node_status import NodeStatus

_MOST_CLIENTS = 16
_MOST_FOLLOWERS = 12  # of them, so that there is always room to ask for the status
_MOST_OF_REQUEST = 4_096  # bytes
_MOST_UNREAD = 1 << 20  # bytes that wait for a follower to read them
_PATIENCE = 5.0  # seconds from the connection to the end of it, for all but followers
_PATIENCE_OF_FILES = 10.0  # seconds, for those who wait until files are read

logger = logging.getLogger("minipacs")


class Followed(Protocol):
    """Files that the node follows."""

    @property
    def paths(self) -> Sequence[Path]:
        """They."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Why what they say was not taken, a line each; empty when it was."""

    def concerns(self, path: str) -> bool:
        """Whether that is one of them."""

    def is_up_to_date(self, told: Callable[[], object]) -> bool:
        """Whether it is decided about what they hold now; if not, *told* is called once it is, in any thread."""


class ControlServer:
    """The control socket of one node, inside its event loop.

    Args:
        status: returns what the node says of itself now.
        forget: removes the object of a UID, and returns whether there was one; None where none are kept.
        files: those that the node follows.
    """

    def __init__(
        self,
        status: Callable[[], NodeStatus],
        forget: Callable[[str], bool] | None = None,
        files: Sequence[Followed] = (),
    ) -> None:
        self.status = status
        self.forget = forget
        self.files = files
        self._clients: set[_Client] = set()
        self._followers: set[_Client] = set()
        self._acceptor: Acceptor | None = None
        self._path: Path | None = None
        self._inode: tuple[int, int] | None = None

    async def start(self, address: str, port: int) -> None:
        """Listen for the node at *address* and *port*; when that cannot be, warn: the node does without."""
        if not hasattr(socket, "AF_UNIX"):
            return
        try:
            self._path = control_place.folder_to_serve() / control_place.socket_name(address, port)
            control_place.make(self._path.parent)
            sock, self._inode = await control_socket.listening(self._path)
            self._acceptor = Acceptor(self)
            self._acceptor.listen(sock, lambda _: _Client(self))
            with suppress(OSError):  # without it we are asked, whichever files are meant
                control_place.note_files(self._path, [path for one in self.files for path in one.paths])
        except (ControlError, OSError) as error:
            logger.warning("no control socket, so that `minipacs status` does not see this node: %s", error)

    def tell(self, record: AssociationRecord) -> None:
        """Tell those who follow of an association that has ended."""
        if self._followers:
            line = msgspec.json.encode(record)
            for follower in list(self._followers):
                follower.tell(line)

    def withdraw(self) -> None:
        """Free the place for the next node; those who are here stay."""
        if self._path is not None and self._inode is not None:
            with suppress(OSError):
                if control_socket.inode_of(self._path) == self._inode:  # another node may have put its own there
                    self._path.unlink()
                    control_place.forget_files(self._path)
            self._inode = None

    async def stop(self) -> None:
        """Close everything at once."""
        self.withdraw()
        if self._acceptor is not None:
            await self._acceptor.close()
        for client in list(self._clients):
            client.cut()
        await asyncio.sleep(0)  # in which the transports close their sockets

    async def take_up(self, files: Sequence[str]) -> tuple[str, ...]:
        """Return why what *files* say now is not in force, as far as they are the node's, once that is decided."""
        loop = asyncio.get_running_loop()
        names = list(map(control_place.name_of, files))
        concerned = [one for one in self.files if any(map(one.concerns, names))]
        for one in concerned:
            decided = asyncio.Event()
            if not one.is_up_to_date(partial(loop.call_soon_threadsafe, decided.set)):
                await decided.wait()
        return tuple(fault for one in concerned for fault in one.faults)

    # --- what a client needs ------------------------------------------------------------------------------------------

    def came(self, client: _Client) -> bool:
        """Take note of a client; whether there is room for it."""
        self._clients.add(client)
        return len(self._clients) <= _MOST_CLIENTS

    def follows(self, client: _Client) -> bool:
        """Take note that it follows from now on; whether there is room for it."""
        if len(self._followers) >= _MOST_FOLLOWERS:
            return False
        self._followers.add(client)
        return True

    def follows_no_more(self, client: _Client) -> None:
        """Take note that it does not follow."""
        self._followers.discard(client)

    def left(self, client: _Client) -> None:
        """Take note that it is gone."""
        self._clients.discard(client)
        self.follows_no_more(client)
        if self._acceptor is not None:
            self._acceptor.lost()

    # --- how accepting fares ------------------------------------------------------------------------------------------

    def refused(self, address: str) -> None:
        """Nobody is."""

    def paused(self, error: OSError | None) -> None:
        """It is told already of the ports of peers, which leave us descriptors to spare."""

    def resumed(self, seconds: float) -> None:
        """Nor was the pause told."""


class _Request(msgspec.Struct, frozen=True):
    ask: Literal["status", "follow", "forget", "take-up"]
    sop_instance_uid: str = ""
    files: tuple[str, ...] = ()


class _Client(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._received = b""
        self._is_served = False
        self._timer: asyncio.TimerHandle | None = None
        self._taking_up: asyncio.Task[tuple[str, ...]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._set_deadline()
        if not self._server.came(self):
            self._refuse(f"{_MOST_CLIENTS} clients are here, the most", is_busy=True)

    def data_received(self, data: bytes) -> None:
        self._received += data
        line, newline, more = self._received.partition(b"\n")
        if self._transport.is_closing():
            return
        if self._is_served or more:
            self._refuse("one request a connection")
        elif len(line) > _MOST_OF_REQUEST:
            self._refuse(f"a request has at most {_MOST_OF_REQUEST} bytes")
        elif newline:
            self._received = b""
            self._is_served = True
            self._serve(line)

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._taking_up is not None:
            self._taking_up.cancel()
        self._server.left(self)

    def tell(self, line: bytes) -> None:
        """Send *line* to a follower; one that does not read is dropped."""
        self._send(line)
        if self._transport.get_write_buffer_size() > _MOST_UNREAD:
            self.cut()

    def cut(self) -> None:
        """Close the connection without waiting for anything."""
        self._transport.abort()

    def _serve(self, line: bytes) -> None:
        try:
            request = msgspec.json.decode(line, type=_Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._refuse('a request is {"ask":"status"}, {"ask":"follow"} or {"ask":"forget","sop_instance_uid":"1.2"}')
            return
        if request.ask == "status":
            self._send(msgspec.json.encode(self._server.status()))
            self._transport.close()
        elif request.ask == "forget":
            self._forget(request.sop_instance_uid)
        elif request.ask == "take-up":
            self._set_deadline(_PATIENCE_OF_FILES)
            self._taking_up = asyncio.get_running_loop().create_task(self._server.take_up(request.files))
            self._taking_up.add_done_callback(self._taken_up)
        elif self._server.follows(self):
            assert self._timer is not None
            self._timer.cancel()
            self._send(b'{"event":"following"}')
        else:
            self._refuse(f"{_MOST_FOLLOWERS} clients follow, the most", is_busy=True)

    def _forget(self, uid: str) -> None:
        """Remove an object; not in the loop, for the index may have to wait for its turn."""
        if self._server.forget is None:
            self._refuse("this node keeps no objects")
            return
        asyncio.get_running_loop().run_in_executor(None, self._server.forget, uid).add_done_callback(self._forgotten)

    def _taken_up(self, done: asyncio.Task[tuple[str, ...]]) -> None:
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            self._refuse(f"it cannot be taken up: {error}")
            return
        self._send(msgspec.json.encode({"event": "decided", "faults": list(map(_as_text, done.result()))}))
        self._transport.close()

    def _forgotten(self, done: asyncio.Future[bool]) -> None:
        if (error := done.exception()) is not None:
            self._refuse(f"it cannot be forgotten: {error}")
            return
        self._send(msgspec.json.encode({"event": "forgotten", "was_there": done.result()}))
        self._transport.close()

    def _refuse(self, why: str, *, is_busy: bool = False) -> None:
        self._received = b""
        self._server.follows_no_more(self)
        self._send(msgspec.json.encode({"error": why, "is_busy": is_busy}))
        self._transport.close()
        self._set_deadline()

    def _set_deadline(self, seconds: float = _PATIENCE) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.cut)

    def _send(self, line: bytes) -> None:
        self._transport.write(line + b"\n")


def _as_text(said: str) -> str:
    """Return it as JSON can carry it: the name of a file may be no text."""
    return said.encode(errors="backslashreplace").decode()
