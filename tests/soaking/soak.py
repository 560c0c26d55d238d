"""The soak itself: starts everything, tells how it goes, stops everything, and judges."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from minipacs import Peer

from ..peers.dcmtk import StoreSCP, storescp
from ..peers.node import Node, serving, table
from ..peers.orthanc import Orthanc
from ..peers.process import running, wait_until
from . import clients, pynetdicom_peer
from .attacks import Attacks
from .attempts import Attempt, Book, Client, Saw, Tally
from .follow import Follower, NodeLog
from .ledger import Ledger
from .renewal import Renewal
from .samples import Growth, Sample, Sampler, growth, read_sample
from .table import GUESTS, NEVER, Changes

PROGRESS = 5.0
"""Seconds between two lines that tell how it goes."""

_LAST_ATTEMPT = 100.0  # seconds
_CLEAR = 30.0  # seconds in which the node has to be as it was before the first client came
_HELD = 5.0  # seconds for which one association stays open

PERMANENT: tuple[Mapping[str, object], ...] = (
    {"name": "orthanc", "ae_title": "ORTHANC", "allow_from": ["127.0.0.1"]},
    {"name": "dcmtk", "ae_title": "DCMTK", "allow_from": ["127.0.0.0/8"]},
    {"name": "dcmtk-tls", "ae_title": "DCMTK_TLS"},
    {"name": "pynetdicom", "ae_title": pynetdicom_peer.SCP_TITLE},
    {"name": "fenced", "ae_title": "FENCED", "allow_from": ["127.0.0.2"]},
    {"name": "scu", "ae_title": "SCU"},
    {"name": "scu-tls", "ae_title": "SCU_TLS"},
    {"name": "held", "ae_title": "HELD"},
)
"""Who is admitted all the time."""


@dataclass
class Result:
    """What came of a soak."""

    seconds: float
    folder: Path
    failures: list[str]
    failure_count: int
    tallies: dict[str, Tally]
    samples: list[Sample]
    growth: Growth
    idle: tuple[Sample, Sample]  # before the first client, and after the last
    table_delays: list[float]
    broken_tables: int
    hangups: int
    renewals: int
    renewal_delays: list[float]
    waves: list[tuple[float, float]]
    attackers: dict[str, int]
    outcomes: dict[str, int]  # associations by the node's log


@dataclass
class _World:
    """All that runs."""

    node: Node
    book: Book
    log: NodeLog
    ledger: Ledger
    renewal: Renewal
    attacks: Attacks
    changes: Changes
    sampler: Sampler
    callers: list[Client] = field(default_factory=list)


def soak(seconds: float, folder: Path, tell: Callable[[str], None]) -> Result:
    """Run it for so many seconds.

    Args:
        folder: for all that is written.
        tell: is told each few seconds how it goes.
    """
    _allow_many_files()
    with ExitStack() as stack:
        # What is needed at the end outlives the processes: the node is stopped in the midst of the stack.
        started = time.monotonic()
        book = Book(stack.enter_context((folder / "echoes.csv").open("w")), started)
        renewal = Renewal(folder / "node" / "conf", folder / "certificates", book)
        settings = str(folder / "node" / "conf" / "minipacs.toml")
        node = stack.enter_context(serving(folder / "node", table(*PERMANENT), "--config", settings))
        before = read_sample(node.child.pid, 0.0, False)
        world = _prepare(stack, folder, node, book, renewal)
        _run(world, seconds, tell)
        after = _wind_up(world, before)
        _end(node, world)
    grown = growth(world.sampler.samples)
    for fault in grown.faults():
        book.fail(f"the node: {fault}")
    return Result(
        seconds=time.monotonic() - started,
        folder=folder,
        failures=book.failures,
        failure_count=book.failure_count,
        tallies=book.tallies,
        samples=world.sampler.samples,
        growth=grown,
        idle=(before, after),
        table_delays=world.changes.delays,
        broken_tables=world.changes.broken,
        hangups=world.changes.hangups,
        renewals=renewal.count,
        renewal_delays=renewal.delays(),
        waves=world.attacks.waves,
        attackers=dict(world.attacks.opened),
        outcomes=dict(world.log.outcomes),
    )


# --- begin -----------------------------------------------------------------------------------------------------------


def _prepare(stack: ExitStack, folder: Path, node: Node, book: Book, renewal: Renewal) -> _World:
    """Everything beside the node, started or ready to be."""
    log = NodeLog(_is_stranger, book.fail)
    follower = Follower(folder / "node" / "node.log", log.take)
    follower.start()
    stack.callback(follower.stop)
    tls_port = int(node.wait_for("listening", 1)["tls_port"])
    ledger = Ledger(GUESTS)
    pid = node.child.pid
    attacks = Attacks((node.port, tls_port), folder, book)
    file = stack.enter_context((folder / "samples.csv").open("w"))
    world = _World(
        node,
        book,
        log,
        ledger,
        renewal,
        attacks,
        Changes(node.peers, PERMANENT, pid, ledger, log, book),
        Sampler(pid, book.started, attacks.is_attacked, file),
    )
    orthanc = stack.enter_context(_orthanc(folder / "orthanc", node.port, tls_port, renewal))
    store = stack.enter_context(storescp(folder / "storescp", ae_title="STORESCP"))
    port = stack.enter_context(_pynetdicom(folder, node.port, book))
    world.callers = _callers(world, tls_port, orthanc, store, port)
    return world


def _callers(world: _World, tls_port: int, orthanc: Orthanc, store: StoreSCP, pynetdicom_port: int) -> list[Client]:
    node = Peer("node", "MINIPACS", "127.0.0.1", world.node.port)
    secure = Peer("node", "MINIPACS", "127.0.0.1", tls_port, tls=True)
    renewal = world.renewal
    trusted, untrusted = renewal.noting_context(), renewal.untrusted_context()
    identity = renewal.identity()
    by_tls = ("+tls", str(identity.key), str(identity.certificate), "+cf", str(renewal.bundle))
    by_us = renewal.context()
    to_orthanc = Peer("orthanc", "ORTHANC", "127.0.0.1", orthanc.dicom_port, tls=True)
    to_dcmtk = Peer("dcmtk", store.ae_title, "127.0.0.1", store.port)
    to_pynetdicom = Peer("pynetdicom", pynetdicom_peer.SCP_TITLE, "127.0.0.1", pynetdicom_port)
    tries: list[tuple[float, str, Callable[[str], clients.Try]]] = [
        (0.05, "minipacs", lambda name: clients.ours(name, node, "SCU")),
        (0.25, "minipacs, TLS", lambda name: clients.ours(name, secure, "SCU_TLS", trusted)),
        (0.10, "minipacs, held open", lambda name: clients.holding(name, node, "HELD", _HELD)),
        (0.50, "Orthanc", lambda name: clients.orthanc(name, orthanc, "minipacs")),
        (1.00, "Orthanc, TLS", lambda name: clients.orthanc(name, orthanc, "minipacs-tls")),
        (0.50, "DCMTK", lambda name: clients.dcmtk(name, world.node.port, "DCMTK")),
        (1.00, "DCMTK, TLS", lambda name: clients.dcmtk(name, tls_port, "DCMTK_TLS", by_tls)),
        (0.50, "we call Orthanc, TLS", lambda name: clients.calling_out(name, to_orthanc, by_us)),
        (0.50, "we call DCMTK", lambda name: clients.calling_out(name, to_dcmtk)),
        (0.50, "we call pynetdicom", lambda name: clients.calling_out(name, to_pynetdicom)),
        (0.10, "guests", lambda name: clients.guests(name, node, world.ledger)),
        (0.15, "strangers", lambda name: clients.strangers(name, node, secure, trusted, untrusted)),
    ]
    return [Client(name, period, make(name), world.book) for period, name, make in tries]


@contextmanager
def _orthanc(folder: Path, port: int, tls_port: int, renewal: Renewal) -> Iterator[Orthanc]:
    """It listens for TLS, and calls us both ways."""
    identity = renewal.identity()
    extra = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(identity.certificate),
        "DicomTlsPrivateKey": str(identity.key),
        "DicomTlsTrustedCertificates": str(renewal.bundle),
        "DicomModalities": {
            "minipacs": {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": port, "UseDicomTls": False},
            "minipacs-tls": {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": tls_port, "UseDicomTls": True},
        },
    }
    with Orthanc(folder, minipacs_port=port, extra=extra) as orthanc:
        yield orthanc


@contextmanager
def _pynetdicom(folder: Path, node_port: int, book: Book) -> Iterator[int]:
    """Run it; yield the port of its SCP. What it says of its attempts goes into the book."""
    names = dict(pynetdicom_peer.CALLERS)

    def take(line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            book.fail(f"pynetdicom says: {line}")
            return
        if "who" in said:
            who, told = said["who"], said["told"]
            saw = Saw.NEITHER if told else Saw.ECHOED
            title = f"{who} from {names[who]}"
            book.enter(Attempt("pynetdicom", title, said["started"], said["ended"], Saw.ECHOED, saw, told))

    log = folder / "pynetdicom.log"
    with running(
        pynetdicom_peer.command(node_port), log=log, ready=lambda child: "\n" in child.log, cwd=pynetdicom_peer.ROOT
    ) as child:
        follower = Follower(log, take)
        follower.start()
        try:
            yield int(json.loads(child.log.splitlines()[0])["port"])
            child.terminate()
            child.wait(_LAST_ATTEMPT)
        finally:
            follower.stop()


def _is_stranger(title: str, address: str) -> bool:
    """Whether the node must never let it in, though it may find it in its table."""
    return title == NEVER or (title == "FENCED" and address != "127.0.0.2")


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))


# --- go on -----------------------------------------------------------------------------------------------------------


def _run(world: _World, seconds: float, tell: Callable[[str], None]) -> None:
    for client in world.callers:
        client.start()
    for part in (world.sampler, world.changes, world.renewal, world.attacks):
        part.start()
    until = time.monotonic() + seconds
    try:
        while (remaining := until - time.monotonic()) > 0:
            time.sleep(min(PROGRESS, remaining))
            if world.node.child.exit_code is not None:
                world.book.fail(f"the node ended by itself, with {world.node.child.exit_code}")
                break
            tell(_progress(world))
    finally:
        for part in (world.changes, world.renewal, world.attacks):
            part.stop()
        for client in world.callers:
            client.stop()
        for client in world.callers:
            client.join(_LAST_ATTEMPT)


def _progress(world: _World) -> str:
    echoes, refused, failures = world.book.counts()
    last = world.sampler.samples[-1:]
    node = "".join(f", {sample.rss_kib / 1024:.1f} MiB, {sample.descriptors} descriptors" for sample in last)
    attacked = ", attacked" if world.attacks.is_attacked() else ""
    return (
        f"{time.monotonic() - world.book.started:5.0f} s: {echoes} echoes, {refused} strangers refused, "
        f"{failures} failures, {sum(world.attacks.opened.values())} hostile connections{node}{attacked}"
    )


# --- end -------------------------------------------------------------------------------------------------------------


def _wind_up(world: _World, before: Sample) -> Sample:
    """Wait until the node is as it was before all this, as far as descriptors go."""
    pid, started = world.node.child.pid, world.book.started

    def look() -> Sample:
        return read_sample(pid, time.monotonic() - started, False)

    world.sampler.stop()
    if world.node.child.exit_code is not None:
        return before
    try:
        wait_until(lambda: look().descriptors <= before.descriptors, within=_CLEAR, what="descriptors as before")
    except TimeoutError:
        open_files = sorted(os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir())
        world.book.fail(
            f"the node: {look().descriptors} descriptors are open when everybody has gone, "
            f"{before.descriptors} before anybody came: {', '.join(open_files)}"
        )
    return look()


def _end(node: Node, world: _World) -> None:
    """Stop the node in order."""
    if node.child.exit_code is not None:
        return
    os.kill(node.child.pid, signal.SIGTERM)
    try:
        exit_code = node.child.wait(_CLEAR)
    except TimeoutError:
        world.book.fail(f"the node did not stop within {_CLEAR:g} s")
        return
    if exit_code != 0:
        world.book.fail(f"the node stopped with exit code {exit_code}")
    elif not world.log.wait_for("stopped", 1, _CLEAR):
        world.book.fail("the node did not say that it stopped")
