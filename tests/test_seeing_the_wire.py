"""`-v` and `-vv` against real peers: what is shown of both sides, held against what the peers say themselves."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import build_role
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

from tests import fakes
from tests.fakes import faking
from tests.peers.dcmtk import ECHOSCU, STORESCP, StoreSCP, echoscu, storescp
from tests.peers.node import Node, environment, run_minipacs, serving, table
from tests.peers.orthanc import ORTHANC, Orthanc
from tests.peers.ports import free_port
from tests.peers.process import running, wait_until
from tests.peers.required import required
from tests.raw import asking, raw_peer
from tests.test_pynetdicom import application_entity, calling

dcmtk = required(ECHOSCU, STORESCP)

DCMTKS_UID = "1.2.276.0.7230010.3.0.3.6."
PEERS = table({"name": "dcmtk", "ae_title": "ECHOSCU"}, {"name": "pynetdicom", "ae_title": "PYNETDICOM"})


def value(lines: str, label: str) -> str:
    """What stands behind that label, the first time."""
    found = re.search(rf"^ *{label} +(.+)$", lines, re.MULTILINE)
    assert found, f"no {label} in\n{lines}"
    return found[1]


def said_by_dcmtk(said: str, label: str) -> str:
    """What echoscu -d says in the end, on one line."""
    found: list[str] = re.findall(rf"^D: {label}: +(\S+)$", said, re.MULTILINE)
    return found[-1]


def section(text: str, beginning: str) -> str:
    """The lines of one PDU."""
    found = re.search(rf"^( *)[\d.]+ ms: {beginning}.*\n((?:\1 +.*\n?)*)", text, re.MULTILINE)
    assert found, f"no {beginning} in\n{text}"
    return found[2]


def bytes_of(dumped: str) -> bytes:
    rows = re.findall(r"^ *[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", dumped, re.MULTILINE)
    return b"".join(bytes.fromhex(row) for row in rows)


# --- minipacs echo ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSCP]:
    with storescp(tmp_path_factory.mktemp("scp"), ae_title="STORESCP", args=["--debug"]) as scp:
        yield scp


def see(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_minipacs(folder, "echo", *arguments)


@dcmtk
def test_a_negotiation_is_told_as_dcmtk_tells_it(scp: StoreSCP, tmp_path: Path) -> None:
    done = see(tmp_path, f"STORESCP@127.0.0.1:{scp.port}", "-v", "--propose", "explicit", "--propose", "implicit")
    theirs = echoscu("--debug", "-aec", "STORESCP", "127.0.0.1", scp.port).stderr
    accepted = section(done.stderr, "they sent A-ASSOCIATE-AC")
    assert value(accepted, "implementation class UID") == said_by_dcmtk(theirs, "Their Implementation Class UID")
    assert value(accepted, "implementation version name") == said_by_dcmtk(theirs, "Their Implementation Version Name")
    assert value(accepted, "maximum length") == said_by_dcmtk(theirs, "Their Max PDU Receive Size")
    assert value(accepted, "result") == "0: Accepted"
    assert value(accepted, "transfer syntax") == "Explicit VR Little Endian (1.2.840.10008.1.2.1)"
    asked = section(done.stderr, "we sent A-ASSOCIATE-RQ")
    assert re.findall(r"transfer syntax  +(.+) \(", asked) == [
        "Explicit VR Little Endian",
        "Implicit VR Little Endian",
    ]
    assert done.stdout.startswith(f"STORESCP@127.0.0.1:{scp.port}  success")
    assert "P-DATA-TF" not in done.stderr
    wait_until(lambda: "MINIPACS_" in scp.log, within=30, what="its log")
    assert value(asked, "implementation version name") in scp.log


@dcmtk
def test_every_byte_is_the_one_that_dcmtk_saw(scp: StoreSCP, tmp_path: Path) -> None:
    before = len(scp.log)
    done = see(tmp_path, f"STORESCP@127.0.0.1:{scp.port}", "-vv")
    asked = bytes_of(section(done.stderr, "we sent A-ASSOCIATE-RQ"))
    wait_until(lambda: "Releas" in scp.log[before:], within=30, what="its log")
    dumped = scp.log[before:].split("PDU Type: Associate Request")[1].split("Parsing")[0]
    assert bytes.fromhex("".join(re.findall(r"^D: ((?:  [0-9a-f]{2})+)", dumped, re.MULTILINE))) == asked
    answered = section(done.stderr, "they sent P-DATA-TF")
    assert "(0000,0100) Command Field = C-ECHO-RSP (0x8030)" in answered
    assert "(0000,0900) Status = 0x0000: Success" in answered
    assert len(bytes_of(answered)) == int(re.findall(r"they sent P-DATA-TF, (\d+) bytes", done.stderr)[0])


@dcmtk
def test_all_transfer_syntaxes_are_not_too_many_for_dcmtk(scp: StoreSCP, tmp_path: Path) -> None:
    done = see(tmp_path, f"STORESCP@127.0.0.1:{scp.port}", "-v", "--propose", "all")
    assert done.returncode == 0
    assert section(done.stderr, "we sent A-ASSOCIATE-RQ").count("transfer syntax ") > 30
    assert section(done.stderr, "they sent A-ASSOCIATE-AC").count("transfer syntax ") == 1


@dcmtk
def test_json_stays_one_object_a_line(scp: StoreSCP, tmp_path: Path) -> None:
    target = f"STORESCP@127.0.0.1:{scp.port}"
    done = see(tmp_path, target, target, "-vv", "--json", "--abort", "--pdu", "0")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(result["outcome"], result["release_ms"]) for result in results] == [("success", None)] * 2
    assert [line for line in done.stderr.splitlines() if line[0] != " "] == [
        target,
        target,
    ]  # each whole under its heading
    assert value(section(done.stderr, "we sent A-ASSOCIATE-RQ"), "maximum length") == "0"
    assert "we sent A-ABORT, 10 bytes" in done.stderr
    assert "A-RELEASE" not in done.stderr


@required(ORTHANC)
def test_orthanc_is_seen_accepting_and_rejecting(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", minipacs_port=free_port()) as orthanc:
        target = f"ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        accepted = see(tmp_path, target, "-vv", "--propose", "all")
        small = see(tmp_path, target, "-v", "--pdu", "14")
        rejected = see(tmp_path, target, "-v", "--calling", "STRANGER")
    answer = section(accepted.stderr, "they sent A-ASSOCIATE-AC")
    assert (accepted.returncode, value(answer, "result")) == (0, "0: Accepted")
    assert value(answer, "implementation class UID").startswith(DCMTKS_UID)
    assert small.returncode == 0
    assert rejected.returncode == 1
    assert re.findall(r"\S.*", section(rejected.stderr, "they sent A-ASSOCIATE-RJ")) == [
        "codes                       1/1/3",
        "result                      Rejected (Permanent)",
        "source                      DUL service-user",
        "reason                      Calling AE title not recognised",
    ]


def test_silence_is_told_with_what_we_sent(tmp_path: Path) -> None:
    with faking(fakes.keeps_silent) as fake:
        done = see(tmp_path, str(fake.peer), "-v", "--timeout", "0.3")
    assert "we sent A-ASSOCIATE-RQ" in done.stderr
    assert done.stderr.splitlines()[-1] == "  nothing came"
    assert "no-association" in done.stdout


def test_a_peer_that_is_not_there_has_said_nothing(tmp_path: Path) -> None:
    port = free_port()
    done = see(tmp_path, f"A@127.0.0.1:{port}", "-v")
    assert done.stderr == f"A@127.0.0.1:{port}\n  no connection\n"


def test_what_was_tolerated_is_told(tmp_path: Path) -> None:
    with faking(fakes.tells_unknown_things) as fake:
        done = see(tmp_path, str(fake.peer), "-v")
    assert re.search(r"^  tolerated: unknown ", done.stderr, re.MULTILINE)
    assert "(unknown)" in done.stderr


def test_what_is_no_dicom_is_shown(tmp_path: Path) -> None:
    with faking(fakes.speaks_http) as fake:
        done = see(tmp_path, str(fake.peer), "-vv")
    assert r'no PDU = "HTTP/1.1 400 Bad Request\r\nConten"' in done.stderr
    assert "first bytes                 48 54 54 50" in done.stderr


def test_side_by_side_each_is_told_in_one_piece(tmp_path: Path) -> None:
    with faking(fakes.behaves) as one, faking(fakes.rejects(1, 1, 3)) as two:
        targets = [str(fake.peer) for fake in (one, two)]
        done = see(tmp_path, *targets, "-v")
    first, second = re.split(r"^(?=FAKE@)", done.stderr, flags=re.MULTILINE)[1:]
    assert first.splitlines()[0] == targets[0]
    assert "they sent A-RELEASE-RP" in first
    assert "A-ASSOCIATE-RJ" not in first
    assert second.splitlines()[0] == targets[1]
    assert "they sent A-ASSOCIATE-RJ" in second


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            "--propose jpegbaselin8bit",
            "Invalid value for '--propose': must be implicit, explicit, deflated, big-endian, all, a UID or pydicom's "
            "keyword (nearest: JPEGBaseline8Bit), not jpegbaselin8bit",
        ),
        ("--propose implict", "(nearest: implicit), not implict"),
        ("--propose 1.02.3", "a UID or pydicom's keyword"),
        ("--pdu 13", "Invalid value for '--pdu': must be 0 (unlimited) or 14 to 67108864, not 13"),
        ("--pdu -1", "must be 0 (unlimited) or 14 to 67108864, not -1"),
        ("--pdu x", "must be a number, not x"),
    ],
)
def test_what_cannot_be_proposed_is_a_usage_error(arguments: str, error: str, tmp_path: Path) -> None:
    done = see(tmp_path, "A@127.0.0.1:104", *arguments.split())
    assert (done.stdout, done.returncode) == ("", 2)
    assert error in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "uids"),
    [
        (["explicit", "implicit", "explicit"], ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]),
        (["big-endian", "deflated"], ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]),
        (["JPEGBaseline8Bit", "1.2.3.4"], ["1.2.840.10008.1.2.4.50", "1.2.3.4"]),
        ([], ["1.2.840.10008.1.2"]),
    ],
    ids=str,
)
def test_what_is_proposed_goes_out_in_that_order(words: list[str], uids: list[str], tmp_path: Path) -> None:
    with faking(fakes.refuses_verification(4)) as fake:
        see(tmp_path, str(fake.peer), *(part for word in words for part in ("--propose", word)))
    assert re.findall(rb"\x40\0\0.([0-9.]+)", fake.received[0]) == [uid.encode() for uid in uids]


def test_without_v_no_names_are_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from minipacs.cli import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'pydicom', 'pynetdicom', 'logging'}))"
    )
    for options, imported in ((["--propose", "explicit"], ""), (["-v"], "logging pydicom pynetdicom")):
        with faking(fakes.behaves) as fake:
            done = subprocess.run(
                [sys.executable, "-c", code, "echo", str(fake.peer), *options],
                cwd=tmp_path,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        assert done.stdout.splitlines()[-1] == imported


# --- minipacs serve --------------------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with serving(tmp_path, PEERS, "-v") as node:
        yield node


@dcmtk
def test_a_negotiation_with_us_is_logged_as_dcmtk_tells_it(node: Node) -> None:
    said = echoscu("--debug", "-aec", "MINIPACS", "--propose-ts", 3, "--max-pdu", 20_000, "127.0.0.1", node.port).stderr
    event = node.wait_for("negotiation", 1)
    request, answer = event["request"], event["answer"]
    assert request["implementation_class_uid"] == said_by_dcmtk(said, "Our Implementation Class UID")
    assert request["implementation_version_name"] == said_by_dcmtk(said, "Our Implementation Version Name")
    assert request["maximum_length"] == int(said_by_dcmtk(said, "Our Max PDU Receive Size")) == 20_000
    assert (request["calling_ae_title"], request["called_ae_title"]) == ("ECHOSCU", "MINIPACS")
    assert answer["implementation_class_uid"] == said_by_dcmtk(said, "Their Implementation Class UID")
    assert answer["implementation_version_name"] == said_by_dcmtk(said, "Their Implementation Version Name")
    assert answer["maximum_length"] == int(said_by_dcmtk(said, "Their Max PDU Receive Size"))
    [proposed], [accepted] = request["presentation_contexts"], answer["presentation_contexts"]
    assert [syntax["name"] for syntax in proposed["transfer_syntaxes"]] == [
        "Implicit VR Little Endian",
        "Explicit VR Little Endian",
        "Explicit VR Big Endian",
    ]
    assert (accepted["id"], accepted["result"]) == (1, "0: Accepted")
    assert (event["level"], event["address"], event["observations"]) == ("debug", "127.0.0.1", [])
    assert event["port"] > 0
    assert node.events("pdu") == []


@dcmtk
def test_a_rejection_by_us_is_logged_by_name(node: Node) -> None:
    echoscu("-aec", "ARCHIVE", "127.0.0.1", node.port)
    answer = node.wait_for("negotiation", 1)["answer"]
    assert answer == {
        "pdu": "A-ASSOCIATE-RJ",
        "codes": "1/1/7",
        "result": "Rejected (Permanent)",
        "source": "DUL service-user",
        "reason": "Called AE title not recognised",
    }


def test_what_pynetdicom_tells_of_itself_is_logged_without_its_password(tmp_path: Path) -> None:
    ae = application_entity("PYNETDICOM")
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    window, identity = AsynchronousOperationsWindowNegotiation(), UserIdentityNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 3, 1
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"alice", b"hunter2-hunter2"
    role = build_role(CTImageStorage, scp_role=True)
    with serving(tmp_path, PEERS, "-vv") as node:
        association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS", ext_neg=[window, identity, role])
        assert association.is_established
        association.release()
        ae.shutdown()
        event = node.wait_for("negotiation", 1)
        node.wait_for("association", 1)
        log = node.child.log
    told = {told.pop("item"): told for told in event["request"]["user_information"]}
    assert told["0x53 Asynchronous operations window"] == {"operations_invoked": ["3"], "operations_performed": ["1"]}
    roles = told["0x54 SCP/SCU role selection"]
    assert (roles["SOP_class"], roles["SCP_role"]) == (["CT Image Storage (1.2.840.10008.5.1.4.1.1.2)"], ["1"])
    assert told["0x58 User identity"] == {
        "type": ["2: user name and passcode"],
        "response_requested": ["0"],
        "primary_field": ['"alice"'],
        "secondary_field": ["(15 bytes not shown)"],
    }
    assert event["observations"] == ["user identity sent: neither checked nor answered"]
    assert "hunter2" not in log
    assert b"hunter2".hex() not in log
    assert b"alice".hex() in log  # the bytes are there, but for the secret


def test_every_pdu_is_logged_once_with_its_bytes(tmp_path: Path) -> None:
    with serving(tmp_path, PEERS, "-vv") as node:
        with calling(node) as association:
            assert association.send_c_echo().Status == 0
        node.wait_for("association", 1)
        pdus = node.events("pdu")
        [negotiation] = node.events("negotiation")
    assert [(pdu["direction"], pdu["pdu"]) for pdu in pdus] == [
        ("received", "A-ASSOCIATE-RQ"),
        ("sent", "A-ASSOCIATE-AC"),
        ("received", "P-DATA-TF"),
        ("sent", "P-DATA-TF"),
        ("received", "A-RELEASE-RQ"),
        ("sent", "A-RELEASE-RP"),
    ]
    assert all(pdu["port"] == negotiation["port"] for pdu in pdus)
    for pdu in pdus:
        data = bytes.fromhex("".join(field["hex"] for field in pdu["fields"]))
        assert len(data) == pdu["length"] == int.from_bytes(data[2:6], "big") + 6
    assert [pdu["ms"] for pdu in pdus] == sorted(pdu["ms"] for pdu in pdus)


def test_a_flood_of_noise_is_told_once(tmp_path: Path) -> None:
    with serving(tmp_path, PEERS, "-vv") as node:
        for _ in range(20):
            with raw_peer(node.port) as peer:
                peer.exchange(b"GET / HTTP/1.1\r\n\r\n")
        with raw_peer(node.port) as peer:
            peer.exchange(asking(calling=b"NOBODY"))
        negotiations = [node.wait_for("negotiation", 2), *node.events("negotiation")][1:]
        pdus = node.events("pdu")
    assert [negotiation["request"]["pdu"] for negotiation in negotiations] == ["no PDU", "A-ASSOCIATE-RQ"]
    assert len(pdus) == 4


def test_half_a_request_is_told_at_its_end(node: Node) -> None:
    with raw_peer(node.port) as peer:
        peer.send(asking()[:50])
    event = node.wait_for("negotiation", 1)
    assert (event["request"]["pdu"], event["answer"]) == ("A-ASSOCIATE-RQ", None)
    assert "invalid" in event["request"]


def test_without_v_nothing_of_it_is_logged(tmp_path: Path) -> None:
    with serving(tmp_path, PEERS) as node:
        with calling(node) as association:
            assert association.is_established
        node.wait_for("association", 1)
        assert node.events("negotiation") == node.events("pdu") == []


def test_in_text_each_negotiation_is_one_block(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "peers.toml").write_text(PEERS)
    command = [sys.executable, "-m", "minipacs", "serve", "--port", "0", "-v"]
    with running(
        command, log=tmp_path / "log", ready=lambda child: "listening on" in child.log, env=environment(), cwd=tmp_path
    ) as child:
        port = int(child.log.split(",")[0].rpartition(":")[2])
        with raw_peer(port) as one, raw_peer(port) as two:
            one.exchange(asking(calling=b"ECHOSCU"))
            two.exchange(asking(calling=b"\x1b[31m"))
        wait_until(lambda: child.log.count("-> MINIPACS") == 2, within=30, what="two associations")
        log = child.log
    blocks = re.findall(r"^[\d: ,-]+DEBUG +127\.0\.0\.1 port \d+: negotiation\n((?:  .*\n)+)", log, re.MULTILINE)
    assert len(blocks) == 2
    assert "we sent A-ASSOCIATE-AC" in blocks[0]
    assert value(blocks[1], "calling AE title") == r"\x1b[31m"
    assert "\x1b" not in log
