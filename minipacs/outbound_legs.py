"""The legs on which we call: as ourselves, and as somebody whom the peer cannot know."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.bounded import Deadline, within
from minipacs.diagnosis import Diagnosis, diagnose
from minipacs.echo_result import EchoResult, Outcome
from minipacs.leg import Leg, Standing, leg_of, skipped
from minipacs.scu import DEFAULT_TIMEOUT, echo
from minipacs.verdict import REFUSALS, StrangerOutcome

if TYPE_CHECKING:
    import ssl

    from minipacs.peers import Peer

_PHASES = 5  # of an echo, each with a timeout of its own: connect, TLS handshake, associate, echo, release


class Caller(Struct, frozen=True):
    """Whom we call, and as whom.

    Attributes:
        peer: whom; it has a host and a port.
        ae_title: our AE title.
        scp_port: where our own SCP listens, for the advice to register it.
        deadline: when all has to be over.
        tls: the context by which we call a peer that wants TLS; else None.
    """

    peer: Peer
    ae_title: str
    scp_port: int
    deadline: Deadline
    tls: ssl.SSLContext | None = None

    def echo(self, calling_ae_title: str) -> EchoResult:
        """Echo the peer under that title."""
        seconds = self.deadline.remaining()
        timeout = max(0.01, round(min(DEFAULT_TIMEOUT, seconds / _PHASES), 2))  # a number to read
        try:
            return within(
                seconds,
                lambda: echo(self.peer, calling_ae_title, timeout=timeout, scp_port=self.scp_port, tls=self.tls),
            )
        except TimeoutError:  # a name server knows no deadline of ours
            host, port = self.peer.host, self.peer.port
            facts = {"host": host, "port": port, "local_port": self.scp_port, "timeout": seconds}
            words = diagnose("unreachable.timeout", **facts)
            return EchoResult(
                peer=self.peer,
                outcome=Outcome.UNREACHABLE,
                code=words.code,
                reason=words.reason,
                fix=words.fix,
                total_ms=seconds * 1000,
            )


def out(caller: Caller) -> Leg:
    """Echo the peer as ourselves."""
    result = caller.echo(caller.ae_title)
    reason = result.reason or f"{caller.peer.ae_title} answered {caller.ae_title} with success"
    if result.observations:
        reason += f"; observed: {'; '.join(result.observations)}"
    standing = Standing.PASSED if result.is_success else Standing.FAILED
    return leg_of("out", result.outcome, standing, Diagnosis(result.code, reason, result.fix), result.total_ms)


def stranger(caller: Caller, outcome: str) -> Leg:
    """Echo the peer under a title that is surely not registered, after our own echo had that *outcome*."""
    if outcome != Outcome.SUCCESS:
        return skipped("stranger", "our own echo fails: there is nothing to tell apart")
    title = f"NOBODY{secrets.token_hex(5).upper()}"  # 16 characters
    result = caller.echo(title)
    found = _meaning(result)
    words = diagnose(
        f"stranger.{found}",
        called=caller.peer.ae_title,
        calling=title,
        ae_title=caller.ae_title,
        detail=result.reason,
    )
    standing = Standing.PASSED if found is StrangerOutcome.REFUSED else Standing.WARNED
    return leg_of("stranger", found, standing, words, result.total_ms)


def _meaning(result: EchoResult) -> StrangerOutcome:
    if result.is_success:
        return StrangerOutcome.ADMITTED
    # Some close on whom they do not know; a moment ago the same port answered us.
    if result.code in REFUSALS or result.code == "no-association.closed":
        return StrangerOutcome.REFUSED
    return StrangerOutcome.UNCLEAR
