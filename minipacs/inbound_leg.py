"""The leg in: the peer is made to call us, or asked to, and what arrives at the node is held against what it says."""

from __future__ import annotations

import shlex
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from minipacs.association_record import AssociationOutcome, AssociationRecord
from minipacs.diagnosis import Diagnosis, diagnose, symbol
from minipacs.errors import OrthancError
from minipacs.leg import Leg, Standing, leg_of, since
from minipacs.scu import DEFAULT_TIMEOUT
from minipacs.verdict import InboundOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minipacs.bounded import Deadline
    from minipacs.inbound import Inbound
    from minipacs.orthanc import Orthanc
    from minipacs.peers import Peer
    from minipacs.registration import Wanted

_GRACE = 3.0  # seconds in which an association that the peer has ended is told by the node

_OVERTIME = 1.0  # seconds to read what came in time, though more comes without end

# What Orthanc (DCMTK) says when its echo fails, and the row that explains it; measured on 1.10.1.
_WHAT_ORTHANC_SAYS = (
    ("Connection refused", "orthanc.refused"),
    ("unknown host", "orthanc.name"),
    ("Illegal service parameter", "orthanc.address"),
    ("presentation context", "orthanc.no-context"),
    ("Association Rejected", "orthanc.rejected"),
    ("DIMSE No data available", "orthanc.no-response"),
    ("network read timeout", "orthanc.silence"),
    ("Unrecognized PDU type: 15", "orthanc.tls"),  # an alert; the number is hexadecimal
    ("Unrecognized PDU type", "orthanc.no-dicom"),
    ("Peer aborted Association", "orthanc.aborted"),
    ("answered with a failure", "orthanc.failure"),
)

_PATIENCE = 2.2  # Orthanc gives up an echo that is not answered after twice the time that it is given (1.10.1)

_NEVER_LEFT = frozenset({"orthanc.refused", "orthanc.name", "orthanc.address"})


class Arrivals:
    """What arrives at the node while we watch: the peer's calls, and those of strangers who may be the peer.

    Args:
        node: which tells of each association.
        peer: whose call we wait for.
        titles: AE titles that it is known to call under, besides that of the table.
    """

    def __init__(self, node: Inbound, peer: Peer, titles: tuple[str, ...] = ()) -> None:
        self._node = node
        self.peer = peer
        self.peers_option = node.peers_option
        self._titles = {peer.ae_title, *titles}
        self.last_call: AssociationRecord | None = None
        self.last_stranger: AssociationRecord | None = None

    def until(self, deadline: float) -> Iterator[AssociationRecord]:
        """Yield each call of the peer, and each refusal of a stranger, until that time.

        Args:
            deadline: of the monotonic clock, in seconds.
        """
        end = max(deadline, monotonic()) + _OVERTIME
        while monotonic() < end:
            try:
                record = self._node.next_association(deadline - monotonic())
            except TimeoutError:
                return
            if self._is_of_peer(record):
                self.last_call = record
                yield record
            elif record.outcome is AssociationOutcome.REJECTED and record.peer is None:
                self.last_stranger = record
                yield record

    def pass_over(self) -> None:
        """Forget what has arrived so far."""
        for _ in self.until(monotonic()):
            pass
        self.last_call = self.last_stranger = None

    def _is_of_peer(self, record: AssociationRecord) -> bool:
        if record.peer is not None and self.peer.name:
            return record.peer == self.peer.name
        return record.calling_ae_title in self._titles


def by_rest(orthanc: Orthanc, wanted: Wanted, entry: str | None, arrivals: Arrivals, deadline: Deadline) -> Leg:
    """Make Orthanc echo us, and see it arrive.

    Args:
        orthanc: the peer.
        wanted: what we are.
        entry: symbolic name of what Orthanc has for us; None: it is told where we are for this once.
        arrivals: what arrives.
        deadline: when it has to be over.
    """
    started = perf_counter()
    seconds = max(1, int(min(DEFAULT_TIMEOUT, deadline.remaining() / _PATIENCE)))
    orthanc.deadline = deadline
    is_told = True
    arrivals.pass_over()  # nobody was asked to call yet
    try:
        if entry is not None:
            said = orthanc.echo(entry, seconds)
        else:
            said = orthanc.echo_stranger(wanted.ae_title, wanted.host, wanted.port, seconds)
    except OrthancError as error:
        said, is_told = str(error), False
    record = _collect(arrivals, said, deadline.at)
    if record is not None and said and _is_echo(record):  # with DicomEchoChecksFind it asks for more than an echo
        words = words_of(record, arrivals)
        also = f"{words.reason}; Orthanc calls it a failure all the same: {said}"
        return leg_of("in", _meaning(record), Standing.WARNED, Diagnosis(words.code, also, words.fix), since(started))
    if record is not None:
        return _arrived(record, started, arrivals)
    facts = {"name": entry or wanted.name, "wanted": str(wanted), "port": wanted.port, "detail": said}
    if not is_told:
        return leg_of("in", InboundOutcome.UNKNOWN, Standing.FAILED, diagnose("in.unknown", **facts), since(started))
    outcome = InboundOutcome.NOT_ARRIVED if said else InboundOutcome.ELSEWHERE
    words = diagnose(_row_of(said) if said else "in.elsewhere", **facts)
    return leg_of("in", outcome, Standing.FAILED, words, since(started))


def by_hand(
    peer: Peer, node: Inbound, our_address: str, arrivals: Arrivals, seconds: float, told: Callable[[str], None]
) -> Leg:
    """Wait until somebody has let the peer echo us.

    Args:
        peer: whose echo.
        node: which sees it arrive.
        our_address: where the peer has to call.
        arrivals: what arrives.
        seconds: to wait.
        told: of what to do, and of each call that is not an echo, at once: it may be put right, and called again.
    """
    started = perf_counter()
    to_do = "press Test Echo on the peer now"
    seconds = round(seconds, 1) or seconds
    told(f"waiting {seconds:g} s for {peer.ae_title} to call {node.ae_title} on port {node.port}: {to_do}")
    for record in arrivals.until(monotonic() + seconds):
        if _is_echo(record):
            return _arrived(record, started, arrivals)
        words = words_of(record, arrivals)
        told(f"{words.reason}; fix: {words.fix}")
    nearest = arrivals.last_call or arrivals.last_stranger
    if nearest is not None:
        return _arrived(nearest, started, arrivals)
    facts = {"called": peer.ae_title, "ae_title": node.ae_title, "local_host": our_address, "port": node.port}
    words = diagnose("in.silence", **facts, timeout=seconds)
    return leg_of("in", InboundOutcome.NOT_ARRIVED, Standing.FAILED, words, since(started))


def _arrived(record: AssociationRecord, started: float, arrivals: Arrivals) -> Leg:
    outcome = _meaning(record)
    standing = Standing.PASSED if outcome is InboundOutcome.SUCCESS else Standing.FAILED
    return leg_of("in", outcome, standing, words_of(record, arrivals), since(started))


def _is_echo(record: AssociationRecord) -> bool:
    """Whether the peer's echo succeeded."""
    return record.echoes > 0 and record.outcome in {AssociationOutcome.RELEASED, AssociationOutcome.CLOSED}


def _meaning(record: AssociationRecord) -> InboundOutcome:
    if _is_echo(record):
        return InboundOutcome.SUCCESS
    if record.code == "admission.called-ae-title":
        return InboundOutcome.MISCALLED
    if record.outcome is AssociationOutcome.REJECTED:
        return InboundOutcome.REJECTED
    return InboundOutcome.FAILED


def words_of(record: AssociationRecord, arrivals: Arrivals) -> Diagnosis:
    """Return what there is to say of a call that arrived: from which address, with which titles, with what result."""
    who = f"{record.calling_ae_title} called {record.called_ae_title} from {record.address}"
    if _is_echo(record):
        also = f"; {record.reason}" if record.reason else ""
        return Diagnosis(record.code, f"{who}: {record.counted_echoes}, {record.outcome}{also}", record.fix or "")
    reject = f" {record.reject}" if record.reject else ""
    result = f"{record.outcome}{reject}: {record.reason or 'no echo came'}"
    fix = record.fix or "see the peer's log"
    if record.code == "admission.calling-ae-title":
        fix = _line_that_admits(record, arrivals, fix)
    return Diagnosis(record.code, f"{who}: {result}", fix)


def _line_that_admits(record: AssociationRecord, arrivals: Arrivals, fix: str) -> str:
    """Return the command with all that is known here: which table it is, and where the peer listens."""
    option, peer = arrivals.peers_option, arrivals.peer
    if record.calling_ae_title == peer.ae_title:
        return f"minipacs peers add {symbol(peer.ae_title)} {shlex.quote(str(peer))}{option}"
    return fix if option in fix else fix.replace(", with the port", f"{option}, with the port")


def _collect(arrivals: Arrivals, said: str, deadline: float) -> AssociationRecord | None:
    """Return the call of a peer that *said* how it ended (empty: with success), or None when none arrived here.

    The node tells of an association when it is over, which may be a moment after the peer has said so.
    """
    grace = 0.0 if _row_of(said) in _NEVER_LEFT else _GRACE
    for record in arrivals.until(min(deadline, monotonic() + grace)):
        if record is arrivals.last_stranger and not said:
            continue  # somebody else, while the peer succeeded
        if _is_echo(record) or said:
            return record
    return arrivals.last_call


def _row_of(said: str) -> str:
    """Return the code of the row for what Orthanc says of an echo that failed and did not arrive here."""
    return next((code for words, code in _WHAT_ORTHANC_SAYS if words in said), "orthanc.other")
