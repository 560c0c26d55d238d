"""The rows of the catalogue for a round trip: for each the peer or Orthanc that brings it about, and all its words."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from minipacs import Peer
from minipacs.diagnosis import ROUND_TRIP
from minipacs.leg import Leg
from minipacs.orthanc import Orthanc as RestAPI
from minipacs.roundtrip import Plan, RoundTripRun
from minipacs.settings import Settings

from . import fakes
from .peers.dcmtk import STORESCP, storescp
from .peers.node import serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.required import required
from .peers.scp import AE_TITLE
from .peers.web import Request, passing_on, web
from .test_roundtrip_image import archive

pytestmark = required(ORTHANC, STORESCP)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=port) as orthanc:
        yield orthanc


@dataclass
class Scene:
    """What a proof may use."""

    orthanc: Orthanc
    port: int
    folder: Path

    def legs(self, peer: Peer | None = None, **plan: object) -> dict[str, Leg]:
        """Run a round trip in this process, and return its legs."""
        peers = ({"name": "orthanc", "ae_title": "ORTHANC"}, {"name": "scp", "ae_title": AE_TITLE})
        (self.folder / "peers.toml").write_text(table(*peers))
        settings = Settings(port=self.port, peers=self.folder / "peers.toml")
        peer = peer or Peer("orthanc", "ORTHANC", "127.0.0.1", self.orthanc.dicom_port)
        legs: dict[str, Leg] = {}
        run = RoundTripRun(
            peer,
            settings,
            Plan(**plan),  # type: ignore[arg-type]
            lambda leg: legs.update({leg.leg: leg}),
            lambda _: None,
        )
        run.run()
        return legs

    def rest(self) -> RestAPI:
        return RestAPI(self.orthanc.url)

    def has(self, ae_title: str = "MINIPACS", host: str = "127.0.0.1", port: int | None = None) -> None:
        """Let Orthanc have us so."""
        self.orthanc.register("minipacs", ae_title, host, port or self.port)


def stranger(*behaviours: fakes.Behaviour) -> Callable[[Scene], Leg]:
    def run(scene: Scene) -> Leg:
        with fakes.faking(fakes.in_turn(*behaviours)) as fake:
            return scene.legs(fake.peer)["stranger"]

    return run


def registered(scene: Scene) -> Leg:
    return scene.legs(orthanc=scene.rest())["registered"]


def right(scene: Scene) -> Leg:
    scene.has()
    return registered(scene)


def wrong(scene: Scene) -> Leg:
    scene.has(host="10.1.2.3", port=104)
    return registered(scene)


def missing(scene: Scene) -> Leg:
    scene.has()
    scene.orthanc.unregister("minipacs")
    return registered(scene)


def forbidden(scene: Scene) -> Leg:
    scene.has()
    entry = {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": scene.port, "AllowEcho": False}
    scene.orthanc.put("/modalities/second", entry)
    try:
        return registered(scene)
    finally:
        scene.orthanc.unregister("second")


def taken(scene: Scene) -> Leg:
    scene.has("OTHER", "10.1.2.3", 104)
    return registered(scene)


def another(scene: Scene) -> Leg:
    scene.has()
    return scene.legs(Peer("ct1", "CT1", "127.0.0.1", scene.orthanc.dicom_port), orthanc=scene.rest())["registered"]


def unknown(scene: Scene) -> Leg:
    return scene.legs(orthanc=RestAPI(f"http://127.0.0.1:{scene.orthanc.dicom_port}/"), timeout=5.0)["registered"]


def never_told(scene: Scene) -> Leg:
    """As an Orthanc whose echo has not come to an end when we have to."""
    peer = Peer("orthanc", "ORTHANC", "127.0.0.1", scene.orthanc.dicom_port)

    def slow(request: Request) -> None:
        if request.command == "POST":
            request.is_over(30.0)
        else:
            passing_on(scene.orthanc.http_port)(request)

    scene.has()
    with web(slow) as other:
        leg = scene.legs(peer, orthanc=RestAPI(other.url), timeout=2.0)["in"]
    return replace(leg, reason=re.sub(r"within .*", "within", leg.reason).replace(other.url, scene.orthanc.url))


def silence(scene: Scene) -> Leg:
    return scene.legs(wait_inbound=0.2)["in"]


def elsewhere(scene: Scene) -> Leg:
    with storescp(scene.folder / "other", ae_title="MINIPACS") as other:
        scene.has(port=other.port)
        return scene.legs(orthanc=scene.rest())["in"]


def nobody_listens(scene: Scene) -> Leg:
    scene.has(port=free_port())
    return scene.legs(orthanc=scene.rest())["in"]


def at(host: str) -> Callable[[Scene], Leg]:
    def run(scene: Scene) -> Leg:
        scene.has(host=host)
        return scene.legs(orthanc=scene.rest())["in"]

    return run


def answered_by(behaviour: fakes.Behaviour) -> Callable[[Scene], Leg]:
    """Orthanc has somebody else's port for us, and whoever listens there behaves that way."""

    def run(scene: Scene) -> Leg:
        with fakes.faking(behaviour) as fake:
            scene.has(port=fake.peer.port)
            return scene.legs(orthanc=scene.rest(), timeout=5.0)["in"]

    return run


def to_an_archive(leg: str, **how: Any) -> Callable[[Scene], Leg]:
    def run(scene: Scene) -> Leg:
        with archive(scene.port, **how) as made:
            return scene.legs(made.peer, image=True)[leg]

    return run


def no_storage(scene: Scene) -> Leg:
    peer = Peer("orthanc", "ORTHANC", "127.0.0.1", scene.orthanc.dicom_port)
    scene.has()
    with serving(scene.folder / "node", table(), "--port", str(scene.port)):
        leg = scene.legs(peer, image=True)["move"]
    return replace(leg, reason=re.sub(r"process \d+", "process #", leg.reason))


def sent_elsewhere_by_orthanc(scene: Scene) -> Leg:
    scene.has(host="127.0.0.1", port=1)
    return scene.legs(image=True, orthanc=scene.rest())["move"]


def sent_to_another(scene: Scene) -> Leg:
    with storescp(scene.folder / "other", ae_title="MINIPACS") as other, archive(other.port) as made:
        return scene.legs(made.peer, image=True)["move"]


def sends_nothing(scene: Scene) -> Leg:
    with archive(scene.port, proposes="1.2.840.10008.1.1") as made:
        return scene.legs(made.peer, image=True)["move"]


def may_not_delete(scene: Scene) -> Leg:
    def read_only(request: Request) -> None:
        if request.command == "DELETE":
            request.answer(403, b"no")
        else:
            passing_on(scene.orthanc.http_port)(request)

    scene.has()
    with web(read_only) as proxy:
        leg = scene.legs(image=True, orthanc=RestAPI(proxy.url))["remove"]
    for one in json.loads(scene.orthanc.get("/instances")[1]):
        scene.orthanc.delete(f"/instances/{one}")
    return replace(leg, reason=re.sub(r": http://.*", "", leg.reason))


CORRECT = 'correct "minipacs" in Orthanc: we are MINIPACS@127.0.0.1:{port}'
CONNECTING = 'DicomAssociation - connecting to AET "MINIPACS": '
ECHOING = 'DicomAssociation - C-ECHO to AET "MINIPACS": '
REGISTER = (
    "minipacs orthanc register --orthanc {url} --port {port}; or in its configuration: "
    '"DicomModalities": {{ "minipacs": ["MINIPACS", "127.0.0.1", {port}] }}'
)

# Code → how it is brought about, its reason and its fix.
PROOFS: dict[str, tuple[Callable[[Scene], Leg], str, str]] = {
    "stranger.refused": (
        stranger(fakes.behaves, fakes.rejects(1, 1, 3)),
        "FAKE refuses NOBODY, whom it cannot know: our own echo shows that it knows MINIPACS",
        "",
    ),
    "stranger.admitted": (
        stranger(fakes.behaves, fakes.behaves),
        "FAKE lets NOBODY echo, whom it cannot know: it lets anybody, and our own echo does not show that it knows "
        "MINIPACS",
        "have its registration read (Orthanc: --orthanc URL); or have FAKE refuse strangers: in Orthanc "
        '"DicomAlwaysAllowEcho": false and every other DicomAlwaysAllow* false',
    ),
    "stranger.unclear": (
        stranger(fakes.behaves, fakes.rejects(2, 3, 2)),
        "FAKE neither admitted nor refused NOBODY, whom it cannot know: the peer has as many associations as it takes "
        "(rejected 2/3/2)",
        "try again",
    ),
    "registered.right": (
        right,
        '{url} has MINIPACS@127.0.0.1:{port} as "minipacs"; every service is allowed',
        "",
    ),
    "registered.wrong": (
        wrong,
        '{url} has MINIPACS@10.1.2.3:104 as "minipacs": host is 10.1.2.3, not 127.0.0.1; port is 104, not {port}',
        REGISTER + "; or, where what it has is how it reaches us: name that host by --our-address",
    ),
    "registered.forbidden": (
        forbidden,
        '{url} has MINIPACS also as "second" (MINIPACS@127.0.0.1:{port}), and there AllowEcho is false: it holds for '
        "all of that title",
        "minipacs orthanc unregister --orthanc {url} --ae-title MINIPACS --name second; or set AllowEcho there",
    ),
    "registered.taken": (
        taken,
        '{url} has nobody called MINIPACS, and OTHER@10.1.2.3:104 as "minipacs"',
        "choose another name for our entry: --name NAME; or minipacs orthanc register --orthanc {url} --port {port} "
        "--replace",
    ),
    "registered.missing": (missing, "{url} has nobody called MINIPACS", REGISTER),
    "registered.elsewhere": (
        another,
        "{url} is ORTHANC, and we call CT1: what it has for us says nothing of CT1",
        "give the URL of CT1; or, where that is the one, set ae_title of the peer to ORTHANC, its DicomAet",
    ),
    "registered.unknown": (
        unknown,
        "what Orthanc has for us cannot be read: http://127.0.0.1:{dicom_port} does not answer in HTTP: Connection "
        "reset by peer: Orthanc's web port is 8042 unless changed, and 4242 its DICOM port; if the port speaks TLS, "
        "give https://",
        "minipacs orthanc check --orthanc http://127.0.0.1:{dicom_port} tells when that is mended",
    ),
    "in.unknown": (
        never_told,
        "whether Orthanc reaches us is not known: {url} does not answer within",
        "try again, with a longer --timeout; or press Test Echo there, with --wait-inbound in place of --orthanc",
    ),
    "in.silence": (
        silence,
        "ORTHANC did not call within 0.2 s",
        "on ORTHANC: register AE title MINIPACS at 127.0.0.1 port {port}; open TCP port {port} in the firewalls "
        "between; and press Test Echo there while minipacs waits",
    ),
    "in.elsewhere": (
        elsewhere,
        'Orthanc says that its echo of "minipacs" succeeded, and it did not arrive here: something else answers there',
        CORRECT,
    ),
    "orthanc.refused": (
        nobody_listens,
        f'nothing listens where Orthanc has "minipacs": {CONNECTING}TCP Initialization Error: Connection refused',
        CORRECT + ", as seen from this machine; where Orthanc runs in a container or on another machine, have the node "
        "listen on an address that it reaches (--host), and name it (--our-address)",
    ),
    "orthanc.name": (
        at("no-such-host.invalid"),
        f'Orthanc does not resolve the host that it has for "minipacs": {CONNECTING}'
        "Attempt to connect to unknown host: no-such-host.invalid",
        'in Orthanc, give "minipacs" an IP address: we are MINIPACS@127.0.0.1:{port}',
    ),
    "orthanc.address": (
        at("::1"),
        f'Orthanc does not take the address that it has for "minipacs": {CONNECTING}'
        "Illegal service parameter: ::1:{port}",
        'in Orthanc, give "minipacs" an IPv4 address or a host name: we are MINIPACS@127.0.0.1:{port}',
    ),
    "orthanc.no-context": (
        answered_by(fakes.refuses_verification(3)),
        'what answers where Orthanc has "minipacs" does not accept Verification: '
        'Unable to negotiate a presentation context with AET "MINIPACS"',
        CORRECT,
    ),
    "orthanc.rejected": (
        answered_by(fakes.rejects(1, 1, 3)),
        f'another node than this one rejects Orthanc where it has "minipacs": {CONNECTING}DUL Association Rejected',
        CORRECT,
    ),
    "orthanc.no-response": (
        answered_by(fakes.never_answers_the_echo),
        'what answers where Orthanc has "minipacs" accepts and does not answer the echo: '
        f"{ECHOING}DIMSE No data available (timeout in non-blocking mode)",
        CORRECT,
    ),
    "orthanc.silence": (
        answered_by(fakes.keeps_silent),
        'what answers where Orthanc has "minipacs" takes the connection and says nothing: '
        f"{CONNECTING}DUL network read timeout",
        CORRECT,
    ),
    "orthanc.no-dicom": (
        answered_by(fakes.speaks_http),
        'what answers where Orthanc has "minipacs" speaks another protocol than DICOM: '
        f"{CONNECTING}Unrecognized PDU type: 48",
        CORRECT,
    ),
    "orthanc.tls": (
        answered_by(fakes.speaks_tls),
        'what answers where Orthanc has "minipacs" speaks TLS, and Orthanc calls it in plain: '
        f"{CONNECTING}Unrecognized PDU type: 15",
        CORRECT + ", in plain",
    ),
    "orthanc.aborted": (
        answered_by(fakes.closes_at_once),
        f'Orthanc gets no association where it has "minipacs": {CONNECTING}'
        "Peer aborted Association (or never connected)",
        CORRECT + "; its UseDicomTls has to be false for a plain port; open TCP port {port} in the firewalls between",
    ),
    "orthanc.failure": (
        answered_by(fakes.answers_with_status(0x0122)),
        'what answers where Orthanc has "minipacs" answers its echo with a failure',
        CORRECT,
    ),
    "orthanc.other": (
        answered_by(fakes.answers_another_message),
        f"Orthanc could not echo us: {ECHOING}DIMSE: Unexpected Response MsgId: 9 (expected: 1)",
        'see its log; we are MINIPACS@127.0.0.1:{port}, as "minipacs"',
    ),
    "image.not-found": (
        to_an_archive("find", forgets=True),
        "PYNETDICOM has stored the sample, and does not find it within 3 s",
        "see the log of PYNETDICOM: it may keep what it stores from queries, or pass it on to another archive",
    ),
    "image.no-storage": (
        no_storage,
        "the node that runs here (process #) on port {port} has no storage, so that no image can be sent to it",
        "stop it, and start it with storage: minipacs serve --storage FOLDER --port {port} --peers {peers}; or set "
        "folder under [storage] in minipacs.toml",
    ),
    "image.unregistered": (
        sent_elsewhere_by_orthanc,
        "ORTHANC cannot process the C-MOVE to MINIPACS, status 0xC000, Unable to Process; {url} has "
        'MINIPACS@127.0.0.1:1 as "minipacs": port is 1, not {port}',
        REGISTER,
    ),
    "image.elsewhere": (
        sent_to_another,
        "PYNETDICOM says that it sent the image to MINIPACS, and it did not arrive here: something else takes it",
        "correct what PYNETDICOM has for MINIPACS: we are MINIPACS@127.0.0.1:{port}",
    ),
    "image.not-kept": (
        sends_nothing,
        "PYNETDICOM called us, and left no image: released",
        "see the log of PYNETDICOM: it had its association, and sent nothing on it",
    ),
    "image.re-encoded": (
        to_an_archive("compare", change=lambda image: setattr(image, "PatientName", "PHANTOM^ROUNDTRIP   ")),
        "every value is the same, and the bytes of the data set are not: 2912 bytes in Implicit VR Little Endian in "
        "place of 2910",
        "",
    ),
    "image.changed": (
        to_an_archive("compare", change=lambda image: setattr(image, "InstitutionName", "Here")),
        "the image comes back otherwise than it was sent: InstitutionName is new",
        "see on PYNETDICOM what changes images when they come or go: coercion of attributes, or a script",
    ),
    "image.left": (
        may_not_delete,
        "the image could not be taken away again",
        "take it away from ORTHANC by hand: Patient ID PHANTOM-ROUNDTRIP",
    ),
}


@pytest.mark.parametrize("code", [row.code for row in ROUND_TRIP])
def test_each_row_is_told_of_what_brings_it_about(code: str, orthanc: Orthanc, port: int, tmp_path: Path) -> None:
    assert code in PROOFS, "no test brings this row about: add how to PROOFS"
    run, reason, fix = PROOFS[code]
    leg = run(Scene(orthanc, port, tmp_path))
    facts = {"url": orthanc.url, "port": port, "dicom_port": orthanc.dicom_port}
    facts |= {"peers": tmp_path / "node" / "conf" / "peers.toml"}
    assert leg.code == code
    assert re.sub("NOBODY[0-9A-F]{10}", "NOBODY", leg.reason) == reason.format(**facts)
    assert leg.fix == fix.format(**facts)


def test_there_is_no_proof_without_a_row() -> None:
    assert set(PROOFS) == {row.code for row in ROUND_TRIP}
