"""Deletes no files that are not its own: a folder is taken when it is empty or marked, an index when it is ours."""

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from minipacs.services.object_files import place_of

from ..peers.node import run_minipacs
from ..peers.storage_node import storing
from ..services.objects import data_set, write
from ..storing import encoded, image
from ..storing import storing as storing_here
from .stored import as_it_is, sender, store

MARKER = ".minipacs-storage"
LINE = "minipacs storage 1\n"
APPLICATION = 0x6D706163  # "mpac", in the header of an index of ours


def database(path: Path, *, application: int = 0) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute("CREATE TABLE letters (text)")
        connection.execute("INSERT INTO letters VALUES ('dear')")
        connection.commit()


def marked(folder: Path, text: str = LINE) -> None:
    (folder / MARKER).write_text(text)


# --- what is not ours to take ---------------------------------------------------------------------------------------


def letter(folder: Path, _: Path) -> None:
    (folder / "letter.txt").write_text("dear")


def letter_in_incoming(folder: Path, _: Path) -> None:
    (folder / "incoming").mkdir()
    (folder / "incoming" / "letter.txt").write_text("dear")


def letter_named_as_we_name(folder: Path, _: Path) -> None:
    (folder / "incoming").mkdir()
    (folder / "incoming" / f"{'0f' * 16}.dcm").write_text("dear")


def folders_of_our_names(folder: Path, _: Path) -> None:
    (folder / "objects" / "00").mkdir(parents=True)
    (folder / "incoming" / "below").mkdir(parents=True)
    (folder / "objects" / "00" / "1.2.3.dcm").write_text("dear")


def incoming_elsewhere(folder: Path, outside: Path) -> None:
    (folder / "incoming").symlink_to(outside)


def marked_incoming_elsewhere(folder: Path, outside: Path) -> None:
    marked(folder)
    (folder / "incoming").symlink_to(outside)


def marked_objects_elsewhere(folder: Path, outside: Path) -> None:
    marked(folder)
    (folder / "objects").symlink_to(outside)


def marked_folder_of_objects_elsewhere(folder: Path, outside: Path) -> None:
    marked(folder)
    (folder / "objects").mkdir()
    (folder / "objects" / "c4").symlink_to(outside)


def marker_elsewhere(folder: Path, outside: Path) -> None:
    marked(outside)
    (folder / MARKER).symlink_to(outside / MARKER)


def marker_of_a_later_version(folder: Path, _: Path) -> None:
    marked(folder, "minipacs storage 2\n")


def marker_of_others(folder: Path, _: Path) -> None:
    marked(folder, "dear")


def marker_that_is_a_pipe(folder: Path, _: Path) -> None:
    os.mkfifo(folder / MARKER)


NOT_TO_TAKE: dict[Callable[[Path, Path], None], str] = {
    letter: "folder: must be empty, or one that minipacs made, not one with letter.txt in it",
    letter_in_incoming: "folder: must be empty, or one that minipacs made, not one with incoming in it",
    letter_named_as_we_name: "folder: must be empty, or one that minipacs made, not one with incoming in it",
    folders_of_our_names: "folder: must be empty, or one that minipacs made, not one with incoming, objects in it",
    incoming_elsewhere: "folder: must be empty, or one that minipacs made, not one with incoming in it",
    marked_incoming_elsewhere: "incoming: folder: must be a folder here, not a link or a file",
    marked_objects_elsewhere: "objects: folder: must be a folder here, not a link or a file",
    marked_folder_of_objects_elsewhere: "objects/c4: folder: must be a folder here, not a link or a file",
    marker_elsewhere: f"{MARKER}: file: must be the one that minipacs made, not a link or a folder",
    marker_of_a_later_version: f"{MARKER}: line: must be \"minipacs storage 1\", not 'minipacs storage 2'",
    marker_of_others: f"{MARKER}: line: must be \"minipacs storage 1\", not 'dear'",
    marker_that_is_a_pipe: f"{MARKER}: file: must be the one that minipacs made, not a link or a folder",
}


@pytest.mark.parametrize("made", NOT_TO_TAKE, ids=lambda made: made.__name__)
def test_a_folder_that_is_not_ours_is_refused_and_stays_as_it_is(
    made: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    folder, outside = tmp_path / "kept", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / f"{'0f' * 16}.dcm").write_text("dear")
    made(folder, outside)
    before = as_it_is(folder), as_it_is(outside)
    done = run_minipacs(tmp_path, "serve", "--port", "0", "--storage", "kept")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert done.stderr.startswith("kept")
    assert NOT_TO_TAKE[made] in done.stderr
    assert (as_it_is(folder), as_it_is(outside)) == before


# --- an index that is not ours --------------------------------------------------------------------------------------


def text(index: Path) -> None:
    index.write_text("dear")


def of_another_program(index: Path) -> None:
    database(index)


def of_another_program_with_its_log(index: Path) -> None:
    database(index)
    index.with_name(f"{index.name}-wal").write_text("dear")


def log_alone(index: Path) -> None:
    index.with_name(f"{index.name}-wal").write_bytes(b"\x37\x7f\x06\x82dear")


def log_of_others(index: Path) -> None:
    database(index, application=APPLICATION)
    index.with_name(f"{index.name}-wal").write_text("dear")


def memory_of_others(index: Path) -> None:
    database(index, application=APPLICATION)
    index.with_name(f"{index.name}-shm").write_text("dear")


def journal_that_is_a_folder(index: Path) -> None:
    database(index, application=APPLICATION)
    index.with_name(f"{index.name}-journal").mkdir()


def a_folder(index: Path) -> None:
    index.mkdir()


def a_pipe(index: Path) -> None:
    os.mkfifo(index)


def a_link(index: Path) -> None:
    database(index.with_name("elsewhere"), application=APPLICATION)
    index.symlink_to("elsewhere")


NOT_OURS = (
    text,
    of_another_program,
    of_another_program_with_its_log,
    log_alone,
    log_of_others,
    memory_of_others,
    journal_that_is_a_folder,
    a_folder,
    a_pipe,
    a_link,
)


@pytest.mark.parametrize("command", ["serve --port 0", "storage list", "storage reindex"])
@pytest.mark.parametrize("made", NOT_OURS, ids=lambda made: made.__name__)
def test_an_index_that_is_not_ours_is_refused_with_what_to_do(
    command: str, made: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    write(folder / "objects" / "00" / "1.2.3.dcm", data_set(1))
    marked(folder)
    (folder / "incoming").mkdir()
    made(folder / "index.sqlite")
    before = as_it_is(folder)
    done = run_minipacs(tmp_path, *command.split(), "--storage", "kept")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert "kept/index.sqlite" in done.stderr
    assert done.stderr.endswith(": move it away, and the index is made again from the objects\n")
    assert as_it_is(folder) == before


# --- what is ours ---------------------------------------------------------------------------------------------------


def test_what_is_foreign_in_our_folder_stays_and_is_told_once(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{'0f' * 16}.dcm").write_text("dear")
    with storing(tmp_path):
        pass
    incoming = tmp_path / "kept" / "incoming"
    (incoming / "letter.txt").write_text("dear")
    (incoming / "below").mkdir()
    (incoming / "below" / f"{'0a' * 16}.dcm").write_text("dear")
    (incoming / f"{'0b' * 16}.dcm").symlink_to(outside / f"{'0f' * 16}.dcm")
    (incoming / f"{'0c' * 16}.dcm").mkdir()
    (incoming / f"{'0D' * 16}.dcm").write_text("dear")
    (tmp_path / "kept" / "letter.txt").write_text("dear")
    before = as_it_is(incoming), as_it_is(outside), (tmp_path / "kept" / "letter.txt").read_text()
    (incoming / f"{'0e' * 16}.dcm").write_text("what a crash has left")
    times = incoming.stat()
    with storing(tmp_path) as (node, folder):
        told = [event["message"] for event in node.events("message") if "not ours" in event["message"]]
    assert not (incoming / f"{'0e' * 16}.dcm").exists(), "it is ours"
    os.utime(incoming, ns=(times.st_atime_ns, before[0]["."][1]))  # type: ignore[index]
    assert (as_it_is(incoming), as_it_is(outside), (folder / "letter.txt").read_text()) == before
    names = f"{'0D' * 16}.dcm, {'0b' * 16}.dcm, {'0c' * 16}.dcm and 2 more"
    assert told == [f"storage: kept/incoming has what is not ours, and stays: {names}"]


@pytest.mark.parametrize("name", ["lost+found", f"{MARKER}.new"])
def test_a_folder_with_nothing_of_anybodys_is_taken(name: str, tmp_path: Path) -> None:
    """A file system has one of its own; the other is left where a start is cut short."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / name).mkdir() if name == "lost+found" else (tmp_path / "kept" / name).write_text("mini")
    with storing(tmp_path) as (_, folder):
        assert (folder / MARKER).read_text() == LINE
        assert (folder / "lost+found").exists() == (name == "lost+found")


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "kept").symlink_to(tmp_path / "disk")
    with storing(tmp_path):
        assert (tmp_path / "disk" / MARKER).read_text() == LINE


@pytest.mark.parametrize("lost", [(MARKER,), (MARKER, "index.sqlite"), ("index.sqlite",)])
def test_a_folder_of_an_earlier_minipacs_is_taken_with_all_that_is_in_it(lost: tuple[str, ...], tmp_path: Path) -> None:
    with storing(tmp_path) as (node, _), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
    for name in lost:
        (tmp_path / "kept" / name).unlink()
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        assert (folder / MARKER).read_text() == LINE
        assert [path.stem for path in folder.glob("objects/*/*")] == ["1.2.3"]
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0, "the same again"


def test_objects_alone_are_taken_where_each_is_where_it_belongs(tmp_path: Path) -> None:
    """As from a copy that was made of them alone."""
    write(place_of(tmp_path / "kept", "1.2.3"), data_set(1, SOPInstanceUID="1.2.3"))
    with storing(tmp_path) as (_, folder):
        assert (folder / MARKER).read_text() == LINE
        assert listed(tmp_path) == ["1.2.3"]


def test_what_is_killed_at_once_is_ours_all_the_same(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, _):
        os.killpg(node.child.pid, signal.SIGKILL)
        node.child.wait(20)
    assert (tmp_path / "kept" / "index.sqlite-wal").exists(), "or else this test sees nothing"
    with storing(tmp_path) as (node, _), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0


def test_what_gives_way_is_ours(tmp_path: Path) -> None:
    from minipacs import Peer
    from minipacs.settings import StorageLimits

    with storing_here(tmp_path / "kept", [Peer("scu", "STORESCU")]):
        pass
    holiday = write(tmp_path / "kept" / "objects" / "00" / "holiday.dcm", data_set(1))
    misplaced = write(tmp_path / "kept" / "objects" / "00" / "1.2.9.dcm", data_set(2))
    for path in (holiday, misplaced):
        os.utime(path, (1, 1))
    limits = StorageLimits(free=0, objects=3, keep="newest")
    with (
        storing_here(tmp_path / "kept", [Peer("scu", "STORESCU")], storage=limits) as node,
        sender(node.port) as peer,
    ):
        for number in (3, 4, 5):
            assert store(peer, f"1.2.{number}", encoded(image(f"1.2.{number}"))) == 0
        assert {path.stem for path in node.services.files} == {"holiday", "1.2.9", "1.2.5"}


# --- a command that reads -------------------------------------------------------------------------------------------


def listed(folder: Path) -> list[str]:
    done = run_minipacs(folder, "storage", "list", "--storage", "kept", "--level", "image", "--json")
    assert done.returncode == 0, done.stderr
    import json

    return sorted(json.loads(line)["SOPInstanceUID"] for line in done.stdout.splitlines())


@pytest.mark.parametrize("state", ["clean", "killed", "without index", "of another version", "empty index", "unmarked"])
def test_a_command_that_reads_writes_nothing(state: str, tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        for uid in ("1.2.3", "1.2.4"):
            assert store(peer, uid, encoded(image(uid))) == 0
        before = {path.name for path in folder.iterdir()}
        assert listed(tmp_path) == ["1.2.3", "1.2.4"], "beside a node that runs"
        assert {path.name for path in folder.iterdir()} == before
        if state == "killed":
            os.killpg(node.child.pid, signal.SIGKILL)
            node.child.wait(20)
    index = folder / "index.sqlite"
    if state == "without index":
        index.unlink()
    elif state == "of another version":
        with closing(sqlite3.connect(index)) as connection:
            connection.execute("PRAGMA user_version = 1")
    elif state == "empty index":
        index.write_bytes(b"")
    elif state == "unmarked":
        (folder / MARKER).unlink()
        index.unlink()
    before_ = as_it_is(folder)
    assert ("index.sqlite-wal" in before_) == (state == "killed")
    assert listed(tmp_path) == ["1.2.3", "1.2.4"]
    assert as_it_is(folder) == before_


def test_what_is_listed_is_not_looked_for_through_a_link(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "1.2.3.dcm", data_set(1))
    (tmp_path / "kept" / "objects").mkdir(parents=True)
    (tmp_path / "kept" / "objects" / "00").symlink_to(tmp_path / "outside")
    for command in ("list", "reindex"):
        done = run_minipacs(tmp_path, "storage", command, "--storage", "kept")
        assert done.returncode == 2
        assert "kept/objects/00: folder: must be a folder here, not a link or a file" in done.stderr


def test_no_index_is_written_into_a_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    letter(tmp_path / "kept", tmp_path)
    before = as_it_is(tmp_path / "kept")
    done = run_minipacs(tmp_path, "storage", "reindex", "--storage", "kept")
    assert (done.returncode, "not one with letter.txt in it" in done.stderr) == (2, True)
    assert as_it_is(tmp_path / "kept") == before
