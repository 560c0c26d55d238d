"""The peers that call and are called: each makes one attempt when asked to, and says what came of it."""

import random
import secrets
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from minipacs import EchoResult, Peer, echo

from ..fakes import faking
from ..harm.test_find_is_bounded import ENDLESS, MOST, asked
from ..harm.test_unread_standard_error import Node as Unread
from ..harm.test_unread_standard_error import associate
from ..peers.dcmtk import ECHOSCU
from ..peers.orthanc import Orthanc
from .attempts import Attempt, Saw
from .ledger import Ledger
from .renewal import Renewal
from .table import GUESTS, NEVER

TIMEOUT = 30.0
"""Seconds. A machine that stands still for a while is no failure of the node's."""

Try = Callable[[], Attempt]


def _attempt(client: str, who: str, wanted: Saw | None, act: Callable[[], tuple[Saw, str]]) -> Attempt:
    started = time.monotonic()
    saw, told = act()
    return Attempt(client, who, started, time.monotonic(), wanted, saw, told)


def _seen(result: EchoResult, refusals: Sequence[str]) -> tuple[Saw, str]:
    """What a result says; it is a refusal where its code begins with one of *refusals*."""
    if result.is_success:
        return Saw.ECHOED, ""
    told = f"{result.outcome}: {result.reason} [{result.code}]"
    return (Saw.REFUSED if result.code.startswith(tuple(refusals)) else Saw.NEITHER), told


_UNKNOWN = ("rejected.calling-ae-title",)


def _call(node: Peer, title: str, tls: ssl.SSLContext | None = None) -> tuple[Saw, str]:
    return _seen(echo(node, title, timeout=TIMEOUT, tls=tls), _UNKNOWN)


def ours(client: str, node: Peer, title: str, tls: ssl.SSLContext | None = None) -> Try:
    """Our own SCU, which is admitted."""
    return lambda: _attempt(client, title, Saw.ECHOED, lambda: _call(node, title, tls))


def holding(client: str, node: Peer, title: str, seconds: float) -> Try:
    """Our own SCU on one association that stays open for so long, with an echo each half second."""

    def hold() -> Attempt:
        started = time.monotonic()
        result = echo(node, title, count=int(seconds * 2), interval=0.5, timeout=TIMEOUT)
        ended = time.monotonic()
        return Attempt(client, title, started, ended, Saw.ECHOED, *_seen(result, ()), measured_ms=result.echo_ms)

    return hold


def calling_out(client: str, peer: Peer, tls: ssl.SSLContext | None = None) -> Try:
    """Our own SCU calls somebody else's SCP, who knows MINIPACS."""
    return lambda: _attempt(client, peer.ae_title, Saw.ECHOED, lambda: _call(peer, "MINIPACS", tls))


def orthanc(client: str, orthanc: Orthanc, modality: str) -> Try:
    """Orthanc is made to call us."""

    def call() -> tuple[Saw, str]:
        status, text = orthanc.echo(modality, timeout=int(TIMEOUT))
        return (Saw.ECHOED, "") if (status, text) == (200, "{}") else (Saw.NEITHER, f"REST answered {status}: {text}")

    return lambda: _attempt(client, orthanc.ae_title, Saw.ECHOED, call)


def dcmtk(client: str, port: int, title: str, options: Sequence[str] = ()) -> Try:
    """DCMTK's echoscu: its exit code is not always to be trusted, but its words are."""
    command = [ECHOSCU, "-v", "-to", str(int(TIMEOUT)), "-aet", title, "-aec", "MINIPACS", *options]
    command += ["127.0.0.1", str(port)]

    def call() -> tuple[Saw, str]:
        run = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3 * TIMEOUT, check=False
        )
        output = run.stdout + run.stderr
        is_echoed = run.returncode == 0 and "Received Echo Response (Success)" in output
        return (Saw.ECHOED, "") if is_echoed else (Saw.NEITHER, f"exit code {run.returncode}: {output}")

    return lambda: _attempt(client, title, Saw.ECHOED, call)


def guests(client: str, node: Peer, ledger: Ledger) -> Try:
    """Those who come and go, each in turn: admitted from the moment that they are in the table until they are not."""

    def call() -> Attempt:
        title = random.choice(GUESTS)
        attempt = _attempt(client, title, None, lambda: _call(node, title))
        wanted = ledger.wanted(title, attempt.started)
        return Attempt(client, title, attempt.started, attempt.ended, wanted, attempt.saw, attempt.told)

    return call


def unread(client: str, node: Unread) -> Try:
    """A peer of a node whose log nobody reads."""

    def call() -> tuple[Saw, str]:
        try:
            associate(node)
        except (OSError, AssertionError, IndexError) as error:
            return Saw.NEITHER, f"{type(error).__name__}: {error}"
        return Saw.ECHOED, ""

    return lambda: _attempt(client, "ECHOSCU", Saw.ECHOED, call)


def endless(client: str, folder: Path) -> Try:
    """Our own SCU asks a peer whose answers never end: it gives it up, in little memory."""

    def call() -> tuple[Saw, str]:
        name, behaviour = random.choice(list(ENDLESS.items()))
        with faking(behaviour) as fake:
            code, told, memory = asked(folder, fake.peer.port)
        is_given_up = code == 1 and "[service.excess]" in told and memory < MOST
        return (Saw.REFUSED if is_given_up else Saw.NEITHER), f"{name}: exit code {code}, {memory} MiB: {told}"

    return lambda: _attempt(client, "FAKE", Saw.REFUSED, call)


def strangers(client: str, node: Peer, secure: Peer, renewal: Renewal) -> Try:
    """Whoever is not in the table, each in turn; FENCED is, with another address, and TIED with another certificate."""
    trusted = renewal.context()
    former, other = renewal.context_of(renewal.former.issue()), renewal.context_of(renewal.other.issue())

    def refused(who: str, act: Callable[[], EchoResult], *codes: str) -> Try:
        return lambda: _attempt(client, who, Saw.REFUSED, lambda: _seen(act(), codes or _UNKNOWN))

    def refused_at_last() -> Attempt:
        """Its CA was trusted when the node started, and was then taken out."""
        wanted = Saw.REFUSED if time.monotonic() >= renewal.former_gone else None
        return _attempt(client, "SCU_TLS of a former CA", wanted, lambda: _seen(by_tls("SCU_TLS", former), ("tls.",)))

    def by_tls(title: str, context: ssl.SSLContext) -> EchoResult:
        return echo(secure, title, timeout=TIMEOUT, tls=context)

    def unknown() -> str:
        return f"NOBODY{secrets.token_hex(4).upper()}"

    tries = (
        refused("NOBODY…", lambda: echo(node, unknown(), timeout=TIMEOUT)),
        refused("scu", lambda: echo(node, "scu", timeout=TIMEOUT)),
        refused("FENCED from 127.0.0.1", lambda: echo(node, "FENCED", timeout=TIMEOUT)),
        refused(f"{NEVER} of a broken table", lambda: echo(node, NEVER, timeout=TIMEOUT)),
        refused("TIED in plain", lambda: echo(node, "TIED", timeout=TIMEOUT)),
        refused("TIED with another certificate", lambda: by_tls("TIED", trusted)),
        refused("NOBODY… by TLS", lambda: by_tls(unknown(), trusted)),
        refused("SCU_TLS of another CA", lambda: by_tls("SCU_TLS", other), "tls."),
        refused_at_last,
    )
    order: list[Try] = []

    def call() -> Attempt:
        if not order:
            order.extend(tries)
        return order.pop()()

    return call
