"""The log cannot be made to flood: each value of a peer is cut, and each line that a peer causes is held back."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from minipacs.services.sop_classes import FIND, MOVE
from tests.peers.node import Node, serving, table
from tests.peers.process import wait_until
from tests.peers.pynetdicom import Checkpoint
from tests.peers.storage_node import storing
from tests.raw import asking, item, raw_peer, rejecting, telling
from tests.services.objects import identifier as keys
from tests.wire.exchange import RELEASE_RQ

PEERS = table({"name": "py", "ae_title": "SCU"}, {"name": "silent", "ae_title": "SILENT"})
MANY = 300
MEGABYTE = 1_000_000
LONGEST_LINE = 8_000  # characters, of a line with several values, each with its escapes


def calling(node: Node, title: str = "SCU") -> Association:
    ae = AE(title)
    for sop_class in (FIND[1], MOVE[1]):
        ae.add_requested_context(sop_class, ImplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
    assert association.is_established
    association._reactor_checkpoint = Checkpoint()
    return association


def stop(node: Node) -> list[str]:
    """Its log, to the end."""
    node.child.terminate()
    assert node.child.wait(within=20) == 0
    return node.child.log.splitlines()


# --- each value is cut -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("letter", ["A", "é", "\x1b"])
def test_a_key_of_a_megabyte_is_cut_and_what_is_left_out_is_told(tmp_path: Path, form: str, letter: str) -> None:
    with storing(tmp_path, PEERS, "--log-format", form) as (node, _):
        association = calling(node)
        for refused in (keys(letter * (MEGABYTE // 4)), keys("STUDY", StudyDate=letter * (MEGABYTE // 4))):
            [(status, _)] = association.send_c_find(refused, FIND[1])
            assert status.Status & 0xF000 in {0xA000, 0xC000}
        association.release()
        lines = stop(node)
    assert max(map(len, lines)) < LONGEST_LINE
    refusals = [line for line in lines if "C-FIND refused" in line]
    assert refusals
    assert all(re.search(r"\(\+\d{5,} characters\)", line) for line in refusals)


def test_what_an_association_tells_of_itself_is_cut(tmp_path: Path) -> None:
    long = telling(item(0x55, b"V" * 60_000))
    with serving(tmp_path, PEERS, "-v") as node:
        for calling_title in (b"SCU", b"STRANGER"):
            with raw_peer(node.port) as peer:
                peer.exchange(asking(calling=calling_title, user_information=long))
        node.wait_for("association", 2)
        lines = stop(node)
    assert max(map(len, lines)) < LONGEST_LINE
    assert any("(+59744 characters)" in line for line in lines if '"negotiation"' in line)


# --- each line is held back ------------------------------------------------------------------------------------------


def refused_finds(association: Association) -> None:
    for number in range(MANY):
        [(status, _)] = association.send_c_find(keys(f"LEVEL{number}"), FIND[1])
        assert status.Status == 0xA900


def refused_moves(association: Association) -> None:
    for number in range(MANY):
        [(status, _)] = association.send_c_move(keys("STUDY", StudyInstanceUID="1.2"), f"NOBODY{number}", MOVE[1])
        assert status.Status == 0xA801


def moves_to_who_only_calls(association: Association) -> None:
    for _ in range(MANY):
        [(status, _)] = association.send_c_move(keys("STUDY", StudyInstanceUID="1.2"), "SILENT", MOVE[1])
        assert status.Status == 0xA801


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("flood", [refused_finds, refused_moves, moves_to_who_only_calls])
def test_refused_requests_are_a_few_lines_and_a_count(tmp_path: Path, flood: Any, form: str) -> None:
    with storing(tmp_path, PEERS, "--log-format", form) as (node, _):
        association = calling(node)
        flood(association)
        association.release()
        lines = stop(node)
    told = [line for line in lines if "refused with 0x" in line]
    assert len(told) == 11
    assert f"{MANY - 10} more like this, untold until now: " in told[-1]


def test_one_peer_does_not_hide_another(tmp_path: Path) -> None:
    peers = table({"name": "py", "ae_title": "SCU"}, {"name": "other", "ae_title": "OTHER"})
    with storing(tmp_path, peers) as (node, _):
        for title in ("SCU", "OTHER"):
            association = calling(node, title)
            for _ in range(20):
                list(association.send_c_find(keys(f"OF {title}"), FIND[1]))
            association.release()
        lines = stop(node)
    for title in ("SCU", "OTHER"):
        assert len([line for line in lines if "refused" in line and f"OF {title}" in line]) == 11


def test_who_is_rejected_again_and_again_is_not_traced_each_time(tmp_path: Path) -> None:
    with serving(tmp_path, PEERS, "-vv") as node:
        for number in range(40):
            with raw_peer(node.port) as peer:
                assert peer.exchange(asking(calling=b"STRANGER%d" % number)) == rejecting(1, 1, 3)
        for _ in range(15):
            with raw_peer(node.port) as peer:
                assert peer.exchange(asking(calling=b"SCU"))[0] == 0x02
                assert peer.exchange(RELEASE_RQ)[0] == 0x06
        wait_until(lambda: len(node.events()) >= 25, within=30, what="the associations")
        stop(node)
        told = node.events("negotiation")
        assert len([line for line in told if "STRANGER" in str(line["request"])]) == 10
        assert len([line for line in told if "STRANGER" not in str(line["request"])]) == 15
        assert len([line for line in node.events("pdu") if "STRANGER" in str(line["fields"])]) <= 10


def test_connections_without_a_byte_are_not_told_each_time(tmp_path: Path) -> None:
    with serving(tmp_path, PEERS, "-v") as node:
        for _ in range(40):
            with raw_peer(node.port):
                pass
        with raw_peer(node.port) as peer:
            assert peer.exchange(asking(calling=b"SCU"))[0] == 0x02
        lines = stop(node)
    assert len([line for line in lines if "connected and sent nothing" in line]) == 11


# --- and what libraries say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_library_warns_of_is_in_the_format_of_the_log_and_a_few_lines(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minipacs import log

    logger = logging.getLogger("minipacs")
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's, which are not there where the node runs
    try:
        log.configure(form, debug=False)
        for number in range(50):
            logging.getLogger("some.library").warning("odd\n2026-01-01 forged %d \x1b[2J%s", number, "x" * MEGABYTE)
    finally:
        logging.captureWarnings(False)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) < 1_000
    if form == "json":
        assert {json.loads(line)["level"] for line in lines} == {"warning"}
    assert all(r"some.library: odd\n2026" in line.replace("\\\\", "\\") for line in lines)
