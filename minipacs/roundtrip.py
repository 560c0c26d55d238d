"""The round trip: its legs, one after the other, and what they prove together.

out: we echo the peer. stranger: we echo it as somebody whom it cannot know. registered: what Orthanc has for us.
in: the peer echoes us. What that proves is told by verdict.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.bounded import Deadline
from minipacs.errors import ListenError
from minipacs.inbound import listening
from minipacs.inbound_leg import Arrivals, by_hand, by_rest
from minipacs.leg import Leg, since, skipped
from minipacs.outbound_legs import Caller, out, stranger
from minipacs.registered_leg import Registered, look
from minipacs.registration import Registration, Wanted, wanted
from minipacs.verdict import Evidence, Verdict, enforced, verdict

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from minipacs.inbound import Inbound
    from minipacs.orthanc import Orthanc
    from minipacs.peers import Peer
    from minipacs.settings import Settings

_CLEANUP = 10.0  # seconds for our entry to be taken away again, whatever the time for the legs


class Plan(Struct, frozen=True, kw_only=True):
    """What a round trip is to do.

    Attributes:
        orthanc: the peer's REST API; None for a peer without one.
        our_address: where the peer reaches our SCP; None: where it listens.
        name: symbolic name of our entry in Orthanc; None: made of our AE title.
        registers: whether our entry in Orthanc is put right before the other legs.
        unregisters: whether what was put is taken away at the end, whatever that end is.
        skips_stranger: whether nobody calls as a stranger.
        wait_inbound: seconds to wait for somebody to let the peer echo us; 0: nobody is asked to.
        timeout: seconds for all of it, but for taking away what was put.
        tls: the context by which we call a peer that wants TLS; else None.
    """

    orthanc: Orthanc | None = None
    our_address: str | None = None
    name: str | None = None
    registers: bool = False
    unregisters: bool = False
    skips_stranger: bool = False
    wait_inbound: float = 0.0
    timeout: float = 30.0
    tls: ssl.SSLContext | None = None

    @property
    def listens(self) -> bool:
        """Whether the peer can be made to echo us."""
        return self.orthanc is not None or self.wait_inbound > 0


class RoundTrip(Struct, frozen=True, kw_only=True):
    """What became of a round trip.

    Attributes:
        peer: with whom.
        verdict: what is proved.
        enforced: whether the peer admits only whom it knows; None when nothing shows it.
        legs: in the order in which they ran.
        duration_ms: milliseconds for all of it.
    """

    peer: Peer
    verdict: Verdict
    enforced: bool | None
    legs: tuple[Leg, ...]
    duration_ms: float

    @property
    def is_mutual(self) -> bool:
        """Whether each is proved to know the other."""
        return self.verdict is Verdict.MUTUAL

    @property
    def warning(self) -> str:
        """What should be known of a verdict that is mutual all the same; else empty."""
        if not self.is_mutual or self.enforced:
            return ""
        if self.enforced is None:
            return f"whether {self.peer.ae_title} admits only whom it knows was not shown"
        return f"{self.peer.ae_title} lets anybody echo; that it knows us is shown by what it has registered"


class RoundTripRun:
    """One round trip.

    Args:
        peer: with whom; it has a host and a port.
        settings: who we are.
        plan: what to do.
        on_leg: called with each leg when it is over.
        told: called with what a person should know meanwhile.
    """

    def __init__(
        self, peer: Peer, settings: Settings, plan: Plan, on_leg: Callable[[Leg], None], told: Callable[[str], None]
    ) -> None:
        self._peer = peer
        self._settings = settings
        self._plan = plan
        self._on_leg = on_leg
        self._told = told
        self._legs: list[Leg] = []
        self._node: Inbound | None = None
        self._wanted: Wanted | None = None
        self._registered: Registered | None = None

    def run(self) -> RoundTrip:
        """Go through the legs.

        Raises:
            ListenError: our node cannot listen, and none of ours does.
            PeerTableError: our table is not valid.
            OrthancError: Orthanc cannot know us as we are; or what was put there cannot be taken away.
        """
        self._deadline = Deadline(self._plan.timeout)
        started = perf_counter()
        with ExitStack() as stack:
            if self._plan.listens:
                self._node = self._listen(stack)
                self._wanted = self._our_entry(self._node)
            if self._plan.registers:
                self._look(stack)
            self._call()
            if not self._plan.registers:
                self._look(stack)
            self._be_called()
        evidence = Evidence.of(self._legs)
        return RoundTrip(
            peer=self._peer,
            verdict=verdict(evidence),
            enforced=enforced(evidence),
            legs=tuple(self._legs),
            duration_ms=since(started),
        )

    def _listen(self, stack: ExitStack) -> Inbound:
        node = stack.enter_context(listening(self._settings, self._told, by_tls=self._peer.tls))
        ours = self._settings.ae_title
        if node.ae_title != ours:
            rule = f"is {node.ae_title}, and we would call as {ours}: choose one of them with --ae-title"
            raise ListenError(f"{node.where} on port {node.port} {rule}")
        return node

    def _our_entry(self, node: Inbound) -> Wanted | None:
        plan = self._plan
        if plan.orthanc is None:
            return None
        plan.orthanc.deadline = self._deadline
        place = (node.ae_title, node.host, node.port, plan.our_address)
        return wanted(plan.orthanc, plan.name, *place, uses_tls=node.uses_tls)

    def _call(self) -> None:
        port = self._settings.advertised_port if self._node is None else self._node.port
        caller = Caller(self._peer, self._settings.ae_title, port, self._deadline, self._plan.tls)
        result = self._add(out(caller))
        if self._plan.skips_stranger:
            self._add(skipped("stranger", "as told: whom the peer admits is not tested"))
        else:
            self._add(stranger(caller, result.outcome))

    def _look(self, stack: ExitStack) -> None:
        orthanc = self._plan.orthanc
        if orthanc is None or self._wanted is None:
            self._add(skipped("registered", "without --orthanc URL nobody can be asked"))
            return
        registration = Registration(orthanc, self._wanted) if self._plan.registers else None
        if registration is not None and self._plan.unregisters:
            stack.callback(self._take_away, registration, orthanc)
        # Where it is asked first, a REST API that hangs leaves time for the echo.
        orthanc.deadline = self._deadline if self._legs else Deadline(self._deadline.remaining() / 2)
        self._registered = look(orthanc, self._peer, self._wanted, registration)
        self._add(self._registered.leg)

    def _take_away(self, registration: Registration, orthanc: Orthanc) -> None:
        orthanc.deadline = Deadline(_CLEANUP)
        try:
            is_taken_away = registration.take_away()
        except KeyboardInterrupt:  # the first, for whoever runs us ignores another: it may end us after this
            registration.take_away()
            raise
        if is_taken_away:
            self._told(f"{orthanc.url}: what was put is taken away again")

    def _be_called(self) -> None:
        if self._node is None:
            how = "without --orthanc URL or --wait-inbound SECONDS the peer is not made to call us"
            self._add(skipped("in", how))
            return
        registered, plan = self._registered, self._plan
        arrivals = Arrivals(self._node, self._peer, registered.titles if registered else ())
        if registered is not None and registered.is_known:
            assert plan.orthanc is not None
            assert self._wanted is not None
            self._add(by_rest(plan.orthanc, self._wanted, registered.entry, arrivals, self._deadline))
        elif plan.wait_inbound:
            seconds = min(plan.wait_inbound, self._deadline.remaining())
            address = plan.our_address or self._node.host
            self._add(by_hand(self._peer, self._node, address, arrivals, seconds, self._told))
        else:
            self._add(skipped("in", "Orthanc cannot be asked to call us"))

    def _add(self, leg: Leg) -> Leg:
        self._legs.append(leg)
        self._on_leg(leg)
        return leg
