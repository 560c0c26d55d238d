"""pynetdicom's server behind our door: it listens nowhere, and serves the associations that it is given."""

from __future__ import annotations

import errno
import socket
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any

import pydicom
from pynetdicom import _config, build_context, evt
from pynetdicom.transport import AssociationServer

from minipacs.flood_log import FloodLog
from minipacs.services import (
    counting,
    errands,
    intake,
    library,
    telling,
)
from minipacs.services.counting import Counter
from minipacs.services.intake import Intake
from minipacs.services.negotiation import EVENT_OF_SERVICE, Negotiation, guarded
from minipacs.wire.dimse import SUCCESS, VERIFICATION
from minipacs.wire.verification import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minipacs.handover import Offer, Usage
    from minipacs.peers import Peer
    from minipacs.services.object_files import ObjectFiles
    from minipacs.settings import Limits, Timeouts
    from minipacs.wire.associate import AssociateRQ

_BUFFER = 1 << 20  # bytes on the way between the two ends of a pair


class ServiceServer:
    """Serves Storage and Query/Retrieve, as far as there are handlers.

    Args:
        ae_title: ours.
        handlers: for pynetdicom: (event, callable) or (event, callable, arguments).
        files: where data sets grow that come.
        limits: of the node.
        timeouts: of the node.
        object_size: bytes that the file of an object may have.
        any_sop_class: whether objects of private and unknown SOP classes are taken as well.
    """

    def __init__(
        self,
        ae_title: str,
        handlers: Sequence[tuple[Any, ...]],
        files: ObjectFiles,
        *,
        limits: Limits,
        timeouts: Timeouts,
        object_size: int,
        any_sop_class: bool = False,
    ) -> None:
        _configure(any_sop_class)
        handlers = [(evt.EVT_C_ECHO, _echo), *handlers]
        events = {one[0] for one in handlers}
        has = frozenset(service for service, event in EVENT_OF_SERVICE.items() if event in events)
        self._negotiation = Negotiation(has, any_sop_class=any_sop_class)
        self._files = files
        self._object_size = object_size
        self._timeouts = timeouts
        self._errands = errands.Errands()
        self._log = FloodLog()
        self._served: dict[Any, Intake] = {}  # by the association of pynetdicom
        ae = library.Entity(ae_title)
        ae.maximum_associations = limits.associations + 1  # it is we who count
        ae.maximum_pdu_size = limits.maximum_length
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.network_timeout = None  # deadlines are those of the door
        ae.acse_timeout = ae.connection_timeout = timeouts.request
        ours = [(evt.EVT_CONN_OPEN, self._opened), (evt.EVT_CONN_CLOSE, _closed), *counting.handlers()]
        self._server = ae.make_server(
            ("127.0.0.1", 0),
            contexts=[build_context(VERIFICATION)],
            evt_handlers=[*map(guarded, handlers), *ours],
            server_class=_Unbound,
        )

    # --- what the door needs ------------------------------------------------------------------------------------------

    @property
    def calls(self) -> int:
        """How many associations there are with the destinations of C-MOVEs."""
        return self._errands.count

    def let_call(self, has_room: Callable[[], bool]) -> None:
        """Have *has_room* asked, from any thread, before there is one more of these."""
        self._errands.has_room = has_room

    def may_use(self, peer: Peer) -> frozenset[str]:
        """Return the services that *peer* may use."""
        return self._negotiation.may_use(peer)

    def offer(self, request: AssociateRQ, peer: Peer) -> Offer | None:
        """Return how an admitted association is to be handed over; None: it asks for nothing that *peer* may use."""
        return self._negotiation.offer(request, peer)

    def take(self, offer: Offer, address: tuple[str, int]) -> tuple[socket.socket, Usage]:
        """Serve an association on the other end of the socket that is returned, until that is closed.

        Args:
            offer: what the server is going to be asked for.
            address: IP address and TCP port of the peer.

        Raises:
            OSError: no descriptor or no thread is left for it.
        """
        self._forget_those_that_ended()
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        counter = Counter()
        context = copy_context()
        try:
            context.run(self._begin, theirs, address, offer, counter)
        except (OSError, RuntimeError) as error:
            ours.close()
            theirs.close()
            self._forget_those_that_ended()
            if isinstance(error, OSError):
                raise
            raise OSError(errno.EAGAIN, str(error)) from error  # of the threading module, which has no other for it
        return ours, counter.usage

    def stop(self) -> None:
        """Wait a moment for those who serve associations, which the door has closed, to end."""
        deadline = monotonic() + self._timeouts.stop
        for association, files in list(self._served.items()):
            association.join(max(0.0, deadline - monotonic()))
            files.close()
        self._served.clear()
        self._log.close()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, sock: socket.socket, address: tuple[str, int], offer: Offer, counter: Counter) -> None:
        """Runs in the context that the threads of the association inherit."""
        counting.counter.set(counter)
        intake.intake.set(Intake(self._files, self._object_size))
        intake.offered.set(offer)
        errands.errands.set(self._errands)
        telling.log.set(self._log)
        self._server.process_request(sock, address)

    def _opened(self, event: Any) -> None:
        """Called by process_request, before the association has a thread."""
        current, offer = intake.intake.get(), intake.offered.get()
        assert current is not None
        assert offer is not None
        event.assoc.acceptor.supported_contexts = self._negotiation.contexts(offer)
        self._served[event.assoc] = current

    def _forget_those_that_ended(self) -> None:
        for association in [one for one in self._served if not one.is_alive()]:
            self._served.pop(association).close()


class _Unbound(AssociationServer):
    """A server that listens nowhere: what it is to serve is handed to it."""

    def server_bind(self) -> None:
        """Nothing (socketserver.TCPServer)."""

    def server_activate(self) -> None:
        """Nothing, but give the socket back."""
        super().server_close()


def _echo(_: Any) -> int:
    return SUCCESS


def _closed(_: Any) -> None:
    if (current := intake.intake.get()) is not None:
        current.close()


def _configure(any_sop_class: bool) -> None:
    """Set what pynetdicom and pydicom know for the whole process alone."""
    _config.UNRESTRICTED_STORAGE_SERVICE = any_sop_class
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # what peers sent is stored as it is
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    intake.install()
