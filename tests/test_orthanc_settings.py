"""Orthanc in each of its settings that change the verdict, as the peer that we call and as the one that calls us."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from minipacs import EchoResult, Outcome, Peer, VerificationSCP, echo
from minipacs.settings import Limits

from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.required import required
from .raw import asking, raw_peer
from .test_port_look import OPENSSL, Certificate
from .test_scp import ECHOSCU, Lines, associated, lines, scp
from .wire.exchange import RELEASE_RQ

pytestmark = required(ORTHANC)

__all__ = ["lines"]  # the fixture

STRICT: dict[str, object] = {}  # samples/orthanc.json as it stands: all DicomAlwaysAllow… are false
SETTINGS: dict[str, dict[str, object]] = {
    "strict": STRICT,
    "only echo is guarded": {
        f"DicomAlwaysAllow{service}": True for service in ("Store", "Find", "FindWorklist", "Get", "Move")
    },
    "default": {"DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True},
    "DicomCheckCalledAet": {"DicomCheckCalledAet": True},
    "StrictAetComparison": {"StrictAetComparison": True},
    "DicomCheckModalityHost": {"DicomCheckModalityHost": True},
    "DicomScpTimeout": {"DicomScpTimeout": 1},
    "DicomThreadsCount": {"DicomThreadsCount": 1},
}


def known(**changes: object) -> dict[str, object]:
    """What Orthanc may have for us, in the object form."""
    return {"AET": "KNOWN", "Host": "127.0.0.1", "Port": 11112} | changes


MODALITIES = {
    "known": known(),
    "no-echo": known(AET="NO_ECHO", AllowEcho=False),
    "elsewhere": known(AET="ELSEWHERE", Host="10.1.2.3"),
    "by-name": known(AET="BY_NAME", Host="localhost"),
}


@pytest.fixture(scope="module")
def orthancs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Orthanc]]:
    """One in each of its settings: started together, and ended together, for each takes some seconds."""
    started = {
        name: Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=free_port(), extra=extra)
        for name, extra in SETTINGS.items()
    }
    with ThreadPoolExecutor() as pool:
        try:
            list(pool.map(_start, started.values()))
            yield started
        finally:
            list(pool.map(_stop, started.values()))


def _start(orthanc: Orthanc) -> None:
    orthanc.__enter__()
    for name, modality in MODALITIES.items():
        assert orthanc.put(f"/modalities/{name}", modality)[0] == 200


def _stop(orthanc: Orthanc) -> None:
    orthanc.__exit__()


# --- we call -------------------------------------------------------------------------------------------------------


def register(calling: str, name: str) -> str:
    return (
        f"on ORTHANC: register AE title {calling} at 127.0.0.1 port 11112; "
        f'Orthanc: "DicomModalities": {{ "{name}": ["{calling}", "127.0.0.1", 11112] }} '
        "(with DicomCheckModalityHost, the numeric address that we call from; with StrictAetComparison, capitals count)"
    )


def unknown(calling: str, name: str) -> tuple[str, str, str]:
    reason = f"ORTHANC does not know our AE title {calling}, or not from this address (rejected 1/1/3)"
    return "rejected.calling-ae-title", reason, register(calling, name)


def aborted(calling: str, name: str) -> tuple[str, str, str]:
    return (
        "aborted.at-echo",
        "ORTHANC accepts the association and answers the C-ECHO by A-ABORT 0/0",
        "Orthanc does that with DicomAlwaysAllowEcho false: where it knows us with AllowEcho false, set that to true; "
        "where it does not know us, " + register(calling, name),
    )


NOTHING = ("", "", "")
WRONG_CALLED = (
    "rejected.called-ae-title",
    "the peer is not called ARCHIVE (rejected 1/1/7)",
    "set ae_title of the peer, which we called ARCHIVE, to its own title, exactly: capitals count; Orthanc's is its "
    "DicomAet, ORTHANC unless changed",
)


@pytest.mark.parametrize(
    ("settings", "calling", "called", "told"),
    [
        ("strict", "STRANGER", "ORTHANC", unknown("STRANGER", "stranger")),
        ("strict", "KNOWN", "ORTHANC", NOTHING),
        ("strict", "known", "ORTHANC", NOTHING),
        ("strict", "KNOWN", "ARCHIVE", NOTHING),
        ("strict", "ELSEWHERE", "ORTHANC", NOTHING),
        ("strict", "NO_ECHO", "ORTHANC", aborted("NO_ECHO", "no_echo")),
        ("only echo is guarded", "STRANGER", "ORTHANC", aborted("STRANGER", "stranger")),
        ("only echo is guarded", "KNOWN", "ORTHANC", NOTHING),
        ("default", "STRANGER", "ORTHANC", NOTHING),
        ("default", "NO_ECHO", "ORTHANC", NOTHING),
        ("DicomCheckCalledAet", "KNOWN", "ARCHIVE", WRONG_CALLED),
        ("DicomCheckCalledAet", "STRANGER", "ARCHIVE", WRONG_CALLED),
        ("DicomCheckCalledAet", "KNOWN", "orthanc", NOTHING),
        ("StrictAetComparison", "known", "ORTHANC", unknown("known", "known")),
        ("StrictAetComparison", "KNOWN", "ORTHANC", NOTHING),
        ("DicomCheckModalityHost", "ELSEWHERE", "ORTHANC", unknown("ELSEWHERE", "elsewhere")),
        ("DicomCheckModalityHost", "BY_NAME", "ORTHANC", unknown("BY_NAME", "by_name")),
        ("DicomCheckModalityHost", "KNOWN", "ORTHANC", NOTHING),
    ],
)
def test_each_setting_has_its_row(
    settings: str, calling: str, called: str, told: tuple[str, str, str], orthancs: Mapping[str, Orthanc]
) -> None:
    result = call(orthancs[settings], calling, called)
    assert (result.code, result.reason, result.fix) == told
    assert result.observations == ()


def call(orthanc: Orthanc, calling: str, called: str = "ORTHANC", **options: float) -> EchoResult:
    peer = Peer("orthanc", called, "127.0.0.1", orthanc.dicom_port)
    return echo(peer, calling, **options)  # type: ignore[arg-type]


def test_an_orthanc_that_does_not_wait_for_our_next_echo(orthancs: Mapping[str, Orthanc]) -> None:
    result = call(orthancs["DicomScpTimeout"], "KNOWN", count=2, interval=6.0)
    assert (result.code, result.reason, result.fix) == (
        "aborted.between-echoes",
        "ORTHANC ended the association between two echoes by A-ABORT",
        "the peer does not keep an association open for that long without an echo: choose a shorter --interval, or "
        "raise its timeout there (Orthanc: DicomScpTimeout)",
    )


def test_an_orthanc_whose_threads_are_all_taken(orthancs: Mapping[str, Orthanc]) -> None:
    """Its one thread waits a second for each association in turn: those before ours have to last for our timeout."""
    orthanc = orthancs["DicomThreadsCount"]
    with ExitStack() as stack:
        others = [stack.enter_context(raw_peer(orthanc.dicom_port)) for _ in range(4)]
        for other in others:
            assert other.exchange(asking(calling=b"KNOWN"))[:1] == b"\x02"
        result = call(orthanc, "KNOWN", timeout=1.0)
        assert (result.code, result.reason, result.fix) == (
            "no-response.silence",
            "ORTHANC accepted the association, but did not answer the C-ECHO within 1 s",
            "the peer is overloaded or hangs: see its log, try again with a longer --timeout",
        )
        for other in others:
            other.send(RELEASE_RQ)
    assert call(orthanc, "KNOWN", timeout=30.0).is_success


def test_the_web_port_of_orthanc(orthancs: Mapping[str, Orthanc]) -> None:
    port = orthancs["strict"].http_port
    result = echo(Peer("orthanc", "ORTHANC", "127.0.0.1", port))
    assert (result.outcome, result.code) == (Outcome.NO_ASSOCIATION, "no-association.http")
    assert result.reason == f"port {port} speaks HTTP, not DICOM"
    assert result.fix == "use the peer's DICOM port: Orthanc's is 4242 unless changed, 8042 is its web port"


# --- Orthanc calls us ----------------------------------------------------------------------------------------------


OURS = "MINIPACS"


def refused(
    orthanc: Orthanc, lines: Lines, node: VerificationSCP, code: str, reason: str, fix: str, called: str = OURS
) -> str:
    """Orthanc echoes the node and fails; the node says why in one line. What Orthanc says of it."""
    orthanc.register("us", called, "127.0.0.1", node.port)
    before = len(lines.of("association"))
    status, text = orthanc.echo("us")
    assert status == 500
    line = lines.wait_for("association", before + 1).getMessage()
    assert line.endswith(f" ms: {reason} [{code}]; fix: {fix}")
    record = node.associations[-1]
    assert (record.code, record.reason, record.fix) == (code, reason, fix)
    return text


def node_with(*peers: Peer, limits: Limits = Limits()) -> VerificationSCP:  # noqa: B008 - frozen
    return scp(peers=peers, limits=limits)


KNOWN_ORTHANC = Peer("orthanc", "ORTHANC")


@pytest.mark.parametrize(
    ("peer", "called", "told"),
    [
        (
            ECHOSCU,
            OURS,
            (
                "admission.calling-ae-title",
                "ORTHANC is not in the peer table",
                "minipacs peers add orthanc ORTHANC@127.0.0.1:PORT, with the port where it listens",
            ),
        ),
        (
            Peer("orthanc", "Orthanc"),
            OURS,
            (
                "admission.capitals",
                "ORTHANC is not in the peer table; Orthanc is, and capitals count",
                "on the peer: set its AE title to Orthanc; "
                'or in the peer table: ae_title = "ORTHANC" in place of "Orthanc"',
            ),
        ),
        (
            Peer("orthanc", "ORTHANC", allow_from=("10.1.2.0/24", "::1")),  # type: ignore[arg-type]
            OURS,
            (
                "admission.address",
                "ORTHANC calls from 127.0.0.1, and peer orthanc may call from 10.1.2.0/24, ::1 only",
                "if that is where it should call from, under [peers.orthanc]: "
                'allow_from = ["10.1.2.0/24", "::1", "127.0.0.1"]',
            ),
        ),
        (
            KNOWN_ORTHANC,
            "MiniPACS",
            (
                "admission.called-ae-title",
                "ORTHANC calls us MiniPACS, but we are MINIPACS; it differs from MINIPACS in capitals only",
                "on ORTHANC: set our AE title to MINIPACS; or give this node the title MiniPACS (--ae-title)",
            ),
        ),
        (
            KNOWN_ORTHANC,
            "ARCHIVE",
            (
                "admission.called-ae-title",
                "ORTHANC calls us ARCHIVE, but we are MINIPACS",
                "on ORTHANC: set our AE title to MINIPACS; or give this node the title ARCHIVE (--ae-title)",
            ),
        ),
    ],
)
def test_each_refusal_of_ours_is_told_with_its_cure(
    peer: Peer, called: str, told: tuple[str, str, str], orthancs: Mapping[str, Orthanc], lines: Lines
) -> None:
    with node_with(peer) as node:
        assert "DUL Association Rejected" in refused(orthancs["strict"], lines, node, *told, called=called)


def test_an_orthanc_too_many_is_told(orthancs: Mapping[str, Orthanc], lines: Lines) -> None:
    with node_with(KNOWN_ORTHANC, ECHOSCU, limits=Limits(associations=1)) as node, associated(node):
        said = refused(
            orthancs["strict"],
            lines,
            node,
            "admission.limit",
            "as many associations are open as this node takes",
            "look for peers that do not end their associations; raise associations under [limits]",
        )
    assert "DUL Association Rejected" in said


@required(OPENSSL)
def test_an_orthanc_that_calls_us_by_tls_is_told(tmp_path: Path, lines: Lines) -> None:
    certificate = Certificate(tmp_path, "/CN=orthanc")
    extra = {
        "DicomTlsCertificate": str(certificate.path),
        "DicomTlsPrivateKey": str(certificate.key),
        "DicomTlsTrustedCertificates": str(certificate.path),
    }
    with (
        Orthanc(tmp_path / "orthanc", minipacs_port=free_port(), extra=extra) as orthanc,
        node_with(KNOWN_ORTHANC) as node,
    ):
        orthanc.put("/modalities/us", known(AET=OURS, Port=node.port, UseDicomTls=True))
        assert orthanc.echo("us")[0] == 500
        line = lines.wait_for("association").getMessage()
    assert line.endswith(
        " ms: TLS on the plain DICOM port [inbound.tls]; "
        "fix: on the peer: switch TLS off for this node (Orthanc: UseDicomTls)"
    )
