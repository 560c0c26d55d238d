"""Asking a running node of this user, through its control socket: plain blocking sockets, every wait bounded."""

from __future__ import annotations

import socket
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from minipacs import control_place
from minipacs.association_record import AssociationRecord
from minipacs.errors import ControlError
from minipacs.node_status import NodeStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MOST_OF_LINE = 64 << 20  # bytes; the status of 5 000 peers takes one hundredth of it
_PAUSE = 0.05  # seconds, before asking again a node that is busy
_EVERY = {"0.0.0.0": 4, "::": 6}  # noqa: S104 - recognised, not listened on


class NodeControl:
    """A running node that can be asked; a ``with`` block closes what it opened.

    Args:
        path: its control socket.
        timeout: seconds for each answer.
    """

    def __init__(self, path: Path, timeout: float = 2.0) -> None:
        self._path = path
        self._timeout = timeout
        self._followed: _Lines | None = None

    def status(self) -> NodeStatus:
        """Return what the node says of itself now.

        Raises:
            ControlError: it does not answer in time, or is gone.
        """
        lines, status = self._ask("status", NodeStatus)
        lines.close()
        assert isinstance(status, NodeStatus)
        return status

    def follow(self) -> None:
        """Follow the associations of the node: none that ends after this returns is missed.

        Raises:
            ControlError: it does not answer in time, or is gone.
        """
        if self._followed is None:
            self._followed, _ = self._ask("follow", _Following)

    def forget(self, sop_instance_uid: str) -> bool:
        """Have the node remove the object of that UID from what it keeps; False when it has none.

        Raises:
            ControlError: it does not answer in time, is gone, keeps no objects, or cannot remove it.
        """
        lines, answer = self._ask("forget", _Forgotten, sop_instance_uid=sop_instance_uid)
        lines.close()
        assert isinstance(answer, _Forgotten)
        return answer.was_there

    def take_up(self, files: Sequence[str]) -> tuple[str, ...]:
        """Have the node take up what *files* say now, as far as it follows them; return once that is decided.

        Returns:
            Why it is not in force, a line each; empty when it is, or when the node follows none of them.

        Raises:
            GoneError: it is gone.
            ControlError: it does not answer in time, or is of another version.
        """
        lines, answer = self._ask("take-up", _Decided, files=list(map(control_place.text_of, files)))
        lines.close()
        assert isinstance(answer, _Decided)
        return answer.faults

    def next_association(self, timeout: float) -> AssociationRecord:
        """Return the next association that ended since `follow`, in the order in which they ended.

        Args:
            timeout: seconds to wait for it.

        Raises:
            TimeoutError: none ended in time; the next call goes on to wait.
            ControlError: the node is gone, or dropped us because we did not read; or `follow` was not called.
        """
        if self._followed is None:
            raise ControlError("next_association: must come after follow")
        association = self._followed.next(AssociationRecord, monotonic() + timeout)
        assert isinstance(association, AssociationRecord)
        return association

    def close(self) -> None:
        """Close what was opened."""
        if self._followed is not None:
            self._followed.close()
            self._followed = None

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _ask(self, what: str, answer_type: type[Any], **more: object) -> tuple[_Lines, Any]:
        """Return the connection and the answer on it; a node that is busy is asked again until it is too late."""
        deadline = monotonic() + self._timeout
        while True:
            lines = _Lines(self._path)
            try:
                return lines, lines.ask({"ask": what, **more}, answer_type, deadline)
            except TimeoutError:
                lines.close()
                late = f"{self._path}: the node does not answer within {self._timeout:g} s; is it suspended?"
                raise ControlError(late) from None
            except _Busy:
                lines.close()
                if monotonic() + _PAUSE > deadline:
                    raise
                sleep(_PAUSE)
            except BaseException:
                lines.close()
                raise


def running_node(host: str, port: int, timeout: float = 2.0) -> NodeControl | None:
    """Return the node of this user that listens on *host* and *port*, or on that port on every address.

    Args:
        host: IP address or host name; names of one address are alike.
        port: TCP port.
        timeout: seconds for each answer of the node.

    Returns:
        The node, which has just answered; None when there is none.

    Raises:
        ControlError: there is one, and it does not answer, or not as one of this version.
    """
    wanted = _addresses(host, port)
    for path, first_address, its_port in control_place.sockets():
        if its_port != port:
            continue
        node = NodeControl(path, timeout)
        try:
            status = node.status()
        except GoneError:
            continue
        except ControlError:
            if _listens_on([first_address], wanted):
                raise
            continue
        if host == status.host or _listens_on(status.addresses, wanted):
            return node
    return None


def running_nodes(timeout: float = 2.0) -> Iterator[NodeStatus]:
    """Yield the status of every node of this user that answers.

    Args:
        timeout: seconds for each answer.
    """
    for path, _, _ in control_place.sockets():
        with suppress(ControlError):
            yield NodeControl(path, timeout).status()


class GoneError(ControlError):
    """Nobody is at the socket, or no longer."""


class _Busy(ControlError):
    """The node has as many clients as it takes."""


class _Following(msgspec.Struct, frozen=True):
    event: Literal["following"]


class _Forgotten(msgspec.Struct, frozen=True):
    event: Literal["forgotten"]
    was_there: bool


class _Decided(msgspec.Struct, frozen=True):
    event: Literal["decided"]
    faults: tuple[str, ...]


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    is_busy: bool = False


class _Lines:
    """A connection to a control socket, on which JSON lines come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._received = bytearray()

    def ask(self, what: dict[str, object], answer_type: type[Any], deadline: float) -> Any:
        """Connect, ask, and return the answer.

        Raises:
            TimeoutError: it did not come by *deadline*.
            ControlError: the node is gone, or refuses.
        """
        try:
            self._socket.setblocking(False)
            self._socket.connect(str(self._path))  # at once: it listens, or is full, or does not
        except BlockingIOError:
            raise _Busy(f"{self._path}: more clients wait than the node takes") from None
        except OSError as error:
            raise self._gone(error) from None
        with suppress(OSError):  # a node that is busy closes before it has read; its answer is there
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            self._socket.sendall(msgspec.json.encode(what) + b"\n")
        return self.next(answer_type, deadline)

    def next(self, line_type: type[Any], deadline: float) -> Any:
        """Return the next line, as *line_type*; raises as `ask`."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > _MOST_OF_LINE:
                raise ControlError(f"{self._path}: an answer without an end")
            self._received += self._receive(deadline)
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            return msgspec.json.decode(line, type=line_type)
        except msgspec.DecodeError as error:
            raise self._refused(line, error) from None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _receive(self, deadline: float) -> bytes:
        """Return what comes by *deadline*; what has come is taken even after it."""
        try:
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            raise TimeoutError(f"{self._path}: nothing came in time") from None
        except OSError as error:
            raise self._gone(error) from None
        if not data:
            raise self._gone("it closed the connection")
        return data

    def _refused(self, line: bytes, error: msgspec.DecodeError) -> ControlError:
        try:
            refusal = msgspec.json.decode(line, type=_Refusal)
        except msgspec.DecodeError:
            return ControlError(f"{self._path}: the node is of another version: {error}")
        return (_Busy if refusal.is_busy else ControlError)(f"{self._path}: {refusal.error}")

    def _gone(self, why: object) -> GoneError:
        return GoneError(f"{self._path}: the node is gone, or has dropped us: {why}")


def _addresses(host: str, port: int) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return {host}


def _listens_on(bound: Iterable[str], wanted: set[str]) -> bool:
    """Whether one of the *wanted* addresses is *bound*, itself or among every address of its version."""
    return any(
        address in wanted or any(_EVERY.get(address) == _version(other) for other in wanted) for address in bound
    )


def _version(address: str) -> int:
    return 6 if ":" in address else 4
