"""The SCU against peers that misbehave: each outcome, with the words that a user reads, and what the peer saw of us."""

import errno
import gc
import json
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import pytest

from minipacs import EchoResult, Outcome, Peer, echo, echo_all
from minipacs.recognition import unreachable
from minipacs.requestor import Requestor
from minipacs.wire.verification import request
from tests import fakes
from tests.fakes import Behaviour, Conversation, faking
from tests.peers.ports import free_port
from tests.wire.exchange import ABORT_0_0, ABORT_2_1, ABORT_2_2, ABORT_2_6, RELEASE_RP, RELEASE_RQ

TIMEOUT = 0.5
HANGS = 1.8 * TIMEOUT  # in seconds: one deadline has passed, and not a second one

REGISTER = (
    "on FAKE: register AE title MINIPACS at 127.0.0.1 port 11112; Orthanc: "
    '"DicomModalities": { "minipacs": ["MINIPACS", "127.0.0.1", 11112] } '
    "(with DicomCheckModalityHost, the numeric address that we call from; with StrictAetComparison, capitals count)"
)
BROKEN = "the peer is broken: see its log"
BROKEN_OR_PROXY = "the peer, or a proxy before it, is broken: see its log"
FOR_THE_VENDOR = "the peer, or a proxy before it, is broken: report this to its vendor"
NO_ECHO_SCP = "enable the Verification SCP on FAKE, or call another of its AE titles"
ADMIT_VERIFICATION = "allow Verification (C-ECHO) for MINIPACS on FAKE"
DIED = "see the peer's log: its process may have died, or a proxy between may have cut the connection"

REASON_CLOSED = "connected, but the peer closed the connection without an answer to the association request"
FIX_CLOSED = (
    "check that port PORT is the peer's DICOM port; it may want TLS (--tls), have an IP access list "
    "(register 127.0.0.1 there), or be a load balancer with nothing behind it"
)

OUR_REQUEST = request("MINIPACS", "FAKE").encode()

CONNECTED, ASSOCIATED, ECHOED, RELEASED = range(1, 5)
"""How far a call came, by the phases that were timed."""


@dataclass(frozen=True)
class Case:
    """What a user is told of a peer; PORT stands for the port of the fake."""

    behave: Behaviour
    outcome: Outcome
    code: str
    reason: str
    fix: str
    timed: tuple[int, ...]
    last_sent: bytes | None
    status: int | None = None
    observations: tuple[str, ...] = ()


def no_association(behave: Behaviour, code: str, reason: str, fix: str, last_sent: bytes | None) -> Case:
    timed = (CONNECTED,) if code == "silence" else (CONNECTED, ASSOCIATED)
    return Case(behave, Outcome.NO_ASSOCIATION, f"no-association.{code}", reason, fix, timed, last_sent)


def rejected(codes: tuple[int, int, int], code: str, reason: str, fix: str) -> Case:
    reason += f" (rejected {'/'.join(map(str, codes))})"
    timed = (CONNECTED, ASSOCIATED)
    return Case(fakes.rejects(*codes), Outcome.REJECTED, f"rejected.{code}", reason, fix, timed, OUR_REQUEST)


def no_context(behave: Behaviour, code: str, reason: str, fix: str, *observations: str) -> Case:
    timed = (CONNECTED, ASSOCIATED, RELEASED)
    return Case(
        behave, Outcome.NO_CONTEXT, f"no-context.{code}", reason, fix, timed, RELEASE_RQ, observations=observations
    )


def aborted(
    behave: Behaviour, code: str, reason: str, fix: str, last_sent: bytes | None = None, timed: int = ASSOCIATED
) -> Case:
    return Case(behave, Outcome.ABORTED, f"aborted.{code}", reason, fix, tuple(range(1, timed + 1)), last_sent)


def invalid(behave: Behaviour, detail: str, last_sent: bytes) -> Case:
    return aborted(
        behave, "invalid", f"FAKE breaks the protocol, so that we aborted: {detail}", FOR_THE_VENDOR, last_sent
    )


def confused(behave: Behaviour, detail: str) -> Case:
    reason = f"FAKE sends what is no answer to our C-ECHO, so that we aborted: {detail}"
    return aborted(
        behave, "another-message", reason, "the peer confuses its messages: report this to its vendor", ABORT_2_2
    )


def failure(status: int, code: str, words: str, fix: str) -> Case:
    return Case(
        fakes.answers_with_status(status),
        Outcome.FAILURE,
        f"failure.{code}",
        f"FAKE answers the C-ECHO with status 0x{status:04X}{words}",
        fix,
        (CONNECTED, ASSOCIATED, ECHOED, RELEASED),
        RELEASE_RQ,
        status,
    )


CASES = {
    # --- connected, no answer to the A-ASSOCIATE-RQ
    "silence": no_association(
        fakes.keeps_silent,
        "silence",
        "connected, but no answer to the association request within 0.5 s",
        "check that port PORT is the peer's DICOM port; it may want TLS (--tls), be another kind of "
        "service, or be blocked by another client: try again, and ask its administrator for stuck associations",
        ABORT_0_0,
    ),
    "close at once": no_association(fakes.closes_at_once, "closed", REASON_CLOSED, FIX_CLOSED, None),
    "close": no_association(fakes.closes_after_the_request, "closed", REASON_CLOSED, FIX_CLOSED, OUR_REQUEST),
    "reset": no_association(fakes.resets_after_the_request, "closed", REASON_CLOSED, FIX_CLOSED, OUR_REQUEST),
    "half an answer": no_association(fakes.closes_inside_its_answer, "closed", REASON_CLOSED, FIX_CLOSED, OUR_REQUEST),
    "HTTP": no_association(
        fakes.speaks_http,
        "http",
        "port PORT speaks HTTP, not DICOM",
        "use the peer's DICOM port: Orthanc's is 4242 unless changed, 8042 is its web port",
        ABORT_2_1,
    ),
    "TLS": no_association(
        fakes.speaks_tls,
        "tls",
        "port PORT speaks TLS, and we called it in plain",
        "set tls = true for the peer (minipacs echo --tls), or use its port for plain DICOM; Orthanc has one port, and "
        "DicomTlsEnabled says which",
        ABORT_2_1,
    ),
    "SSH": no_association(
        fakes.speaks_ssh,
        "noise",
        "port PORT speaks another protocol; its first bytes are 53 53 48 2d 32 2e 30 2d 4f 70 65 6e 53 53 48 5f",
        "use the peer's DICOM port",
        ABORT_2_1,
    ),
    # --- A-ASSOCIATE-RJ
    "1/1/1": rejected(
        (1, 1, 1),
        "no-reason",
        "FAKE refuses us and gives no reason",
        "see the peer's log; some want a known implementation class UID, some an AE title or address that is "
        "registered: ours are MINIPACS and 127.0.0.1",
    ),
    "1/1/2": rejected(
        (1, 1, 2), "application-context", "the peer does not know the DICOM application context", BROKEN_OR_PROXY
    ),
    "1/1/3": rejected(
        (1, 1, 3),
        "calling-ae-title",
        "FAKE does not know our AE title MINIPACS, or not from this address",
        REGISTER,
    ),
    "1/1/7": rejected(
        (1, 1, 7),
        "called-ae-title",
        "the peer is not called FAKE",
        "set ae_title of the peer, which we called FAKE, to its own title, exactly: capitals count; Orthanc's is its "
        "DicomAet, ORTHANC unless changed",
    ),
    "1/2/1": rejected(
        (1, 2, 1),
        "no-reason",
        "FAKE refuses us and gives no reason",
        "see the peer's log; some want a known implementation class UID, some an AE title or address that is "
        "registered: ours are MINIPACS and 127.0.0.1",
    ),
    "1/2/2": rejected(
        (1, 2, 2), "protocol-version", "the peer does not support version 1 of the protocol", BROKEN_OR_PROXY
    ),
    "2/3/1": rejected(
        (2, 3, 1),
        "congestion",
        "the peer is congested for the moment",
        "wait and try again; look for clients that do not end their associations",
    ),
    "2/3/2": rejected(
        (2, 3, 2),
        "limit",
        "the peer has as many associations as it takes",
        "wait and try again; raise its limit; look for clients that do not end their associations",
    ),
    "9/9/9": rejected((9, 9, 9), "unknown", "the peer rejects us with codes outside the standard", BROKEN),
    "0/0/0": rejected((0, 0, 0), "unknown", "the peer rejects us with codes outside the standard", BROKEN),
    "1/1/4": rejected((1, 1, 4), "unknown", "the peer rejects us with codes outside the standard", BROKEN),
    "3/1/3": rejected((3, 1, 3), "unknown", "the peer rejects us with codes outside the standard", BROKEN),
    # --- accepted, Verification not
    "result 1": no_context(
        fakes.refuses_verification(1),
        "user-rejection",
        "FAKE refuses the Verification context as its user (result 1)",
        ADMIT_VERIFICATION,
    ),
    "result 2": no_context(
        fakes.refuses_verification(2),
        "no-reason",
        "FAKE refuses the Verification context without a reason (result 2)",
        "see the peer's log; allow Verification (C-ECHO) for MINIPACS there",
    ),
    "result 3": no_context(
        fakes.refuses_verification(3), "abstract-syntax", "FAKE does not offer Verification (result 3)", NO_ECHO_SCP
    ),
    "result 4": no_context(
        fakes.refuses_verification(4),
        "transfer-syntaxes",
        "FAKE offers Verification, but not in Implicit VR Little Endian (result 4)",
        "allow Implicit VR Little Endian for Verification on FAKE: every node has to take it; or propose more: "
        "--propose all",
    ),
    "result 5": no_context(
        fakes.refuses_verification(5),
        "unknown",
        "FAKE gives no valid answer for the Verification context (result 5, outside the standard)",
        BROKEN,
        "presentation context 1 has result 5, which is none",
    ),
    "another context": no_context(
        fakes.answers_another_context,
        "unknown",
        "FAKE gives no valid answer for the Verification context (none came)",
        BROKEN,
        "answer to presentation context 3, which awaits none",
        "presentation context 1 was not answered",
    ),
    # --- aborted
    "abort at association": aborted(
        fakes.aborts_the_request,
        "at-association",
        "FAKE answers the association request by A-ABORT 2/0",
        "see the peer's log: some refuse strangers that way, others abort on a request that they cannot read",
        OUR_REQUEST,
    ),
    "malformed acceptance": invalid(
        fakes.accepts_malformed, "item 0x10 announces 65535 bytes, 128 are there", ABORT_2_6
    ),
    "release at association": invalid(fakes.releases_the_request, "unexpected A-RELEASE-RQ in Sta5", ABORT_2_2),
    "abort at echo": aborted(
        fakes.aborts_the_echo,
        "at-echo",
        "FAKE accepts the association and answers the C-ECHO by A-ABORT 0/0",
        "Orthanc does that with DicomAlwaysAllowEcho false: where it knows us with AllowEcho false, set that to true; "
        "where it does not know us, " + REGISTER,
    ),
    "close at echo": aborted(
        fakes.closes_at_the_echo, "closed", "FAKE closed the connection in the middle of the association", DIED
    ),
    "reset at echo": aborted(
        fakes.resets_at_the_echo, "closed", "FAKE closed the connection in the middle of the association", DIED
    ),
    "release at echo": aborted(
        fakes.releases_in_place_of_an_answer,
        "released",
        "FAKE released the association instead of answering the C-ECHO",
        "see the peer's log: it ended the association of its own accord",
        RELEASE_RP,
    ),
    "another message": confused(fakes.answers_another_message, "C-ECHO-RSP to message 9, not to 1"),
    "request for response": confused(fakes.asks_back, "command 0x0030 instead of a C-ECHO-RSP with a status"),
    "no status": confused(fakes.answers_without_status, "command 0x8030 instead of a C-ECHO-RSP with a status"),
    "malformed response": invalid(
        fakes.answers_malformed, "element (0000,0900) announces 2 bytes, 0 are there", ABORT_2_6
    ),
    "response too long": invalid(
        fakes.answers_too_long, "P-DATA-TF of 16385 bytes, more than the 16384 that we take", ABORT_2_6
    ),
    # --- the C-ECHO
    "no response": Case(
        fakes.never_answers_the_echo,
        Outcome.NO_RESPONSE,
        "no-response.silence",
        "FAKE accepted the association, but did not answer the C-ECHO within 0.5 s",
        "the peer is overloaded or hangs: see its log, try again with a longer --timeout",
        (CONNECTED, ASSOCIATED),
        ABORT_0_0,
    ),
    "0x0122": failure(0x0122, "sop-class-not-supported", ", SOP class not supported", "enable Verification on FAKE"),
    "0x0210": failure(
        0x0210,
        "duplicate-invocation",
        ", duplicate invocation",
        "the peer confuses message IDs: report this to its vendor",
    ),
    "0x0211": failure(
        0x0211,
        "unrecognized-operation",
        ", unrecognized operation",
        "enable Verification on FAKE, or call another of its AE titles",
    ),
    "0x0212": failure(
        0x0212,
        "mistyped-argument",
        ", mistyped argument",
        "the peer does not read our C-ECHO: report this to its vendor",
    ),
    "0xC000": failure(0xC000, "other", "", "see the peer's log"),
}


# They send no byte, so that the port is looked at for TLS, then for HTTP.
MET_BY_A_LOOK = {
    fakes.keeps_silent,
    fakes.closes_at_once,
    fakes.closes_after_the_request,
    fakes.resets_after_the_request,
}


def open_files() -> int:
    gc.collect()  # what another test has left in a circle
    return len(list(Path("/proc/self/fd").iterdir()))


def phases(result: EchoResult) -> tuple[int, ...]:
    times = (result.connect_ms, result.associate_ms, result.echo_ms, result.release_ms)
    return tuple(number for number, time in enumerate(times, 1) if time is not None)


@pytest.mark.parametrize("name", CASES)
def test_each_peer_that_misbehaves_is_named(name: str) -> None:
    case = CASES[name]
    before = open_files()
    with faking(case.behave) as fake:
        result = echo(fake.peer, timeout=TIMEOUT)
    assert (result.outcome, result.code) == (case.outcome, case.code)
    assert result.reason == in_these_words(case.reason, fake.peer.port)
    assert result.fix == in_these_words(case.fix, fake.peer.port)
    assert result.observations == case.observations
    assert (result.status, result.requested, result.echoes, result.loss) == (case.status, 1, 0, 1.0)
    assert phases(result) == case.timed
    assert result.total_ms < HANGS * 1000
    assert not result.is_success
    if case.last_sent is not None:
        assert fake.conversations[0][-1] == case.last_sent
    assert fake.connections == (3 if case.behave in MET_BY_A_LOOK else 1)
    assert open_files() == before


# --- unreachable ---------------------------------------------------------------------------------------------------

Nobody = Callable[[], AbstractContextManager[Peer]]


def in_these_words(text: str, port: int | None) -> str:
    """*text* as it is told here: PORT is the port of the peer, RESOLVER what the resolver says of an unknown name."""
    if "RESOLVER" in text:
        with pytest.raises(socket.gaierror) as caught:
            socket.getaddrinfo("no-such-host.invalid", 104)
        text = text.replace("RESOLVER", str(caught.value.strerror))
    return text if port is None else text.replace("PORT", str(port))


UNREACHABLE: dict[str, tuple[Nobody, str, str]] = {
    "name": (
        partial(fakes.at, "no-such-host.invalid"),
        "no-such-host.invalid does not resolve: RESOLVER",
        "use an IP address, or a host name that this machine resolves; a container's name resolves only inside its "
        "network",
    ),
    "refused": (
        fakes.refusing,
        "nothing listens on 127.0.0.1 port PORT: connection refused",
        "start the peer or correct its port; check that it listens on that address and not only on 127.0.0.1, and the "
        "port mapping of a container",
    ),
    "timeout": (
        fakes.never_connecting,
        "no answer to the connection to 127.0.0.1 port PORT within 0.5 s",
        "check the address; open TCP port PORT in the firewalls between, and our port 11112 the other way; check that "
        "a VPN is up",
    ),
    # A broadcast address: the kernel has no route to it for TCP, and nothing leaves this machine.
    "no-route": (
        partial(fakes.at, "127.255.255.255"),
        f"no route to 127.255.255.255: {os.strerror(errno.ENETUNREACH)}",
        "check the address, and the network and routing of this machine",
    ),
    # A link-local address that names no link.
    "other": (
        partial(fakes.at, "fe80::1"),
        f"cannot connect to fe80::1 port PORT: {os.strerror(errno.EINVAL)}",
        "check the address and the port, and the limits of this machine",
    ),
}


@pytest.mark.parametrize("name", UNREACHABLE)
def test_each_peer_that_cannot_be_reached_is_named(name: str) -> None:
    nobody, reason, fix = UNREACHABLE[name]
    before = open_files()
    with nobody() as peer:
        result = echo(peer, timeout=TIMEOUT)
    assert (result.outcome, result.code) == (Outcome.UNREACHABLE, f"unreachable.{name}")
    assert result.reason == in_these_words(reason, peer.port)
    assert result.fix == in_these_words(fix, peer.port)
    assert (result.status, result.echoes, result.observations, phases(result)) == (None, 0, (), ())
    assert result.total_ms < HANGS * 1000 or name == "name"  # the resolver takes its own time
    assert open_files() == before


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EHOSTUNREACH, "no-route"),
        (errno.ENETUNREACH, "no-route"),
        (errno.EHOSTDOWN, "no-route"),
        (errno.ENETDOWN, "no-route"),
        (errno.ECONNREFUSED, "refused"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EMFILE, "other"),
        (errno.EACCES, "other"),
    ],
    ids=errno.errorcode.get,
)
def test_each_error_of_connect_is_told_apart(number: int, code: str) -> None:
    failed = unreachable(OSError(number, "words"))
    assert (failed.outcome, failed.code, failed.detail) == (Outcome.UNREACHABLE, f"unreachable.{code}", "words")


def test_a_host_name_that_is_none_does_not_resolve() -> None:
    assert unreachable(UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range")).code == "unreachable.name"


# --- several addresses ---------------------------------------------------------------------------------------------


def resolving_to(*hosts: str) -> Callable[..., list[tuple[object, ...]]]:
    """A resolver that knows these addresses for every name."""

    def getaddrinfo(_: object, port: int, **__: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in hosts
        ]

    return getaddrinfo


def test_an_address_that_does_not_answer_before_one_that_does_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    with faking(fakes.behaves) as fake:
        peer = Peer("fake", "FAKE", "localhost", fake.peer.port)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", resolving_to("127.0.0.2", "::1", "127.0.0.1"))
            result = echo(peer, timeout=TIMEOUT)
    assert result.is_success
    assert result.observations[0] == "no connection to 127.0.0.2: Connection refused"
    assert result.observations[1].startswith("no connection to ::1: ")
    assert len(result.observations) == 2


def test_of_several_addresses_none_of_which_answers_the_last_one_is_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fakes.refusing() as nobody:
        peer = Peer("fake", "FAKE", "localhost", nobody.port)
        monkeypatch.setattr(socket, "getaddrinfo", resolving_to("127.255.255.255", "127.0.0.1"))
        result = echo(peer, timeout=TIMEOUT)
    assert result.code == "unreachable.refused"
    assert result.observations == ("no connection to 127.255.255.255: Network is unreachable",)


# --- success -------------------------------------------------------------------------------------------------------

UNANSWERED_RELEASE = "the release was not answered: it works, but the peer keeps its associations"

SUCCESSES: dict[str, tuple[Behaviour, tuple[str, ...], bytes]] = {
    "good": (fakes.behaves, (), RELEASE_RQ),
    "maximum length 14": (fakes.takes_fourteen_bytes_at_once, (), RELEASE_RQ),
    "single bytes": (fakes.sends_single_bytes, (), RELEASE_RQ),
    "header and body": (fakes.sends_header_and_body, (), RELEASE_RQ),
    "unknown items": (
        fakes.tells_unknown_things,
        (
            "unknown user information sub-item 0x7A ignored",
            "unknown item 0x77 ignored",
        ),
        RELEASE_RQ,
    ),
    "release not answered": (fakes.never_answers_the_release, (UNANSWERED_RELEASE,), ABORT_0_0),
    "release collision": (fakes.releases_at_the_same_time, (), RELEASE_RP),
    "abort at release": (fakes.aborts_the_release, ("A-ABORT came in place of an answer to the release",), RELEASE_RQ),
    "close at release": (
        fakes.closes_at_the_release,
        ("a close of the connection came in place of an answer to the release",),
        RELEASE_RQ,
    ),
    "answered twice": (fakes.answers_twice, ("a message came in place of an answer to the release",), ABORT_0_0),
}


@pytest.mark.parametrize("name", SUCCESSES)
def test_a_peer_that_answers_the_echo_is_a_success(name: str) -> None:
    behave, observations, last_sent = SUCCESSES[name]
    before = open_files()
    with faking(behave) as fake:
        result = echo(fake.peer, timeout=TIMEOUT)
    assert (result.outcome, result.code, result.reason, result.fix) == (Outcome.SUCCESS, "", "", "")
    assert (result.status, result.requested, result.echoes, result.loss) == (0, 1, 1, 0.0)
    assert result.observations == observations
    is_released = observations != (UNANSWERED_RELEASE,)
    assert phases(result) == (CONNECTED, ASSOCIATED, ECHOED, RELEASED)[: 4 if is_released else 3]
    assert fake.received[-1] == last_sent
    assert open_files() == before


def test_the_phases_make_up_the_total() -> None:
    with faking(fakes.behaves) as fake:
        result = echo(fake.peer)
    times = (result.connect_ms, result.associate_ms, result.echo_ms, result.release_ms)
    assert all(time is not None and 0 < time < result.total_ms for time in times)
    assert sum(time for time in times if time is not None) <= result.total_ms


# --- several echoes ------------------------------------------------------------------------------------------------


def test_all_echoes_go_over_one_association() -> None:
    seen: list[int] = []

    def counts(conversation: Conversation) -> None:
        fakes.accepts(conversation)
        while message_id := conversation.echo():
            seen.append(message_id)
            conversation.send(fakes.echo_rsp(message_id))
        conversation.send(RELEASE_RP)

    with faking(counts) as fake:
        result = echo(fake.peer, count=50)
    assert (result.outcome, result.requested, result.echoes, result.loss) == (Outcome.SUCCESS, 50, 50, 0.0)
    assert seen == list(range(1, 51))
    assert len(result.echo_times_ms) == 50
    assert result.echo_ms == pytest.approx(sum(sorted(result.echo_times_ms)[24:26]) / 2)
    assert fake.connections == 1


def test_the_interval_lies_between_the_echoes() -> None:
    with faking(fakes.behaves) as fake:
        result = echo(fake.peer, count=4, interval=0.05)
    assert result.echoes == 4
    assert 150 <= result.total_ms < 1000


def test_the_body_of_a_pdu_does_not_wait_for_a_delayed_acknowledgement() -> None:
    """It would for 40 ms, each time."""
    with faking(fakes.sends_header_and_body) as fake:
        result = echo(fake.peer, count=10)
    assert result.echo_ms is not None
    assert result.echo_ms < 30


def test_of_several_echoes_the_failed_ones_are_the_loss() -> None:
    with faking(fakes.answers_with_status(0x0000, 0x0122, 0x0211, 0x0000)) as fake:
        result = echo(fake.peer, count=4)
    assert (result.outcome, result.code) == (Outcome.FAILURE, "failure.unrecognized-operation")
    assert result.reason == "FAKE answers the C-ECHO with status 0x0211, unrecognized operation"
    assert (result.echoes, result.loss, result.status) == (2, 0.5, 0x0211)
    assert fake.received[-1] == RELEASE_RQ


def test_an_echo_that_is_not_answered_ends_the_call() -> None:
    with faking(fakes.answers_one_echo) as fake:
        result = echo(fake.peer, count=4, timeout=TIMEOUT)
    assert (result.outcome, result.code, result.status) == (Outcome.NO_RESPONSE, "no-response.silence", 0)
    assert (result.echoes, result.loss, len(result.echo_times_ms)) == (1, 0.75, 1)
    assert result.total_ms < HANGS * 1000
    assert fake.received[-1] == ABORT_0_0


FIX_INTERVAL = (
    "the peer does not keep an association open for that long without an echo: choose a shorter --interval, or raise "
    "its timeout there (Orthanc: DicomScpTimeout)"
)

BETWEEN = {
    "abort": (fakes.aborts_between_echoes, "A-ABORT"),
    "close": (fakes.closes_between_echoes, "a close of the connection"),
    "release": (fakes.releases_between_echoes, "A-RELEASE-RQ"),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_a_peer_that_ends_the_association_between_two_echoes_is_named(name: str) -> None:
    behave, by = BETWEEN[name]
    with faking(behave) as fake:
        result = echo(fake.peer, count=3, interval=TIMEOUT, timeout=TIMEOUT)
    assert (result.outcome, result.code) == (Outcome.ABORTED, "aborted.between-echoes")
    assert (result.reason, result.fix) == (f"FAKE ended the association between two echoes by {by}", FIX_INTERVAL)
    assert (result.status, result.echoes, result.requested, result.observations) == (0, 1, 3, ())
    assert phases(result) == (CONNECTED, ASSOCIATED, ECHOED)


def test_a_peer_that_asks_between_two_echoes_is_aborted() -> None:
    with faking(fakes.asks_between_echoes) as fake:
        result = echo(fake.peer, count=3, interval=TIMEOUT, timeout=TIMEOUT)
    assert (result.outcome, result.code) == (Outcome.ABORTED, "aborted.another-message")
    assert result.reason == (
        "FAKE sends what is no answer to our C-ECHO, so that we aborted: command 0x0030 between two echoes"
    )
    assert (result.echoes, result.observations) == (1, ())
    assert fake.received[-1] == ABORT_2_2
    assert result.total_ms < HANGS * 1000


# --- the deadline, and wait ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("behave", [fakes.trickles_its_acceptance, fakes.trickles_its_response])
def test_a_peer_that_trickles_its_answer_does_not_put_off_the_deadline(behave: Behaviour) -> None:
    with faking(behave) as fake:
        result = echo(fake.peer, timeout=TIMEOUT)
    assert result.outcome in {Outcome.NO_ASSOCIATION, Outcome.NO_RESPONSE}
    assert TIMEOUT * 1000 <= result.total_ms < HANGS * 1000
    assert fake.received[-1] == ABORT_0_0
    assert fake.connections == 1


def test_wait_tries_again_until_the_peer_appears() -> None:
    peer = Peer("late", "FAKE", "127.0.0.1", free_port())
    assert peer.port is not None
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(echo, peer, wait=10.0)
        with faking(fakes.behaves, port=peer.port):
            assert call.result(10.0).is_success


def test_wait_tries_again_until_the_peer_agrees() -> None:
    with faking(fakes.in_turn(fakes.rejects(1, 1, 3), fakes.closes_at_once, fakes.behaves)) as fake:
        result = echo(fake.peer, wait=10.0)
    assert result.is_success
    assert fake.connections == 3


def test_when_the_wait_is_over_the_last_failure_is_told() -> None:
    with faking(fakes.rejects(1, 1, 3)) as fake:
        started = perf_counter()
        result = echo(fake.peer, wait=0.6)
        seconds = perf_counter() - started
    assert result.code == "rejected.calling-ae-title"
    assert fake.connections in {2, 3}
    assert seconds < 1.6


# --- many at once --------------------------------------------------------------------------------------------------


def test_many_peers_take_little_longer_than_one_and_keep_their_order() -> None:
    with faking(fakes.behaves) as good, faking(fakes.keeps_silent) as silent, fakes.refusing() as nobody:
        ports = [good.peer.port, silent.peer.port, nobody.port]
        peers = [Peer(f"peer-{number}", "FAKE", "127.0.0.1", ports[number % 3]) for number in range(60)]
        started = perf_counter()
        results = list(echo_all(peers, partial(echo, timeout=0.8)))
        seconds = perf_counter() - started
    assert [result.peer for result in results] == peers
    assert [result.outcome for result in results] == [
        Outcome.SUCCESS,
        Outcome.NO_ASSOCIATION,
        Outcome.UNREACHABLE,
    ] * 20
    assert 0.8 <= seconds < 4.0  # with the look at the silent one, as long as the timeout again


def test_a_result_is_there_before_those_behind_it() -> None:
    with faking(fakes.behaves) as good, faking(fakes.keeps_silent) as silent:
        started = perf_counter()
        results = echo_all([good.peer, silent.peer], partial(echo, timeout=1.0))
        assert next(results).is_success
        assert perf_counter() - started < 0.9
        assert next(results).outcome is Outcome.NO_ASSOCIATION


def test_no_peers_are_no_results() -> None:
    assert list(echo_all([])) == []


def test_a_wrong_call_among_many_is_raised_in_its_turn() -> None:
    with faking(fakes.behaves) as fake:
        results = echo_all([fake.peer, Peer("caller", "CALLER")])
        assert next(results).is_success
        with pytest.raises(ValueError, match="peer caller has no host and port: it only calls us"):
            next(results)


# --- how it is called ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [{"count": 0}, {"interval": -0.1}, {"timeout": 0.0}])
def test_a_number_out_of_range_is_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="count must be at least 1, interval at least 0 and timeout more than 0"):
        echo(Peer("fake", "FAKE", "127.0.0.1", 104), **numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ae_title", "rule"),
    [
        ("", "must not be empty"),
        ("SEVENTEEN-LETTERS", "must be at most 16 characters"),
        ("A\\B", "must not contain a backslash"),
        ("RÖNTGEN", "must be printable ASCII"),
    ],
)
def test_a_calling_ae_title_that_is_none_is_refused(ae_title: str, rule: str) -> None:
    """It would make a request that no peer can read."""
    with pytest.raises(ValueError, match=f"calling_ae_title: {rule}"):
        echo(Peer("fake", "FAKE", "127.0.0.1", 104), ae_title)


def test_we_call_by_the_titles_that_we_are_given() -> None:
    with faking(fakes.behaves) as fake:
        echo(fake.peer, " WORKSTATION ")
    assert fake.received[0] == request("WORKSTATION", "FAKE").encode()


def test_the_advice_to_register_us_names_our_title_address_and_port() -> None:
    with faking(fakes.rejects(1, 1, 3)) as fake:
        result = echo(fake.peer, "CT SCANNER/1", scp_port=104)
    assert '"ct-scanner-1": ["CT SCANNER/1", "127.0.0.1", 104]' in result.fix


def test_a_title_with_a_quotation_mark_can_be_pasted_too() -> None:
    with faking(fakes.rejects(1, 1, 3)) as fake:
        result = echo(fake.peer, 'CT "1"')
    pasted = result.fix.partition('Orthanc: "DicomModalities": ')[2].partition(" (with")[0]
    assert json.loads(pasted) == {"ct--1": ['CT "1"', "127.0.0.1", 11112]}


def test_small_pdus_are_sent_at_once() -> None:
    with faking(fakes.behaves) as fake, closing(Requestor()) as requestor:
        assert fake.peer.port is not None
        requestor.connect("127.0.0.1", fake.peer.port, TIMEOUT)
        assert requestor._socket is not None
        assert requestor._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_piece_of_a_pdu_is_acknowledged_at_once_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option does not stick: the kernel drops it when it thinks fit."""
    armed: list[object] = []
    monkeypatch.setattr("minipacs.requestor.acknowledge_at_once", armed.append)
    with faking(fakes.sends_header_and_body) as fake:
        assert echo(fake.peer, count=3).is_success
    assert 1 <= len(armed) <= 3  # a header each; whoever is late by a delayed acknowledgement reads it with its body


def test_a_whole_pdu_is_acknowledged_by_what_we_send_next(monkeypatch: pytest.MonkeyPatch) -> None:
    armed: list[object] = []
    monkeypatch.setattr("minipacs.requestor.acknowledge_at_once", armed.append)
    with faking(fakes.behaves) as fake:
        assert echo(fake.peer, count=3).is_success
    assert armed == []


def test_a_peer_that_takes_nothing_of_what_we_propose_is_told_apart() -> None:
    with faking(fakes.refuses_verification(4)) as fake:
        result = echo(fake.peer, transfer_syntaxes=("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.2"))
    assert (result.outcome, result.code) == (Outcome.NO_CONTEXT, "no-context.proposal")
    assert result.reason == "FAKE offers Verification, but in no transfer syntax that we propose (result 4)"
    assert result.fix == "propose Implicit VR Little Endian too, which every node has to take: --propose implicit"
    asked = request("MINIPACS", "FAKE", ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.2"))
    assert fake.received[0] == asked.encode()


def test_the_maximum_length_that_we_announce_is_ours_to_say() -> None:
    with faking(fakes.behaves) as fake:
        result = echo(fake.peer, maximum_length=0)
    assert result.is_success
    assert fake.received[0] == request("MINIPACS", "FAKE", maximum_length=0).encode()


def test_every_outcome_is_that_of_some_peer() -> None:
    assert {case.outcome for case in CASES.values()} | {Outcome.SUCCESS, Outcome.UNREACHABLE} == set(Outcome)
