"""The two threads of each association of pynetdicom, so that they wait for what they wait for.

pynetdicom's own look each millisecond whether something is to be done: 4 % of a core for an association on which
nothing is, and a millisecond of each message. The loops here do what those do, in the same order, but for this:

- the provider waits for its connection and its queues, and the reactor for messages and the end of the association;
- PDUs are sent and read in turn: a C-CANCEL is read while there is something to be sent (PS3.7 §9.3.2.3);
- the peer is released when its requests have been answered, and not in the middle of them;
- what is still to be sent behind an A-ABORT is dropped, where it would end the thread;
- what comes is left unread while enough requests wait to be served;
- a thread that fails ends its association, and an association ends those that it has begun, as for a C-MOVE.

`library` has pynetdicom make its associations of these classes.
"""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import P_DATA

from minipacs.services.bell import Bell, Ringing
from minipacs.services.checkpoint import Checkpoint
from minipacs.services.messages import MOST_WAITING, Messages
from minipacs.services.sop_classes import DEFLATED

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity

_LOOK = 1.0  # seconds, after which the provider looks all the same
_CLOSING = "Sta13"  # the A-ABORT or A-RELEASE-RP is sent (PS3.8 Table 9-5)
_IDLE = "Sta1"
_OPEN = "Sta6"
_LAST_OF_DATA_SET = 0x02  # the message control header (PS3.8 §E.2)
_ARTIM_EXPIRED = "Evt18"
_BY_PROVIDER = 2  # source of an A-ABORT (PS3.8 Table 9-26)


class Provider(DULServiceProvider):
    """The upper layer of one association (PS3.8 §9.2); a thread.

    Args:
        association: whose it is.

    Attributes:
        is_over: whether it serves no more.

    Raises:
        OSError: no descriptors are left for it.
    """

    def __init__(self, association: PromptAssociation) -> None:
        super().__init__(association)
        self._bell = Bell()
        self._tell = association.checkpoint.ring
        self._look_after_errand = association.look_after_errand
        self.to_provider_queue = Ringing(self._bell.ring)
        self.event_queue = Ringing(self._bell.ring)
        self.to_user_queue = Ringing(self._tell)
        self._has_sent = False  # so that it is the turn of what the peer has sent
        self._is_hung_up = False
        self.is_over = False
        self.daemon = True

    def start(self) -> None:
        """Begin; RuntimeError when no thread is left for it."""
        try:
            super().start()
        except RuntimeError:
            self._bell.close()
            raise

    def ring(self) -> None:
        """Wake it: something is to be sent."""
        self._bell.ring()

    def send_pdu(self, primitive: Any) -> None:
        """Queue what is to be sent; the last fragment of a deflated data set with a NUL that makes it even."""
        if isinstance(primitive, P_DATA):
            values = primitive.presentation_data_value_list
            context_id, value = values[-1]
            if value[0] == _LAST_OF_DATA_SET and not len(value) % 2 and self._is_deflated(context_id):
                values[-1] = context_id, value + b"\0"
        super().send_pdu(primitive)

    def run_reactor(self) -> None:
        """Run until it is killed; what it does, the state machine says."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()
        try:
            while not self._kill_thread:
                if self.event_queue.empty():
                    self._look()
                if self.event_queue.empty():
                    self._wait()
                else:
                    self.state_machine.do_action(self.event_queue.get(block=False))
                    self._look_after_errand()
        finally:
            self.is_over = True
            self._bell.close()
            self._tell()
            self.assoc.dimse.msg_queue.put((None, None))  # to who waits for an answer
            self._look_after_errand()

    def kill_dul(self) -> None:
        """Have it end."""
        super().kill_dul()
        self._bell.ring()

    def stop_dul(self) -> bool:
        """End it where there is no association; whether that was so."""
        is_idle: bool = self.state_machine.current_state == _IDLE
        if is_idle:
            self.kill_dul()
            self.join()
        return is_idle

    def _look(self) -> None:
        """Queue the event of what is there to be done, if anything is."""
        if self.artim_timer.expired:
            self.event_queue.put(_ARTIM_EXPIRED)
        try:
            is_closing = self.state_machine.current_state == _CLOSING
            if is_closing:
                with self.to_provider_queue.mutex:
                    self.to_provider_queue.queue.clear()
            is_their_turn, self._has_sent = self._has_sent, False
            if is_their_turn and self._read():
                return
            self._has_sent = self._process_recv_primitive()
            if not self._has_sent and (is_closing or self._has_come):
                self._read()
        except Exception:  # noqa: BLE001 - the state machine is out of step: the A-ABORT goes past it
            abort = A_ABORT_RQ()
            abort.source, abort.reason_diagnostic = _BY_PROVIDER, 0
            connection: Any = self.socket
            connection.send(abort.encode())
            self.assoc.is_aborted, self.assoc.is_established = True, False
            self.assoc._kill = self._kill_thread = True

    def _read(self) -> bool:
        if not self._may_read or not self._is_transport_event():
            return False
        self._idle_timer.restart()
        return True

    @property
    def _may_read(self) -> bool:
        """Whether what comes is read now: not while many messages wait, unless the peer has left."""
        is_open = self.state_machine.current_state == _OPEN and not self._is_hung_up
        return not is_open or len(self.assoc.dimse.msg_queue.queue) < MOST_WAITING

    @property
    def _has_come(self) -> bool:
        """Whether something is known to be there to be read; if not, that is to be waited for."""
        connection: Any = self.socket
        return connection is not None and (connection.has_more or connection.is_readable)

    def _wait(self) -> None:
        """Wait until something may be there. A connection that is not read although it could be is left alone once."""
        connection: Any = self.socket
        seconds = min(_LOOK, self.artim_timer.remaining)
        if connection is None:
            self._bell.wait(None, seconds, self._is_rung)
            return
        is_watched = connection._is_connected and not connection.is_readable
        watched = connection.socket if is_watched else None
        may_read = self._may_read
        connection.is_readable = self._bell.wait(watched, seconds, self._is_rung, select.POLLIN if may_read else 0)
        self._is_hung_up = self._is_hung_up or (connection.is_readable and not may_read)

    def _is_deflated(self, context_id: int) -> bool:
        contexts = self.assoc.accepted_contexts
        return any(one.context_id == context_id and one.transfer_syntax[0] in DEFLATED for one in contexts)

    def _is_rung(self) -> bool:
        return bool(self._kill_thread or self.event_queue.queue or self.to_provider_queue.queue)


def is_gone(association: Any) -> bool:
    """Whether the peer of *association* is not there any more to be told anything."""
    state = association.dul.state_machine.current_state
    return association.dul.is_over or state in {_IDLE, _CLOSING}


class PromptAssociation(Association):
    """An association; a thread, which serves what the peer asks for.

    Args:
        entity: the application entity that it is of.
        mode: "requestor" or "acceptor".

    Raises:
        OSError: no descriptors are left for it.
    """

    dul: Provider
    dimse: Messages

    def __init__(self, entity: ApplicationEntity, mode: str) -> None:
        self.checkpoint = Checkpoint(self)
        self.is_cut = False
        self._errand: PromptAssociation | None = None  # the last one that was begun in our thread
        super().__init__(entity, mode)
        self.dul = Provider(self)
        self.dimse = Messages(self, self.checkpoint.ring, self.dul.ring)
        self.acse_timeout = entity.acse_timeout  # of which each provider has its own timer
        self.network_timeout = entity.network_timeout
        asker = threading.current_thread()
        if isinstance(asker, PromptAssociation):
            asker.send_out(self)

    def start(self) -> None:
        """Begin to serve, with both threads or with none.

        Raises:
            RuntimeError: no thread is left for it.
        """
        try:
            if self.is_acceptor:
                self.dul.start()
                self._started_dul = True
            super().start()
        except RuntimeError:
            self.cut()
            if self._started_dul:
                self.dul.kill_dul()
                self.dul.join()
            raise

    def run_reactor(self) -> None:
        """Run until the association ends, which ends with this thread however that ends."""
        try:
            super().run_reactor()
        except BaseException:
            self.cut()
            self.dul.kill_dul()
            raise

    def send_out(self, errand: PromptAssociation) -> None:
        """Have an association that was begun for the peer of this one end with it."""
        self._errand = errand
        self.look_after_errand()

    def look_after_errand(self) -> None:
        """End what was begun for the peer, when that has left."""
        if self._errand is not None and is_gone(self):
            self._errand.cut()

    def cut(self) -> None:
        """End it at once, from any thread."""
        self.is_cut = True
        connection: Any = self.dul.socket
        if connection is not None:
            connection.cut()

    @property
    def _reactor_checkpoint(self) -> Checkpoint:
        return self.checkpoint

    @_reactor_checkpoint.setter
    def _reactor_checkpoint(self, _: threading.Event) -> None:
        """Not pynetdicom's own, nor another: this one knows when there is something to do."""

    def _run_reactor(self) -> None:
        """Serve until the association ends."""
        while not self._kill:
            self._is_paused = True
            self.checkpoint.wait()
            self._is_paused = False
            context_id, message = self.dimse.get_msg(block=False)
            if message is not None and context_id is not None:
                self._serve(message, context_id)
            if self.acse.is_aborted():
                self.dul.receive_pdu(wait=False)
                self._end(evt.EVT_ABORTED)
            elif self.dimse.msg_queue.queue:
                self.checkpoint.ring()
            elif self.is_established and self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self._end(evt.EVT_RELEASED)
            elif self.dul.is_over:
                self.kill()
            elif self.dul.idle_timer_expired():
                self.abort()
                self.kill()

    def _serve(self, message: Any, context_id: int) -> None:
        """Serve a request; what is none, or lacks what it needs, would be left without an answer, and ends it."""
        if self.is_acceptor and not message.is_valid_request:
            self.abort()
            return
        self.dimse.serving = message.MessageID
        self._serve_request(message, context_id)

    def _end(self, event: evt.NotificationEvent) -> None:
        self.is_released = event is evt.EVT_RELEASED
        self.is_aborted = event is evt.EVT_ABORTED
        self.is_established = False
        evt.trigger(self, event, {})
        self.kill()
