"""All that runs in a soak: the node, the peers around it, strangers and attackers."""

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from minipacs import Peer

from ..certificates import Identity
from ..harm.test_unread_standard_error import pipe
from ..harm.test_unread_standard_error import serving as serving_unread
from ..hostile_images import SLOW, TITLE, SlowDestination
from ..peers.dcmtk import StoreSCP, storescp
from ..peers.node import Node, serving, table
from ..peers.orthanc import Orthanc
from ..peers.process import running
from . import clients, pynetdicom_peer
from .attacks import Attacks
from .attempts import Attempt, Book, Client, Saw
from .follow import Follower, NodeLog
from .ledger import Ledger
from .renewal import Renewal
from .samples import Sample, Sampler, read_sample
from .table import GUESTS, NEVER, Changes

_LAST_ATTEMPT = 100.0  # seconds
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
    {"name": "hostile", "ae_title": TITLE, "services": ["store", "find", "move"]},
)
"""Who is admitted all the time; with TIED, who is tied to a certificate of its own, and the slow destination."""


@dataclass
class World:
    """All that runs."""

    node: Node
    before: Sample  # of the node, before anybody came
    book: Book
    log: NodeLog
    ledger: Ledger
    renewal: Renewal
    tied: Identity
    attacks: Attacks
    changes: Changes
    sampler: Sampler
    others: ExitStack  # the real peers, which end before the node does
    callers: list[Client] = field(default_factory=list)


def prepare(stack: ExitStack, folder: Path, book: Book) -> World:
    """Start the node and the other peers; nobody calls yet."""
    renewal = Renewal(folder / "node" / "conf", folder / "certificates", book)
    tied = renewal.identity()
    slow = stack.enter_context(SlowDestination())
    permanent = (
        *PERMANENT,
        {"name": "tied", "ae_title": "TIED", "certificate": _fingerprint(tied)},
        {"name": "slow", "ae_title": SLOW, "host": "127.0.0.1", "port": slow.port},
    )
    settings = str(folder / "node" / "conf" / "minipacs.toml")
    options = ("--config", settings, "--storage", "kept")
    node = stack.enter_context(serving(folder / "node", table(*permanent), *options))
    pid = node.child.pid
    before = read_sample(pid, 0.0, False)
    log = NodeLog(_is_stranger, book.fail)
    follower = Follower(folder / "node" / "node.log", log.take)
    follower.start()
    stack.callback(follower.stop)
    tls_port = int(node.wait_for("listening", 1)["tls_port"])
    ledger = Ledger(GUESTS)
    attacks = Attacks((node.port, tls_port), folder / "node" / "kept" / "index.sqlite", folder, book)
    changes = Changes(node.peers, permanent, pid, ledger, log, book)
    sampler = Sampler(pid, book.started, attacks.is_attacked, stack.enter_context((folder / "samples.csv").open("w")))
    others = stack.enter_context(ExitStack())
    world = World(node, before, book, log, ledger, renewal, tied, attacks, changes, sampler, others)
    orthanc = others.enter_context(_orthanc(folder / "orthanc", node.port, tls_port, renewal))
    store = others.enter_context(storescp(folder / "storescp", ae_title="STORESCP"))
    port = others.enter_context(_pynetdicom(folder, node.port, book))
    world.callers = _callers(world, tls_port, orthanc, store, port)
    (folder / "unread").mkdir()
    error = others.enter_context(pipe())
    unread = others.enter_context(serving_unread(folder / "unread", subprocess.DEVNULL, error.writing))
    world.callers += [
        Client("log not read", 0.05, clients.unread("log not read", unread), book),
        Client("endless answers", 10.0, clients.endless("endless answers", folder / "endless"), book),
    ]
    return world


def _callers(world: World, tls_port: int, orthanc: Orthanc, store: StoreSCP, pynetdicom_port: int) -> list[Client]:
    node = Peer("node", "MINIPACS", "127.0.0.1", world.node.port)
    secure = Peer("node", "MINIPACS", "127.0.0.1", tls_port, tls=True)
    renewal = world.renewal
    identity = renewal.identity()
    by_tls = ("+tls", str(identity.key), str(identity.certificate), "+cf", str(renewal.bundle))
    to_orthanc = Peer("orthanc", "ORTHANC", "127.0.0.1", orthanc.dicom_port, tls=True)
    to_dcmtk = Peer("dcmtk", store.ae_title, "127.0.0.1", store.port)
    to_pynetdicom = Peer("pynetdicom", pynetdicom_peer.SCP_TITLE, "127.0.0.1", pynetdicom_port)
    tries: list[tuple[float, str, Callable[[str], clients.Try]]] = [
        (0.05, "minipacs", lambda name: clients.ours(name, node, "SCU")),
        (0.25, "minipacs TLS", lambda name: clients.ours(name, secure, "SCU_TLS", renewal.noting_context())),
        (0.50, "minipacs tied", lambda name: clients.ours(name, secure, "TIED", renewal.context_of(world.tied))),
        (0.10, "minipacs held open", lambda name: clients.holding(name, node, "HELD", _HELD)),
        (0.50, "Orthanc", lambda name: clients.orthanc(name, orthanc, "minipacs")),
        (1.00, "Orthanc TLS", lambda name: clients.orthanc(name, orthanc, "minipacs-tls")),
        (0.50, "DCMTK", lambda name: clients.dcmtk(name, world.node.port, "DCMTK")),
        (1.00, "DCMTK TLS", lambda name: clients.dcmtk(name, tls_port, "DCMTK_TLS", by_tls)),
        (0.50, "we call Orthanc TLS", lambda name: clients.calling_out(name, to_orthanc, renewal.context())),
        (0.50, "we call DCMTK", lambda name: clients.calling_out(name, to_dcmtk)),
        (0.50, "we call pynetdicom", lambda name: clients.calling_out(name, to_pynetdicom)),
        (0.10, "guests", lambda name: clients.guests(name, node, world.ledger)),
        (0.15, "strangers", lambda name: clients.strangers(name, node, secure, renewal)),
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
            book.fail("pynetdicom:", f"it says: {line}")
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


def _fingerprint(identity: Identity) -> str:
    return f"sha256:{sha256(ssl.PEM_cert_to_DER_cert(identity.certificate.read_text())).hexdigest()}"
