"""Edits of the peer table's file: everything else in it stays, byte by byte; and they are made whole or not at all."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings

from minipacs import Peer, PeerTable, PeerTableError, peer_file, toml_file
from minipacs.peer_file import add_peer, remove_peer

from .peers.process import wait_until
from .test_peers import peers, tables, written
from .test_toml_file import NOBODY, public_folder, without_privileges

SHIPPED = Path(__file__).parents[1] / "conf" / "peers.toml"

NEW = Peer("new", "NEW", "10.0.0.9", 104, (ip_network("10.0.0.0/24"),))
NEW_TEXT = '[peers.new]\nae_title = "NEW"\nhost = "10.0.0.9"\nport = 104\nallow_from = ["10.0.0.0/24"]\n'

COMMENTED = """\
# our peers

# in room 1
[peers.ct1]  # bought in 2019
ae_title = "CT1"      # case matters
# its address, until spring
host = '10.0.0.5'
port=0x68

# the one on loan
[peers.mr2]
ae_title = "MR2"
# do not call it

# and nobody else
"""

EDIT_BY_HAND = "file: must be plain enough to be edited by program, not so: edit it by hand"


def saved(folder: Path, text: str) -> Path:
    path = folder / "peers.toml"
    path.write_bytes(text.encode())
    return path


def text_of(path: Path) -> str:
    return path.read_bytes().decode()


def refused(path: Path, edit: Callable[[], None]) -> str:
    """The fault that the edit is refused for; the file is as it was, and nothing is beside it."""
    before = path.read_bytes() if path.exists() else None
    beside = sorted(path.parent.iterdir())
    with pytest.raises(PeerTableError) as raised:
        edit()
    assert (path.read_bytes() if path.exists() else None) == before
    assert sorted(path.parent.iterdir()) == beside
    return "\n".join(fault.removeprefix(f"{path}: ") for fault in raised.value.faults)


# --- add -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "added"),
    [
        pytest.param("", NEW_TEXT, id="empty"),
        pytest.param("# nobody yet\n", f"\n{NEW_TEXT}", id="comment alone"),
        pytest.param("[peers]\n", f"\n{NEW_TEXT}", id="header alone"),
        pytest.param("peers.a.ae_title = 'A'\npeers.b.ae_title = 'B'\n", f"\n{NEW_TEXT}", id="dotted without header"),
        pytest.param(SHIPPED.read_text(), f"\n{NEW_TEXT}", id="shipped"),
        pytest.param(COMMENTED, f"\n{NEW_TEXT}", id="commented"),
        pytest.param('[peers.ct1]\nae_title = "CT1"', f"\n{NEW_TEXT}", id="no line end"),
        pytest.param('[peers]\nct1 = { ae_title = "CT1" }  # x\n', f"\n{NEW_TEXT}", id="inline"),
        pytest.param('[peers]\nct1.ae_title = "CT1"\n', f"\n{NEW_TEXT}", id="dotted"),
        pytest.param('\ufeff# c\n[peers.ct1]\nae_title = "CT1"\n', f"\n{NEW_TEXT}", id="byte order mark"),
        pytest.param('# c\r\n[peers.ct1]\r\nae_title = "CT1"\r\n', f"\n{NEW_TEXT}".replace("\n", "\r\n"), id="CR LF"),
        pytest.param('# c\r\n[peers.ct1]\nae_title = "CT1"\n', f"\n{NEW_TEXT}", id="both line ends"),
    ],
)
def test_a_peer_is_added_at_the_end_and_nothing_else_changes(text: str, added: str, tmp_path: Path) -> None:
    path = saved(tmp_path, text)
    before = PeerTable.read(path)
    add_peer(path, NEW)
    assert text_of(path) == text + added
    assert PeerTable.read(path) == PeerTable([*before.values(), NEW])


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (Peer("ws2", "WS2"), '[peers.ws2]\nae_title = "WS2"\n'),
        (Peer("a.b", "A"), '[peers."a.b"]\nae_title = "A"\n'),
        (Peer("q", 'A"B'), '[peers.q]\nae_title = "A\\"B"\n'),
        (Peer("six", "SIX", "::1", 104), '[peers.six]\nae_title = "SIX"\nhost = "::1"\nport = 104\n'),
    ],
)
def test_a_peer_is_written_as_a_section(peer: Peer, text: str, tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    add_peer(path, peer)
    assert text_of(path) == text


def test_the_file_and_its_folder_are_made_when_they_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "conf" / "peers.toml"
    add_peer(path, NEW)
    assert text_of(path) == NEW_TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("peer", "fault"),
    [
        (Peer("ct1", "X"), "peers.ct1: must be a name of its own, not one that is in the table"),
        (Peer("x", "CT1"), 'peers.x.ae_title: must be unlike the title of peers.ct1, not "CT1"'),
    ],
)
def test_a_name_or_title_that_is_there_is_refused(peer: Peer, fault: str, tmp_path: Path) -> None:
    path = saved(tmp_path, COMMENTED)
    assert refused(path, lambda: add_peer(path, peer)) == fault


def test_a_file_with_faults_is_not_edited(tmp_path: Path) -> None:
    path = saved(tmp_path, '[peers.ct1]\nae_title = ""\nhots = "h"\n')
    faults = (
        'peers.ct1.ae_title: must not be empty, not ""\npeers.ct1.hots: must be a known key (nearest: host), not "hots"'
    )
    assert refused(path, lambda: add_peer(path, NEW)) == faults
    assert refused(path, lambda: remove_peer(path, "ct1")) == faults


@pytest.mark.parametrize(
    "text",
    ['peers = { ct1 = { ae_title = "CT1" } }\n', "peers = {}\n"],
    ids=["inline", "empty inline"],
)
def test_what_cannot_be_added_to_by_program_is_refused(text: str, tmp_path: Path) -> None:
    path = saved(tmp_path, text)
    assert refused(path, lambda: add_peer(path, NEW)) == EDIT_BY_HAND


def test_a_file_does_not_grow_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, COMMENTED)
    monkeypatch.setattr(toml_file, "SIZE_LIMIT", len(COMMENTED))
    size = len(f"{COMMENTED}\n{NEW_TEXT}")
    assert refused(path, lambda: add_peer(path, NEW)) == f"size: must be at most {len(COMMENTED)} bytes, not {size}"


# --- remove ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "ct1",
            "# our peers\n\n# in room 1\n\n"
            '# the one on loan\n[peers.mr2]\nae_title = "MR2"\n# do not call it\n\n# and nobody else\n',
        ),
        (
            "mr2",
            COMMENTED.partition("[peers.mr2]")[0] + "# do not call it\n\n# and nobody else\n",
        ),
    ],
)
def test_a_peer_is_removed_and_every_comment_around_it_stays(name: str, text: str, tmp_path: Path) -> None:
    path = saved(tmp_path, COMMENTED)
    remove_peer(path, name)
    assert text_of(path) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('[peers.a]\nae_title = "A"\n\n[peers.b]\nae_title = "B"\n', '\n[peers.b]\nae_title = "B"\n'),
        ('[peers.b]\nae_title = "B"\n\n[peers.a]\nae_title = "A"\n', '[peers.b]\nae_title = "B"\n'),
        ('[peers.b]\nae_title = "B"\n\n[peers.a]\nae_title = "A"', '[peers.b]\nae_title = "B"\n'),
        ('[peers.a]\nae_title = "A"\n', ""),
        ('[peers.a]\nae_title = "A"', ""),
        ('[peers]\n\n[peers.a]\nae_title = "A"\n', "[peers]\n"),
        ('["peers" . \'a\']\nae_title = "A"\n# c\n', "# c\n"),
        ('  [peers.a]  # x\n  ae_title = "A"\n  # c\n', "  # c\n"),
        ('\ufeff[peers.a]\nae_title = "A"\n# c\n', "\ufeff# c\n"),
        ('[peers.a]\r\nae_title = "A"\r\n# c\r\n', "# c\r\n"),
        ('[peers.a]\nae_title = "A"\nallow_from = [\n  "10.0.0.1",\n  # [peers.b]\n  "10.0.0.2",\n]\n# c\n', "# c\n"),
        (
            '[peers]\na = { ae_title = "A" }  # a\nb = { ae_title = "B" }  # b\n',
            '[peers]\nb = { ae_title = "B" }  # b\n',
        ),
        ('[peers]\na.ae_title = "A"\nb.ae_title = "B"\n', '[peers]\nb.ae_title = "B"\n'),
        ('peers.a.ae_title = "A"\npeers.b.ae_title = "B"\n', 'peers.b.ae_title = "B"\n'),
    ],
)
def test_a_peer_is_removed_however_it_was_written(text: str, left: str, tmp_path: Path) -> None:
    path = saved(tmp_path, text)
    table = PeerTable.read(path)
    remove_peer(path, "a")
    assert text_of(path) == left
    assert PeerTable.read(path) == PeerTable(peer for peer in table.values() if peer.name != "a")


def test_a_name_with_a_dot_is_removed_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, '[peers.ab]\nae_title = "AB"\n')
    add_peer(path, Peer("a.b", "A"))
    remove_peer(path, "a.b")
    assert text_of(path) == '[peers.ab]\nae_title = "AB"\n'


@pytest.mark.parametrize(
    "text",
    ['[peers.a]\nae_title = """\\\n[A"""\nhost = "h"\nport = 1\n', '[peers."\\u0061"]\nae_title = "A"\n# c\n'],
    ids=["a line that looks like a section", "a name in escapes"],
)
def test_what_is_too_clever_is_refused_or_removed_right(text: str, tmp_path: Path) -> None:
    path = saved(tmp_path, text)
    try:
        remove_peer(path, "a")
    except PeerTableError:
        assert text_of(path) == text
    else:
        assert PeerTable.read(path) == PeerTable()


@pytest.mark.parametrize("text", ["", COMMENTED, "[peers]\n"])
def test_a_peer_that_is_not_there_is_a_key_error(text: str, tmp_path: Path) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(KeyError):
        remove_peer(path, "nobody")
    assert text_of(path) == text


def test_a_file_that_is_not_there_has_no_peer_to_remove(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    fault = refused(path, lambda: remove_peer(path, "ct1"))
    assert fault == 'file: must be readable, not "No such file or directory"'


def test_what_was_added_and_removed_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = saved(tmp_path, COMMENTED)
    add_peer(path, NEW)
    remove_peer(path, "new")
    assert text_of(path) == COMMENTED


@settings(max_examples=30, deadline=None)
@given(tables, peers())
def test_any_peer_is_added_to_any_table_and_removed_again(
    tmp_path_factory: pytest.TempPathFactory, table: PeerTable, peer: Peer
) -> None:
    path = saved(tmp_path_factory.mktemp("any"), written(table))
    if peer.name in table or table.with_ae_title(peer.ae_title):
        refused(path, lambda: add_peer(path, peer))
        return
    add_peer(path, peer)
    assert PeerTable.read(path) == PeerTable([*table.values(), peer])
    remove_peer(path, peer.name)
    assert PeerTable.read(path) == table


# --- the file itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_the_mode_is_kept(mode: int, tmp_path: Path) -> None:
    path = saved(tmp_path, COMMENTED)
    path.chmod(mode)
    add_peer(path, NEW)
    remove_peer(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path, COMMENTED)
    os.chown(path, NOBODY, NOBODY)
    add_peer(path, NEW)
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)


def test_a_link_stays_a_link_and_its_target_is_edited(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target = saved(tmp_path / "data", COMMENTED)
    (tmp_path / "link").symlink_to("data/peers.toml")
    path = tmp_path / "peers.toml"
    path.symlink_to("link")
    add_peer(path, NEW)
    assert os.readlink(path) == "link"
    assert os.readlink(tmp_path / "link") == "data/peers.toml"
    assert text_of(target) == f"{COMMENTED}\n{NEW_TEXT}"


def test_a_link_to_nothing_gets_its_target(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.symlink_to("data/real.toml")
    add_peer(path, NEW)
    assert text_of(tmp_path / "data" / "real.toml") == NEW_TEXT
    assert path.is_symlink()


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = saved(tmp_path, COMMENTED)
    with path.open() as before:
        add_peer(path, NEW)
        assert before.read() == COMMENTED
    assert [entry.name for entry in tmp_path.iterdir()] == ["peers.toml"]


@pytest.mark.parametrize("step", ["write", "fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_a_failure_at_any_step_leaves_the_file_and_nothing_beside_it(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, COMMENTED)

    def fail(*_: object) -> None:
        raise error

    if step == "write":
        monkeypatch.setattr(peer_file, "open", fail, raising=False)
    else:
        monkeypatch.setattr(os, step, fail)
    expected = PeerTableError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        add_peer(path, NEW)
    assert text_of(path) == COMMENTED
    assert [entry.name for entry in tmp_path.iterdir()] == ["peers.toml"]


def test_a_folder_that_is_not_ours_is_told() -> None:
    with public_folder() as folder:
        path = saved(folder, COMMENTED)
        folder.chmod(0o555)
        with without_privileges():
            assert refused(path, lambda: add_peer(path, NEW)) == 'file: must be writable, not "Permission denied"'


@pytest.mark.parametrize("edit", [lambda path: add_peer(path, NEW), lambda path: remove_peer(path, "ct1")])
def test_a_file_that_we_may_not_look_at_is_not_taken_for_missing(edit: Callable[[Path], None]) -> None:
    with public_folder() as folder:
        path = saved(folder, COMMENTED)
        folder.chmod(0)
        with without_privileges(), pytest.raises(PeerTableError, match='must be readable, not "Permission denied"'):
            edit(path)
        assert text_of(path) == COMMENTED


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, COMMENTED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fault = refused(path, lambda: add_peer(path, NEW))
    assert fault == 'file: must be writable, not "No space left on device"'


KILLED = """
import os, signal, sys
from pathlib import Path
from minipacs import Peer
from minipacs.peer_file import add_peer
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
add_peer(Path(sys.argv[1]), Peer("new", "NEW"))
"""


def test_a_kill_before_the_exchange_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = saved(tmp_path, COMMENTED)
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    wait_until(lambda: killed.poll() is not None, within=30, what="the kill")
    assert killed.returncode == -9
    assert text_of(path) == COMMENTED
    add_peer(path, NEW)
    assert "new" in PeerTable.read(path)
