"""What is done on an association, counted from the messages that pass, whichever handler serves them."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pynetdicom import evt

from minipacs.handover import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset

# Command fields (PS3.7 §E.1).
_REQUESTS = {0x0030: "echo", 0x0001: "store", 0x0020: "find", 0x0021: "move", 0x0010: "get"}
_NAMES = {0x0030: "C-ECHO", 0x0001: "C-STORE", 0x0020: "C-FIND", 0x0021: "C-MOVE", 0x0010: "C-GET"}
_RESPONSE = 0x8000
_ECHO, _STORE, _MOVE = 0x8030, 0x8001, 0x8021
_PENDING = frozenset({0xFF00, 0xFF01})
_CANCEL = 0xFE00


class Counter:
    """Counts for one association; its methods are called by the threads that serve it."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._lock = threading.Lock()

    def received(self, command: Dataset) -> None:
        """Take note of a message of the peer."""
        field = command.get("CommandField", 0)
        with self._lock:
            if (service := _REQUESTS.get(field)) is not None:
                self.usage.busy += 1
                if service not in self.usage.services:
                    self.usage.services = (*self.usage.services, service)
            elif field == _STORE:  # of an object that we have sent for a C-GET
                self._count_object(command.get("Status", 0))
                self._remember(command)

    def sent(self, command: Dataset) -> None:
        """Take note of a message of ours."""
        field, status = command.get("CommandField", 0), command.get("Status", 0)
        if not field & _RESPONSE or field ^ _RESPONSE not in _REQUESTS or status in _PENDING:
            return
        with self._lock:
            self.usage.busy -= 1
            self._remember(command)
            if field == _STORE:
                self._count_object(status)
            else:
                self.usage.failures += _is_failure(status)
            if field == _ECHO:
                self.usage.echoes += not status
            if field == _MOVE:
                self.usage.objects += command.get("NumberOfCompletedSuboperations", 0) or 0
                self._count_unsent(command.get("NumberOfFailedSuboperations", 0) or 0)

    def _count_unsent(self, count: int) -> None:
        self.usage.failures += count
        if count and not self.usage.first_failure:
            self.usage.first_failure = f"C-MOVE: {count} of its objects could not be sent"

    def _remember(self, response: Dataset) -> None:
        status = response.get("Status", 0)
        if not _is_failure(status) or self.usage.first_failure:
            return
        comment = str(response.get("ErrorComment", None) or "")
        name = _NAMES[response.CommandField ^ _RESPONSE]
        self.usage.first_failure = f"{name} answered with 0x{status:04X}{comment and f', {comment}'}"

    def _count_object(self, status: int) -> None:
        if _is_failure(status):
            self.usage.failures += 1
        else:
            self.usage.objects += 1


counter: ContextVar[Counter | None] = ContextVar("counter", default=None)
"""That of the association which the thread serves."""


def handlers() -> list[tuple[Any, Callable[[Any], None]]]:
    """Return what pynetdicom is to call for each message."""
    return [(evt.EVT_DIMSE_RECV, _received), (evt.EVT_DIMSE_SENT, _sent)]


def _received(event: Any) -> None:
    if (current := counter.get()) is not None:
        current.received(event.message.command_set)


def _sent(event: Any) -> None:
    if (current := counter.get()) is not None:
        current.sent(event.message.command_set)


def _is_failure(status: int) -> bool:
    """Whether a status is none of success, warning, cancel (PS3.7 Annex C)."""
    return not (status == 0 or status in {_CANCEL, 0x0001, 0x0107, 0x0116} or status >> 12 == 0xB)
