"""Images by TLS with real peers: Orthanc, DCMTK's storescp and another node; and what is said when that cannot be."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from .peers.dcmtk import STORESCP, storescp
from .peers.node import Node, run_minipacs, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.required import required
from .test_find_move_get import run
from .test_service_rows import IMAGES
from .test_store import FILES, data_set
from .test_tls_peers import World, options, register, speaking_tls, world

__all__ = ["world"]  # a fixture

SENT = {str(dcmread(path).SOPInstanceUID): data_set(path) for path in FILES}
MR = IMAGES / "mr-rle.dcm"


def settings(world: World, *, trusted: Path | None = None, port: int = 0, tls_port: int = 0) -> str:
    """conf/minipacs.toml of a node with [tls]."""
    return (
        f'[node]\nport = {port}\n[tls]\ncertificate = "{world.node.certificate}"\nkey = "{world.node.key}"\n'
        f'trusted = "{trusted or world.ours.certificate}"\nport = {tls_port}\n'
    )


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """Where our commands run, with [tls] as it should be."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "minipacs.toml").write_text(settings(world))
    return tmp_path


@pytest.fixture(scope="module")
def orthanc(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with Orthanc(folder, minipacs_port=free_port(), extra=speaking_tls(world)) as orthanc:
        register(orthanc, orthanc.minipacs_port)
        yield orthanc


@pytest.fixture(scope="module")
def node(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Another node, which lets us in by TLS as well as without."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "conf").mkdir()
    (folder / "conf" / "minipacs.toml").write_text(settings(world))
    us = table({"name": "us", "ae_title": "US"})
    with serving(folder, us, "--ae-title", "ARCHIVE", "--storage", str(folder / "objects")) as node:
        yield node


@pytest.fixture(params=["orthanc", "node"])
def target(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Whom to call by TLS, and as whom."""
    peer = request.getfixturevalue(request.param)
    if isinstance(peer, Orthanc):
        return (f"ORTHANC@127.0.0.1:{peer.dicom_port}", "--calling", "MINIPACS", "--tls")
    return (f"ARCHIVE@127.0.0.1:{peer.wait_for('listening', 1)['tls_port']}", "--calling", "US", "--tls")


@required(ORTHANC)
def test_images_are_stored_found_and_fetched_by_mutual_tls(target: tuple[str, ...], folder: Path) -> None:
    code, out, err = run(folder, "store", *target, IMAGES, "--jobs", "2")
    assert (code, err, out.split(" in ")[0]) == (0, "", "7 of 7 objects stored")
    code, out, err = run(folder, "find", *target, "PatientID=PHANTOM-MR")
    assert (code, err, out.splitlines()[1].split()[:2]) == (0, "1 match\n", ["PHANTOM^MR", "PHANTOM-MR"])
    for patient in ("PHANTOM-MR", "PHANTOM-CT"):
        assert run(folder, "get", *target, f"PatientID={patient}", "--output", "got")[0] == 0
    got = {path.stem: data_set(path) for path in (folder / "got").iterdir()}
    assert got == {uid: SENT[uid] for uid in got}
    assert len(got) == 3


@required(ORTHANC)
def test_orthanc_moves_an_image_to_our_node_by_tls_on_both_ways(world: World, orthanc: Orthanc, folder: Path) -> None:
    target = f"ORTHANC@127.0.0.1:{orthanc.dicom_port}"
    assert run(folder, "store", target, MR, "--tls")[0] == 0
    objects = folder / "objects"
    (folder / "conf" / "minipacs.toml").write_text(settings(world, tls_port=orthanc.minipacs_port))
    entry = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port, "tls": True}
    with serving(folder, table(entry), "--storage", str(objects)) as node:
        assert run(folder, "move", "orthanc", "PatientID=PHANTOM-MR") == (0, "1 of 1 object moved\n", "")
        assert node.wait_for("association", 1)["peer"] == "orthanc"
    (moved,) = objects.rglob("*.dcm")
    assert data_set(moved) == data_set(MR)


@required(STORESCP)
def test_dcmtk_stores_by_mutual_tls(world: World, folder: Path) -> None:
    args = ("+xa", *options(world.peer, world.ours))
    with storescp(folder / "scp", ae_title="STORESCP", args=args) as scp:
        code, out, err = run(folder, "store", f"STORESCP@127.0.0.1:{scp.port}", IMAGES, "--tls")
        assert (code, err, out.split(" in ")[0]) == (0, "", "7 of 7 objects stored")
        assert {str(dcmread(path).SOPInstanceUID): data_set(path) for path in scp.folder.iterdir()} == SENT


@required(ORTHANC)
def test_an_image_makes_the_round_trip_by_tls(world: World, orthanc: Orthanc, folder: Path) -> None:
    text = settings(world, port=free_port(), tls_port=orthanc.minipacs_port)
    (folder / "conf" / "minipacs.toml").write_text(text)
    entry = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port, "tls": True}
    (folder / "conf" / "peers.toml").write_text(table(entry))
    done = run_minipacs(folder, "roundtrip", "orthanc", "--image", "--orthanc", orthanc.url, "--json")
    result = json.loads(done.stdout)
    assert (result["verdict"], done.returncode, done.stderr) == ("mutual", 0, ""), done.stdout
    outcomes = {leg["leg"]: leg["outcome"] for leg in result["legs"]}
    assert [outcomes[leg] for leg in ("store", "find", "move", "compare", "remove")] == [
        "stored",
        "found",
        "returned",
        "same",
        "removed",
    ]


# --- what cannot be ---------------------------------------------------------------------------------------------------

COMMANDS = {
    "store": ("store", str(MR)),
    "find": ("find",),
    "move": ("move", "PatientID=X"),
    "get": ("get", "PatientID=X", "--output", "out"),
}


def told(name: str, target: tuple[str, ...], folder: Path) -> str:
    """The one line that says what is wrong, and its fix, of a command that fails before it has an association."""
    command, *keys = COMMANDS[name]
    code, out, err = run(folder, command, target[0], *keys, *target[1:])
    assert code == 1
    assert not (folder / "out").exists()
    lines = (out if name == "store" else err).splitlines()
    assert lines[1].startswith("fix: ")
    return "\n".join(lines[:2])


@required(ORTHANC)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_peer_whose_certificate_we_do_not_trust_is_named(
    name: str, world: World, target: tuple[str, ...], folder: Path
) -> None:
    (folder / "conf" / "minipacs.toml").write_text(settings(world, trusted=world.other.certificate))
    text = told(name, target, folder)
    assert "[tls.their-ca-unknown]" in text
    assert "trusted" in text.splitlines()[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_peer_that_speaks_no_tls_is_named(name: str, node: Node, folder: Path) -> None:
    text = told(name, (f"ARCHIVE@127.0.0.1:{node.port}", "--tls"), folder)
    assert text.startswith(f"minipacs: port {node.port} does not speak TLS, and we called it by TLS [tls.plain]\nfix: ")


@required(ORTHANC)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_peer_that_speaks_tls_alone_is_looked_at(name: str, orthanc: Orthanc, folder: Path) -> None:
    text = told(name, (f"ORTHANC@127.0.0.1:{orthanc.dicom_port}",), folder)
    seen = f"; observed: port {orthanc.dicom_port} speaks TLSv1.3, with a certificate for CN=127.0.0.1"
    assert f"{seen}, and demands a certificate of ours [no-association.closed]" in text, text
    assert "it may want TLS (--tls)" in text
