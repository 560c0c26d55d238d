"""The round trip: its legs, one after the other, and what they prove together.

out: we echo the peer. stranger: we echo it as somebody whom it cannot know. registered: what Orthanc has for us.
in: the peer echoes us. And, where an image is to travel, those of image_legs.py. What all that proves is told by
verdict.py.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.bounded import Deadline
from minipacs.errors import ListenError
from minipacs.inbound import listening
from minipacs.inbound_leg import Arrivals, by_hand, by_rest
from minipacs.leg import Leg, Standing, since, skipped
from minipacs.outbound_legs import Caller, out, stranger
from minipacs.registered_leg import Registered, look
from minipacs.registration import Registration, Wanted, wanted
from minipacs.settings import Settings
from minipacs.verdict import Evidence, Verdict, enforced, verdict

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from minipacs.inbound import Inbound
    from minipacs.orthanc import Orthanc
    from minipacs.peers import Peer

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
        image: whether an image is stored there, found, moved back to us, compared, and taken away again.
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
    image: bool = False
    wait_inbound: float = 0.0
    timeout: float = 30.0
    tls: ssl.SSLContext | None = None

    @property
    def listens(self) -> bool:
        """Whether the peer can be made to call us."""
        return self.orthanc is not None or self.wait_inbound > 0 or self.image


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
        if not self.is_mutual:
            return ""
        left = next((leg for leg in self.legs if leg.leg == "remove" and leg.standing is Standing.FAILED), None)
        if left is not None:
            return f"{left.reason}; fix: {left.fix}"
        if self.enforced:
            return ""
        if self.enforced is None:
            return f"whether {self.peer.ae_title} admits only whom it knows was not shown"
        came = any(leg.leg == "compare" and leg.standing is not Standing.SKIPPED for leg in self.legs)
        how = "the image that it sent us" if came else "what it has registered"
        return f"{self.peer.ae_title} lets anybody echo; that it knows us is shown by {how}"


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
            StorageError: an image is to come, and cannot be kept.
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
            if self._plan.image:
                self._send_image()
        evidence = Evidence.of(self._legs)
        return RoundTrip(
            peer=self._peer,
            verdict=verdict(evidence),
            enforced=enforced(evidence),
            legs=tuple(self._legs),
            duration_ms=since(started),
        )

    def _listen(self, stack: ExitStack) -> Inbound:
        by_tls, stores = self._peer.tls, self._plan.image
        node = stack.enter_context(listening(self._settings, self._told, by_tls=by_tls, stores=stores))
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
        self._caller = caller = Caller(self._peer, self._settings.ae_title, port, self._deadline, self._plan.tls)
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
        if self._node is None or (self._plan.orthanc is None and not self._plan.wait_inbound):
            how = "without --orthanc URL or --wait-inbound SECONDS the peer is not made to call us"
            self._add(skipped("in", how))
            return
        registered, plan = self._registered, self._plan
        arrivals = self._arrivals(self._node)
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

    def _send_image(self) -> None:
        from minipacs.image_legs import ImageTrip, Trip, all_skipped

        if not any(leg.leg == "out" and leg.standing is Standing.PASSED for leg in self._legs):
            for leg in all_skipped("our own echo fails"):
                self._add(leg)
            return
        node, registered, wanted = self._node, self._registered, self._wanted
        assert node is not None
        is_asked = registered is not None and registered.is_known
        host = self._plan.our_address or (wanted.host if wanted else "")
        trip = Trip(
            self._caller,
            node,
            self._arrivals(node),
            self._plan.orthanc if is_asked else None,
            registered.leg if registered is not None and is_asked else None,
            f"{node.ae_title}@{host or node.host}:{node.port}",
            host,
            f"minipacs serve --storage FOLDER{self._serve_options(node)}",
        )
        with ImageTrip(trip, self._told, lambda: Deadline(_CLEANUP)) as image:
            for leg in image.legs():
                self._add(leg)

    def _serve_options(self, node: Inbound) -> str:
        """Return the options, each after a space, by which our node would run as it does."""
        usual = Settings()
        options = {
            "--ae-title": (node.ae_title, usual.ae_title),
            "--host": (node.host, usual.host),
            "--port": (str(node.port), str(usual.port)),
        }
        given = [f" {option} {shlex.quote(value)}" for option, (value, default) in options.items() if value != default]
        return "".join(given) + node.peers_option

    def _arrivals(self, node: Inbound) -> Arrivals:
        return Arrivals(node, self._peer, self._registered.titles if self._registered else ())

    def _add(self, leg: Leg) -> Leg:
        self._legs.append(leg)
        self._on_leg(leg)
        return leg
