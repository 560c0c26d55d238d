"""One association of ours with one peer, from connect to close, each phase timed."""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from minipacs.call_words import words_of_call
from minipacs.echo_callbacks import EchoCallbacks
from minipacs.echo_result import EchoResult, Outcome
from minipacs.errors import PDUError
from minipacs.reach import look_behind, reach
from minipacs.recognition import (
    Failed,
    ended_between_echoes,
    interrupted,
    name_of,
    not_associated,
    of_context_result,
    of_status,
)
from minipacs.requestor import Requestor
from minipacs.wire.associate import AssociateAC, AssociateRJ
from minipacs.wire.dimse import C_ECHO_RSP, SUCCESS, c_echo_rq
from minipacs.wire.indications import Closed
from minipacs.wire.messages import Message
from minipacs.wire.pdu import Abort, ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import State
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from minipacs.diagnosis import Diagnosis
    from minipacs.peers import Peer
    from minipacs.wire.associate import AssociateRQ
    from minipacs.wire.indications import Indication

_CONTEXT_ID = 1  # the only one that request() proposes


class Call:
    """One association with one peer, from connect to close.

    Args:
        peer: whom to call; it has a host and a port.
        request: the A-ASSOCIATE-RQ, with one presentation context.
        timeout: seconds to wait for the connection, for the TLS handshake, and for each answer.
        scp_port: where our own SCP listens, for the advice to register it.
        callbacks: told of each step.
        tls: the context by which to speak TLS; None: in plain.
    """

    def __init__(
        self,
        peer: Peer,
        request: AssociateRQ,
        timeout: float,
        scp_port: int,
        callbacks: EchoCallbacks | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._peer = peer
        self._request = request
        self._timeout = timeout
        self._scp_port = scp_port
        self._callbacks = callbacks or EchoCallbacks()
        self._tls = tls
        self._requestor = Requestor(None if callbacks is None else callbacks.pdu)
        self._association = self._requestor.association
        self._times: dict[str, float] = {}
        self._echo_times: list[float] = []
        self._statuses: list[int] = []
        self._observations: list[str] = []
        self._is_released = False

    def run(self, count: int, interval: float, abort: bool) -> EchoResult:
        """Go through the phases as far as they lead, and end what is open."""
        try:
            result = self._result(count, self._run(count, interval, abort))
            self._tell_end(result)
        except BaseException:  # of a callback, or Ctrl-C
            self._requestor.cut()
            raise
        return result

    def _run(self, count: int, interval: float, abort: bool) -> Failed | None:
        failed = None
        self._callbacks.requesting(self._request)
        with self._timed("total"):
            try:
                self._connect()
                self._associate()
                self._echo(count, interval)
            except Failed as failure:
                failed = failure
            self._end(failed, abort)
        return failed

    def with_look(self, result: EchoResult) -> EchoResult:
        """Return *result*; when the peer sent nothing at all, with what its port speaks as one observation more."""
        requestor = self._requestor
        seen = look_behind(result.code, requestor.remote_address, self._timeout, self._tls, requestor.has_received)
        return replace(result, observations=(*result.observations, seen)) if seen else result

    def _connect(self) -> None:
        with self._timed("connect"):
            reach(self._requestor, self._peer, self._timeout, self._tls)

    def _associate(self) -> None:
        with self._timed("associate"):
            self._association.associate(self._request)
            self._association.connected()
            try:
                answer = self._requestor.next_indication(self._timeout)
            except TimeoutError:
                raise Failed(Outcome.NO_ASSOCIATION, "no-association.silence") from None
        if isinstance(answer, AssociateRJ):
            self._callbacks.rejected(answer)
        if not isinstance(answer, AssociateAC):
            if self._tls is not None and isinstance(answer, Closed):
                from minipacs.tls_recognition import closed_after_handshake

                raise closed_after_handshake(self._requestor.error)
            raise not_associated(answer)
        self._callbacks.accepted(answer)
        if _CONTEXT_ID not in self._association.accepted_contexts:
            result = next((c.result for c in answer.contexts if c.context_id == _CONTEXT_ID), None)
            detail = "none came" if result is None else f"result {result}, outside the standard"
            proposed = self._request.contexts[0].transfer_syntaxes
            raise Failed(Outcome.NO_CONTEXT, of_context_result(result, IMPLICIT_VR_LITTLE_ENDIAN in proposed), detail)

    def _echo(self, count: int, interval: float) -> None:
        for number in range(count):
            if number:
                self._pause(interval)
            message_id = number % 0xFFFF + 1
            self._callbacks.sending(message_id)
            started = perf_counter()
            self._association.send(_CONTEXT_ID, c_echo_rq(message_id))
            self._statuses.append(self._next_status(message_id))
            self._echo_times.append((perf_counter() - started) * 1000)
            self._callbacks.responded(message_id, self._statuses[-1])
        status = self._telling_status()
        if status is not None and status != SUCCESS:
            raise Failed(Outcome.FAILURE, of_status(status), f"0x{status:04X}")

    def _next_status(self, message_id: int) -> int:
        try:
            indication = self._requestor.next_indication(self._timeout)
        except TimeoutError:
            raise Failed(Outcome.NO_RESPONSE, "no-response.silence") from None
        if not isinstance(indication, Message):
            raise interrupted(indication)
        command = indication.command
        if command.command_field != C_ECHO_RSP or command.status is None:
            text = f"command 0x{command.command_field:04X} instead of a C-ECHO-RSP with a status"
        elif command.message_id_being_responded_to != message_id:
            text = f"C-ECHO-RSP to message {command.message_id_being_responded_to}, not to {message_id}"
        else:
            return command.status
        raise self._refused(text)

    def _pause(self, interval: float) -> None:
        """Wait until the next echo; what a peer sends unasked ends the call."""
        try:
            indication = self._requestor.next_indication(interval)
        except TimeoutError:
            return
        if isinstance(indication, Message):
            raise self._refused(f"command 0x{indication.command.command_field:04X} between two echoes")
        raise ended_between_echoes(indication)

    def _refused(self, text: str) -> Failed:
        """Abort for a message that has no place here."""
        self._association.refuse(PDUError(text, Abort.UNEXPECTED_PDU))
        return Failed(Outcome.ABORTED, "aborted.another-message", text)

    def _end(self, failed: Failed | None, abort: bool) -> None:
        """End what is open as the standard wants it, and close.

        A peer that owes us a response is aborted: it would not answer the release either.
        """
        is_answered = failed is None or failed.outcome in {Outcome.FAILURE, Outcome.NO_CONTEXT}
        if self._association.state is State.Sta6 and is_answered and not abort:
            self._release()
        elif self._association.state is State.Sta8:
            self._association.reply_release()
        if self._association.state not in {State.Sta1, State.Sta13}:
            self._association.abort()
        self._requestor.close()

    def _release(self) -> None:
        answer: Indication | None = None
        self._callbacks.releasing()
        try:
            with self._timed("release"):
                self._association.release()
                answer = self._requestor.next_indication(self._timeout)
                if isinstance(answer, ReleaseRQ):  # a collision: both sides ask (PS3.8 §7.2.3)
                    self._association.reply_release()
                    answer = self._requestor.next_indication(self._timeout)
        except TimeoutError:
            self._observe("observed.release-unanswered")
        else:
            self._is_released = isinstance(answer, ReleaseRP)
            if not self._is_released:
                self._observe("observed.release-otherwise", detail=name_of(answer))

    def _observe(self, code: str, **facts: str) -> None:
        """Keep what the row *code* of the catalogue says of a call that works."""
        from minipacs.diagnosis import diagnose

        self._observations.append(diagnose(code, **facts).reason)

    def _tell_end(self, result: EchoResult) -> None:
        if self._is_released:
            self._callbacks.released()
        elif result.outcome is not Outcome.REJECTED:
            self._callbacks.aborted(result.reason or "; ".join(self._observations))

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        """Keep how long the phase took, in milliseconds, when it was gone through."""
        started = perf_counter()
        yield
        self._times[phase] = (perf_counter() - started) * 1000

    def _result(self, count: int, failed: Failed | None) -> EchoResult:
        diagnosis = self._diagnose(failed) if failed else None
        return EchoResult(
            peer=self._peer,
            outcome=failed.outcome if failed else Outcome.SUCCESS,
            code=diagnosis.code if diagnosis else "",
            reason=diagnosis.reason if diagnosis else "",
            fix=diagnosis.fix if diagnosis else "",
            status=self._telling_status(),
            observations=(*self._requestor.failed_addresses, *self._association.observations, *self._observations),
            requested=count,
            echoes=self._statuses.count(SUCCESS),
            connect_ms=self._times.get("connect"),
            associate_ms=self._times.get("associate"),
            echo_times_ms=tuple(self._echo_times),
            release_ms=self._times.get("release"),
            total_ms=self._times["total"],
        )

    def _telling_status(self) -> int | None:
        """The last failure, or else the last success."""
        statuses = [status for status in self._statuses if status != SUCCESS] or self._statuses
        return statuses[-1] if statuses else None

    def _diagnose(self, failed: Failed) -> Diagnosis:
        return words_of_call(
            failed,
            self._peer,
            self._request.calling_ae_title,
            local_address=self._requestor.local_address,
            scp_port=self._scp_port,
            timeout=self._timeout,
        )
