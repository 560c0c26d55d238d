"""A peer that was removed is refused, and one that was added admitted, however its table came to be another one."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from minipacs import Peer, PeerTable, echo
from minipacs.file_watch import Change, FileWatch
from minipacs.reload import LivePeerTable
from minipacs.tls import client_context
from tests.peers.node import MINIPACS, Node, environment, table
from tests.peers.process import running, wait_until
from tests.raw import asking, raw_peer
from tests.test_live_tls import Place, node_in
from tests.test_reload import following, text_of

BOTH = table({"name": "stays", "ae_title": "STAYS"}, {"name": "goes", "ae_title": "GOES"})
ONE = table({"name": "stays", "ae_title": "STAYS"})
PATIENCE = 60.0

Place_: TypeAlias = tuple[Path, Callable[[], object]]
"""Where the table is, and what makes it another one."""


@contextmanager
def node_with(path: Path, folder: Path) -> Iterator[Node]:
    """A node with the table at *path*; Node.peers is not it."""
    command = [*MINIPACS, "serve", "--port", "0", "--log-format", "json", "--peers", str(path)]
    ready = lambda child: "listening on" in child.log  # noqa: E731
    with running(command, log=folder / "node.log", ready=ready, env=environment(), cwd=folder) as child:
        yield Node(folder, child)


def is_admitted(node: Node, title: bytes) -> bool:
    with raw_peer(node.port) as peer:
        peer.socket.settimeout(PATIENCE)
        peer.send(asking(calling=title))
        return peer.receive_pdu(PATIENCE)[:1] == b"\x02"


def judged(node: Node) -> dict[str, bool]:
    return {title: is_admitted(node, title.encode()) for title in ("GOES", "STAYS")}


def write(path: Path, text: str = BOTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- every way that no watch of a folder tells -----------------------------------------------------------------------


def written_by_another_hard_link(folder: Path, _: ExitStack) -> Place_:
    path = write(folder / "conf" / "peers.toml")
    os.link(path, folder / "other")
    return path, lambda: (folder / "other").write_text(ONE)


def written_so_with_its_size_and_time_kept(folder: Path, _: ExitStack) -> Place_:
    path, _write = written_by_another_hard_link(folder, _)

    def save() -> None:
        before = path.stat()
        (folder / "other").write_text(ONE.ljust(len(BOTH), "\n"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    return path, save


@pytest.mark.parametrize("up", [1, 2, 3, 5])
def test_a_folder_above_that_is_exchanged_is_seen(up: int, tmp_path: Path) -> None:
    """By the watch itself, before anybody calls."""
    path = write(tmp_path.joinpath("a", "b", "c", "d", "e", "peers.toml"))
    with node_with(path, tmp_path) as node:
        assert judged(node) == {"GOES": True, "STAYS": True}
        old = path.parents[up - 1]
        new = old.with_name("new")
        write(new / path.relative_to(old), ONE)
        old.rename(old.with_name("old"))
        new.rename(old)
        node.wait_for("peers-reloaded", 1)
        assert judged(node) == {"GOES": False, "STAYS": True}


def moved_in_from_elsewhere(folder: Path, _: ExitStack) -> Place_:
    path = write(folder / "a" / "b" / "c" / "peers.toml")
    write(folder / "elsewhere" / "b" / "c" / "peers.toml", ONE)

    def save() -> None:
        (folder / "a" / "b").rename(folder / "gone")
        (folder / "elsewhere" / "b").rename(folder / "a" / "b")

    return path, save


def linked_past_a_linked_folder(folder: Path, _: ExitStack) -> Place_:
    """conf/peers.toml leads to linked/../real.toml, and linked to elsewhere/deep: so it is elsewhere/real.toml."""
    write(folder / "elsewhere" / "real.toml")
    (folder / "elsewhere" / "deep").mkdir()
    (folder / "linked").symlink_to("elsewhere/deep")
    (folder / "conf").mkdir()
    path = folder / "conf" / "peers.toml"
    path.symlink_to("../linked/../real.toml")
    write(folder / "real.toml")  # where it would be if a path were but its text
    return path, lambda: (folder / "elsewhere" / "real.toml").write_text(ONE)


def linked_folder_behind_dots_exchanged(folder: Path, _: ExitStack) -> Place_:
    path, _write = linked_past_a_linked_folder(folder, _)
    write(folder / "other" / "real.toml", ONE)
    (folder / "other" / "deep").mkdir()

    def save() -> None:
        (folder / "new").symlink_to("other/deep")
        (folder / "new").rename(folder / "linked")

    return path, save


def mount(source: Path, place: Path, stack: ExitStack) -> None:
    subprocess.run(["mount", "--bind", source, place], check=True)
    stack.callback(lambda: subprocess.run(["umount", "--lazy", place], check=False, capture_output=True))


def mounted_over_its_folder(folder: Path, stack: ExitStack) -> Place_:
    path = write(folder / "conf" / "peers.toml")
    write(folder / "other" / "peers.toml", ONE)
    return path, lambda: mount(folder / "other", folder / "conf", stack)


def mounted_over_the_file(folder: Path, stack: ExitStack) -> Place_:
    path = write(folder / "conf" / "peers.toml")
    write(folder / "other.toml", ONE)
    return path, lambda: mount(folder / "other.toml", path, stack)


def mounted_over_a_folder_above(folder: Path, stack: ExitStack) -> Place_:
    path = write(folder / "site" / "etc" / "conf" / "peers.toml")
    write(folder / "other" / "etc" / "conf" / "peers.toml", ONE)
    return path, lambda: mount(folder / "other", folder / "site", stack)


def unmounted(folder: Path, stack: ExitStack) -> Place_:
    path = write(folder / "conf" / "peers.toml", ONE)
    write(folder / "other" / "peers.toml")
    mount(folder / "other", folder / "conf", stack)
    return path, lambda: subprocess.run(["umount", folder / "conf"], check=True)


root_alone = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")

WAYS = [
    written_by_another_hard_link,
    written_so_with_its_size_and_time_kept,
    moved_in_from_elsewhere,
    linked_past_a_linked_folder,
    linked_folder_behind_dots_exchanged,
    *(
        pytest.param(way, marks=root_alone)
        for way in (mounted_over_its_folder, mounted_over_the_file, mounted_over_a_folder_above, unmounted)
    ),
]


@pytest.mark.parametrize("way", WAYS)
def test_whoever_calls_next_is_judged_by_the_table_of_now(
    way: Callable[[Path, ExitStack], Place_], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        path, save = way(tmp_path, stack)
        with node_with(path, tmp_path) as node:
            assert judged(node) == {"GOES": True, "STAYS": True}
            save()
            assert not is_admitted(node, b"GOES")  # the first who calls
            assert judged(node) == {"GOES": False, "STAYS": True}


def test_every_save_is_in_force_for_who_calls_right_behind_it(tmp_path: Path) -> None:
    path = write(tmp_path / "conf" / "peers.toml")
    with node_with(path, tmp_path) as node:
        for number in range(6):
            temporary = path.with_name("new")
            temporary.write_text(ONE if number % 2 else BOTH)
            temporary.replace(path)
            assert is_admitted(node, b"GOES") is (number % 2 == 0)


def test_the_association_of_a_removed_peer_ends_once_anybody_calls(tmp_path: Path) -> None:
    with ExitStack() as stack:
        path, save = written_by_another_hard_link(tmp_path, stack)
        with node_with(path, tmp_path) as node, raw_peer(node.port) as peer:
            assert peer.exchange(asking(calling=b"GOES"))[:1] == b"\x02"
            save()
            assert is_admitted(node, b"STAYS")
            assert peer.receive_pdu()[:1] == b"\x07"  # A-ABORT


# --- the queue of the kernel overflows -------------------------------------------------------------------------------


RENAMES = """
import os, sys
a, b = sys.argv[1] + "a", sys.argv[1] + "b"
open(a, "w").close()
for _ in range(int(sys.argv[2])):
    os.rename(a, b)
    os.rename(b, a)
"""


def rename_beside(path: Path, count: int) -> None:
    """Three processes, each with a file of its own."""
    renamers = [
        subprocess.Popen([sys.executable, "-c", RENAMES, str(path.with_name(f"{number}")), str(count)])
        for number in range(3)
    ]
    assert [process.wait(PATIENCE) for process in renamers] == [0, 0, 0]


def test_what_the_system_did_not_tell_is_read_again(tmp_path: Path) -> None:
    """While the node does not run, more happens than the kernel keeps; the last of it is the one that matters."""
    path = write(tmp_path / "conf" / "peers.toml")
    events = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with node_with(path, tmp_path) as node:
        os.kill(node.child.pid, signal.SIGSTOP)
        try:
            rename_beside(path, events // 6)  # four events a round, each process
            path.with_name("new").write_text(ONE)
            path.with_name("new").replace(path)
        finally:
            os.kill(node.child.pid, signal.SIGCONT)
        node.wait_for("peers-reloaded", 1)  # before anybody calls
        assert judged(node) == {"GOES": False, "STAYS": True}
        lines = [line for line in node.child.log.splitlines() if not line.startswith("{")]
        assert len(lines) == 1, "all but the start line is in the format of the log"
        told = [line["message"] for line in node.events("message") if "than the system tells" in line["message"]]
        assert told == [f"more happened beside {path} than the system tells: what they say is read again"]


def test_renames_beside_the_table_hold_up_no_change(tmp_path: Path) -> None:
    path = write(tmp_path / "conf" / "peers.toml")
    with node_with(path, tmp_path) as node:
        renamers = [
            subprocess.Popen([sys.executable, "-c", RENAMES, str(path.with_name(f"{number}")), "100000000"])
            for number in range(3)
        ]
        try:
            for number in range(4):
                path.with_name("new").write_text(BOTH if number % 2 else ONE)
                path.with_name("new").replace(path)
                wanted = number % 2 == 1
                wait_until(lambda w=wanted: is_admitted(node, b"GOES") is w, within=PATIENCE, what="the table")  # type: ignore[misc]
        finally:
            for process in renamers:
                process.kill()
                process.wait()


REPLACES = """
import os, sys
while True:
    with open(sys.argv[2], "w") as file:
        file.write(open(sys.argv[3]).read())
    os.rename(sys.argv[2], sys.argv[1])
"""


def test_a_table_that_is_replaced_without_a_pause_is_taken_up(tmp_path: Path) -> None:
    """By three programs that all have it so."""
    path = write(tmp_path / "conf" / "peers.toml")
    wanted = write(tmp_path / "wanted.toml", ONE)
    with node_with(path, tmp_path) as node:
        writers = [
            subprocess.Popen([sys.executable, "-c", REPLACES, str(path), str(path.with_name(f"{n}")), str(wanted)])
            for n in range(3)
        ]
        try:
            node.wait_for("peers-reloaded", 1)
            assert judged(node) == {"GOES": False, "STAYS": True}
        finally:
            for process in writers:
                process.kill()
                process.wait()


def test_whatever_watchdog_complains_of_is_a_reason_to_look(tmp_path: Path) -> None:
    changes: list[Change] = []
    watch = FileWatch([write(tmp_path / "peers.toml")], changes.append)
    watch.start()
    try:
        logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; events were lost")
        assert changes == [Change.LOST]
    finally:
        watch.stop()


# --- what is not whole is not taken, whoever calls -------------------------------------------------------------------


def test_half_of_a_table_is_not_taken_because_somebody_calls(tmp_path: Path) -> None:
    with ExitStack() as stack:
        path, _ = written_by_another_hard_link(tmp_path, stack)
        with node_with(path, tmp_path) as node:
            with (tmp_path / "other").open("w") as file:
                file.write(table({"name": "third", "ae_title": "THIRD"}))
                file.flush()
                assert not is_admitted(node, b"THIRD")
                assert is_admitted(node, b"GOES")
                file.write('allow_from = ["192.0.2.1"]\n')
            assert not is_admitted(node, b"GOES")
            assert not is_admitted(node, b"THIRD")


def test_a_table_with_a_fault_keeps_the_last_good_one(tmp_path: Path) -> None:
    with ExitStack() as stack:
        path, _ = written_by_another_hard_link(tmp_path, stack)
        with node_with(path, tmp_path) as node:
            (tmp_path / "other").write_text("[peers.stays]\nae_title = 1\n")
            assert judged(node) == {"GOES": True, "STAYS": True}
            node.wait_for("peers-invalid", 1)
            (tmp_path / "other").write_text(ONE)
            assert judged(node) == {"GOES": False, "STAYS": True}


def test_it_is_known_without_reading_whether_the_table_is_that_of_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "conf" / "peers.toml", text_of("a"))
    os.link(path, tmp_path / "other")
    with following(path) as followed:
        assert followed.live.is_up_to_date(lambda: None)
        (tmp_path / "other").write_text(text_of("b"))
        decided: list[PeerTable] = []
        assert not followed.live.is_up_to_date(lambda: decided.append(followed.live.current))
        followed.takes_up("b", within=PATIENCE)
        wait_until(lambda: bool(decided), within=PATIENCE, what="the answer")
        assert tuple(decided[0]) == ("b",)
        assert followed.live.is_up_to_date(lambda: None)


def test_who_asks_is_answered_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "conf" / "peers.toml", text_of("a"))
    answers: list[bool] = []
    with LivePeerTable(path, lambda _: None) as live:
        shutil.rmtree(path.parent)
        live.is_up_to_date(lambda: answers.append(True))
    wait_until(lambda: bool(answers), within=PATIENCE, what="the answer")


# --- the certificates of those whom we trust -------------------------------------------------------------------------


def test_an_authority_that_is_trusted_no_more_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    place = Place(tmp_path / "tls")
    os.link(place.tls.trusted[0], tmp_path / "other-name")
    context = client_context(place.authority.settings(place.authority.issue()))
    with node_in(place, tmp_path) as (_, port):
        us = Peer("", "MINIPACS", "127.0.0.1", port)
        assert echo(us, tls=context).is_success
        (tmp_path / "other-name").write_bytes(place.other.certificate.read_bytes())
        assert echo(us, tls=context).code == "tls.our-ca-unknown"
