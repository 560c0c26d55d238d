"""The control socket of a real node: whom it answers, whom it does not, and that nobody there harms the node."""

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from minipacs import AssociationOutcome, AssociationRecord, Peer, echo
from minipacs.control_client import NodeControl, running_node, running_nodes
from minipacs.control_server import ControlServer
from minipacs.errors import ControlError
from minipacs.node_status import ListedPeer, NodeStatus
from minipacs.wire.verification import request

from .peers.dcmtk import ECHOSCU, echoscu
from .peers.node import MINIPACS, Node, environment, serving, table
from .peers.ports import free_port
from .peers.process import wait_until
from .peers.required import required
from .raw import raw_peer
from .storing import as_file, image
from .wire.exchange import echo as echo_rq

CT1 = {"name": "ct1", "ae_title": "CT1"}
MR2 = {"name": "mr2", "ae_title": "MR2", "host": "10.0.0.5", "port": 104, "allow_from": ["10.0.0.0/8"]}

PATIENCE = 10.0
NO_SOCKET = "no control socket, so that `minipacs status` does not see this node"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of this test's own; its path is short, for that of a socket may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="mp-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with serving(tmp_path, table(CT1)) as node:
        yield node


def control(node: Node, timeout: float = PATIENCE) -> NodeControl:
    found = running_node("127.0.0.1", node.port, timeout)
    assert found is not None
    return found


def status(node: Node) -> NodeStatus:
    return control(node).status()


def socket_of(runtime: Path, node: Node) -> Path:
    return runtime / "minipacs" / f"127.0.0.1:{node.port}.sock"


@contextmanager
def client(path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        yield connection


def received(connection: socket.socket) -> bytes:
    """Everything until the node closes."""
    data = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            data += chunk
    return data


def following(path: Path, stack: ExitStack) -> socket.socket:
    connection = stack.enter_context(client(path))
    connection.sendall(b'{"ask":"follow"}\n')
    assert connection.recv(100) == b'{"event":"following"}\n'
    return connection


def echo_as(node: Node, title: str) -> None:
    echo(Peer("node", "MINIPACS", "127.0.0.1", node.port), calling_ae_title=title)


def warnings(node: Node) -> list[str]:
    return [line["message"] for line in node.events("message") if line["level"] == "warning"]


def wait_for_associations(node: Node, count: int) -> NodeStatus:
    wait_until(lambda: sum(status(node).associations.counts.values()) >= count, within=PATIENCE, what="the ends")
    return status(node)


# --- the status ------------------------------------------------------------------------------------------------------


def test_a_node_says_who_and_where_it_is(node: Node) -> None:
    told = status(node)
    assert (told.ae_title, told.host, told.addresses, told.port) == ("MINIPACS", "127.0.0.1", ("127.0.0.1",), node.port)
    assert told.pid == node.child.pid
    assert told.started.endswith("Z")
    assert told.peers.file == str(node.peers)
    assert told.peers.table == (ListedPeer("ct1", "CT1", None, None, (), tls=False, tls_name=None),)
    assert (told.peers.count, told.peers.last_reload.result, told.peers.watch_error) == (1, "loaded", None)
    assert (told.associations.open, told.associations.last) == ((), ())
    assert told.associations.counts == {outcome.value: 0 for outcome in AssociationOutcome}
    assert (told.associations.connections, told.associations.silent_connections) == (0, 0)


@required(ECHOSCU)
def test_a_stranger_is_told_with_reason_and_fix(node: Node) -> None:
    echoscu("-aet", "CT1", "-aec", "MINIPACS", "127.0.0.1", node.port)
    echoscu("-aet", "STRANGER", "-aec", "MINIPACS", "127.0.0.1", node.port)
    told = wait_for_associations(node, 2).associations
    known, stranger = told.last
    assert (told.counts["released"], told.counts["rejected"]) == (1, 1)
    assert (known.calling_ae_title, known.peer, known.outcome, known.echoes) == ("CT1", "ct1", "released", 1)
    assert (stranger.calling_ae_title, stranger.peer, stranger.reject) == ("STRANGER", None, "1/1/3")
    assert stranger.code == "admission.calling-ae-title"
    assert stranger.reason == "STRANGER is not in the peer table"
    assert stranger.fix is not None
    assert "minipacs peers add stranger STRANGER@127.0.0.1:PORT" in stranger.fix
    assert known.time <= stranger.time


def test_what_is_open_is_told_and_what_sends_nothing_is_counted_apart(node: Node) -> None:
    with raw_peer(node.port) as peer:
        peer.exchange(request("CT1", "MINIPACS").encode())
        peer.exchange(echo_rq())
        told = status(node).associations
        (only,) = told.open
        assert (only.calling_ae_title, only.called_ae_title, only.address) == ("CT1", "MINIPACS", "127.0.0.1")
        assert (only.peer, only.echoes, told.connections) == ("ct1", 1, 1)
        assert only.duration_ms > 0
        assert only.since.endswith("Z")
        assert told.last == ()
    with raw_peer(node.port):
        pass
    wait_until(lambda: status(node).associations.silent_connections == 1, within=PATIENCE, what="the silent one")
    told = wait_for_associations(node, 1).associations
    assert (told.open, told.counts["closed"]) == ((), 1)


def test_the_last_twenty_are_kept_and_all_are_counted(node: Node) -> None:
    for number in range(25):
        echo_as(node, f"S{number}")
    told = wait_for_associations(node, 25).associations
    assert told.counts["rejected"] == 25
    assert [one.calling_ae_title for one in told.last] == [f"S{number}" for number in range(5, 25)]


def test_each_way_to_read_the_table_is_told(node: Node) -> None:
    def result() -> str:
        return status(node).peers.last_reload.result

    def becomes(wanted: str) -> NodeStatus:
        wait_until(lambda: result() == wanted, within=PATIENCE, what=wanted)
        return status(node)

    first = status(node).peers.last_reload.time
    node.save(table(CT1, MR2))
    told = becomes("reloaded").peers
    assert (told.last_reload.added, told.last_reload.removed, told.count) == (("mr2",), (), 2)
    assert told.table[1] == ListedPeer("mr2", "MR2", "10.0.0.5", 104, ("10.0.0.0/8",), tls=False, tls_name=None)
    assert told.last_reload.time > first
    node.peers.write_text("[peers.ct1]\nport = 0\n")
    told = becomes("invalid").peers
    assert told.last_reload.faults
    assert all(fault.startswith("conf/peers.toml: ") for fault in told.last_reload.faults)
    assert (told.count, len(told.table)) == (2, 2)
    node.peers.write_text(table(CT1, MR2))
    told = becomes("valid-again").peers
    assert (told.last_reload.added, told.last_reload.faults, told.count) == ((), (), 2)
    node.peers.unlink()
    told = becomes("missing").peers
    assert (len(told.last_reload.faults), told.count) == (1, 2)
    node.peers.write_text(table(MR2))
    assert becomes("reloaded").peers.last_reload.removed == ("ct1",)


def test_a_table_that_is_missing_at_the_start_is_told(tmp_path: Path) -> None:
    with serving(tmp_path, "", "--peers", str(tmp_path / "none.toml")) as node:
        told = status(node).peers
    assert (told.last_reload.result, told.count, told.table) == ("missing", 0, ())
    assert len(told.last_reload.faults) == 1


def test_a_large_table_is_told_whole(node: Node) -> None:
    many = [{"name": f"p{n}", "ae_title": f"P{n}", "allow_from": ["10.0.0.0/8"]} for n in range(5_000)]
    node.save(table(*many))
    assert [peer.name for peer in status(node).peers.table] == [peer["name"] for peer in many]


# --- following -------------------------------------------------------------------------------------------------------


def test_who_follows_is_told_of_each_association_and_of_strangers(node: Node) -> None:
    echo_as(node, "CT1")
    wait_for_associations(node, 1)
    with control(node) as followed:
        followed.follow()
        with pytest.raises(TimeoutError):
            followed.next_association(0.05)
        echo_as(node, "CT1")
        echo_as(node, "STRANGER")
        with raw_peer(node.port) as peer:
            peer.exchange(b"GET / HTTP/1.1\r\n\r\n")
        known, stranger, http = (followed.next_association(PATIENCE) for _ in range(3))
    assert (known.calling_ae_title, known.outcome, known.echoes, known.peer) == ("CT1", "released", 1, "ct1")
    assert isinstance(known.outcome, AssociationOutcome)
    assert (stranger.calling_ae_title, stranger.code) == ("STRANGER", "admission.calling-ae-title")
    assert stranger.fix
    assert (http.calling_ae_title, http.code) == (None, "inbound.http")


def test_no_association_that_ends_after_the_confirmation_is_missed(node: Node) -> None:
    for number in range(50):
        with control(node) as followed:
            followed.follow()
            echo_as(node, f"S{number}")
            assert followed.next_association(PATIENCE).calling_ae_title == f"S{number}"


def test_a_storm_that_the_log_passes_over_is_told_to_who_follows(node: Node) -> None:
    with control(node) as followed:
        followed.follow()
        for _ in range(200):
            with raw_peer(node.port) as peer:
                peer.exchange(b"GET / HTTP/1.1\r\n\r\n")
        assert {followed.next_association(PATIENCE).code for _ in range(200)} == {"inbound.http"}


def test_two_who_follow_are_told_the_same(node: Node) -> None:
    with control(node) as one, control(node) as other:
        one.follow()
        other.follow()
        one.follow()  # again is nothing new
        echo_as(node, "CT1")
        assert one.next_association(PATIENCE) == other.next_association(PATIENCE)


def test_what_is_asked_before_following_is_refused(node: Node) -> None:
    with control(node) as asked, pytest.raises(ControlError, match="after follow"):
        asked.next_association(1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_follows_learns_that_the_node_is_gone(number: signal.Signals, node: Node) -> None:
    with control(node) as followed:
        followed.follow()
        os.kill(node.child.pid, number)
        with pytest.raises(ControlError, match="gone"):
            followed.next_association(PATIENCE)
        with pytest.raises(ControlError, match="gone"):
            followed.status()


def test_an_association_that_the_stop_aborts_is_told(node: Node) -> None:
    with control(node) as followed, raw_peer(node.port) as peer:
        followed.follow()
        peer.exchange(request("CT1", "MINIPACS").encode())
        os.kill(node.child.pid, signal.SIGTERM)
        assert followed.next_association(PATIENCE).code == "inbound.stopped"


# --- forgetting -------------------------------------------------------------------------------------------------------


def test_an_object_is_forgotten_and_no_longer_listed(tmp_path: Path) -> None:
    path = as_file(image("1.2.3"), tmp_path / "image.dcm")
    with serving(tmp_path, table(CT1), "--storage", "objects") as node:
        assert control(node).status().storage == str(tmp_path / "objects")
        target = f"MINIPACS@127.0.0.1:{node.port}"
        assert node.minipacs("store", target, str(path), "--calling", "CT1").returncode == 0
        assert "PHANTOM" in node.minipacs("storage", "list", "--storage", "objects").stdout
        assert control(node).forget("1.2.3")
        assert not control(node).forget("1.2.3")
        assert "PHANTOM" not in node.minipacs("storage", "list", "--storage", "objects").stdout
        with pytest.raises(ControlError, match="cannot be forgotten: must be a UID"):
            control(node).forget("../../etc/passwd")


def test_a_node_that_keeps_nothing_has_nothing_to_forget(node: Node) -> None:
    assert control(node).status().storage is None
    with pytest.raises(ControlError, match="keeps no objects"):
        control(node).forget("1.2.3")


# --- finding the node ------------------------------------------------------------------------------------------------


def test_a_node_is_found_by_each_name_of_its_address_and_by_no_other(node: Node) -> None:
    assert running_node("127.0.0.1", node.port) is not None
    assert running_node("localhost", node.port) is not None
    assert running_node("127.0.0.2", node.port) is None
    assert running_node("127.0.0.1", free_port()) is None
    assert running_node("no.such.host.invalid", node.port) is None


@pytest.mark.parametrize(
    ("host", "found", "not_found"),
    [
        ("0.0.0.0", ["127.0.0.1", "10.1.2.3", "localhost", "0.0.0.0"], ["::1"]),
        ("::1", ["::1"], ["127.0.0.1", "::"]),
        ("::", ["::1", "::"], ["127.0.0.1"]),
        ("localhost", ["localhost", "127.0.0.1"], ["127.0.0.2"]),
    ],
)
def test_a_node_is_found_where_it_listens(host: str, found: list[str], not_found: list[str], tmp_path: Path) -> None:
    with serving(tmp_path, "", "--host", host) as node:
        assert all(running_node(name, node.port) for name in found)
        assert not any(running_node(name, node.port) for name in not_found)


def test_all_nodes_are_listed(node: Node, tmp_path: Path) -> None:
    with serving(tmp_path / "second", "", "--ae-title", "SECOND") as second:
        ports = {one.port: one.ae_title for one in running_nodes()}
    assert ports[node.port] == "MINIPACS"
    assert ports[second.port] == "SECOND"


def test_a_node_without_a_runtime_folder_is_found_and_one_with_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    """Only in a process of its own does the standard library look anew where temporary files go."""
    monkeypatch.setenv("TMPDIR", str(runtime))
    with serving(tmp_path / "first") as with_folder:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        with serving(tmp_path / "second") as without:
            assert (runtime / f"minipacs-{os.geteuid()}" / f"127.0.0.1:{without.port}.sock").is_socket()
            assert without.minipacs("status", "--port", str(without.port)).returncode == 0
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
            for node in (with_folder, without):
                assert node.minipacs("status", "--port", str(node.port)).returncode == 0


@pytest.mark.parametrize("useless", ["relative", "/nowhere/at/all", ""])
def test_a_runtime_folder_that_is_none_is_not_used(
    useless: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", useless)
    with serving(tmp_path) as node:
        assert (runtime / f"minipacs-{os.geteuid()}" / f"127.0.0.1:{node.port}.sock").is_socket()


# --- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_socket_is_its_users_alone(umask: int, tmp_path: Path, runtime: Path) -> None:
    before = os.umask(umask)
    try:
        with serving(tmp_path) as node:
            assert stat.S_IMODE((runtime / "minipacs").stat().st_mode) == 0o700
            assert stat.S_IMODE(socket_of(runtime, node).stat().st_mode) == 0o600
            own = socket_of(runtime, node)
            assert set((runtime / "minipacs").iterdir()) == {own, own.with_suffix(".files")}
    finally:
        os.umask(before)


@as_root
def test_another_user_cannot_connect(node: Node, runtime: Path) -> None:
    runtime.chmod(0o755)
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for folder_mode in (0o700, 0o755):  # the socket is closed to others also where its folder is not
        (runtime / "minipacs").chmod(folder_mode)
        done = subprocess.run(
            ["/usr/bin/env", "python3", "-W", "ignore", "-c", code, str(socket_of(runtime, node))],
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "PermissionError" in done.stderr
        assert done.returncode == 1


def open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def writable_by_a_group(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o720)


def a_link(folder: Path) -> None:
    folder.with_name("elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.with_name("elsewhere"))


def a_dangling_link(folder: Path) -> None:
    folder.symlink_to("nowhere")


def a_file(folder: Path) -> None:
    folder.touch()


def somebody_elses(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (open_to_others, "{folder} is open to others (mode 0755): chmod 700 {folder}"),
        (writable_by_a_group, "{folder} is open to others (mode 0720): chmod 700 {folder}"),
        (a_link, "{folder} is a symbolic link: remove it"),
        (a_dangling_link, "{folder} is a symbolic link: remove it"),
        (a_file, "{folder} is not a folder: remove it"),
        pytest.param(
            somebody_elses, "{folder} belongs to user 65534, not to us (user 0): have it removed", marks=as_root
        ),
    ],
)
def test_a_folder_that_is_not_ours_alone_is_refused_and_the_node_runs(
    spoil: Callable[[Path], None], words: str, tmp_path: Path, runtime: Path
) -> None:
    folder = runtime / "minipacs"
    spoil(folder)
    with serving(tmp_path, table(CT1)) as node:
        (warning,) = warnings(node)
        assert warning.startswith(f"{NO_SOCKET}: {words.format(folder=folder)}")
        node.wait_for("listening", 1)
        assert running_node("127.0.0.1", node.port) is None
        echo_as(node, "CT1")
        assert node.wait_for("association", 1)["outcome"] == "released"
        os.kill(node.child.pid, signal.SIGTERM)
        assert node.child.wait(PATIENCE) == 0


def test_a_client_trusts_no_folder_that_is_open_to_others(node: Node, runtime: Path) -> None:
    (runtime / "minipacs").chmod(0o777)
    assert running_node("127.0.0.1", node.port) is None


@as_root
def test_a_runtime_folder_of_another_user_is_not_used(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = runtime / "theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    monkeypatch.setenv("TMPDIR", str(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(theirs))
    with serving(tmp_path) as node:
        assert (runtime / f"minipacs-{os.geteuid()}" / f"127.0.0.1:{node.port}.sock").is_socket()
    assert list(theirs.iterdir()) == []


def test_a_path_that_is_too_long_is_told_and_the_node_runs(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = runtime / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with serving(tmp_path, table(CT1)) as node:
        (warning,) = warnings(node)
        assert "is too long for a socket: set XDG_RUNTIME_DIR to a shorter one" in warning
        echo_as(node, "CT1")
        assert node.wait_for("association", 1)["outcome"] == "released"
        assert running_node("127.0.0.1", node.port) is None
        assert list((long / "minipacs").iterdir()) == []


# --- starting and stopping -------------------------------------------------------------------------------------------


def test_a_socket_that_a_killed_node_left_blocks_no_start(tmp_path: Path, runtime: Path) -> None:
    with serving(tmp_path / "first") as first:
        os.kill(first.child.pid, signal.SIGKILL)
        first.child.wait(PATIENCE)
    stale = socket_of(runtime, first)
    assert stale.is_socket()
    assert running_node("127.0.0.1", first.port) is None
    with serving(tmp_path / "second", "", "--port", str(first.port)) as second:
        assert status(second).pid == second.child.pid
        assert warnings(second)[:-1] == []  # the last: nobody is admitted
    assert not stale.exists()


def test_what_killed_nodes_left_on_other_ports_is_cleared_away_and_what_lives_is_not(
    node: Node, tmp_path: Path, runtime: Path
) -> None:
    folder = runtime / "minipacs"
    for name in ("127.0.0.1:1.sock", ".99999"):
        with closing(socket.socket(socket.AF_UNIX)) as left:
            left.bind(str(folder / name))
    (folder / "notes").write_text("not ours to remove")
    with serving(tmp_path / "second") as second:
        names = {path.name for path in folder.iterdir() if path.suffix != ".files"}
        assert names == {socket_of(runtime, node).name, socket_of(runtime, second).name, "notes"}
        assert status(node).pid == node.child.pid


def test_nodes_that_start_at_once_all_get_their_sockets(tmp_path: Path) -> None:
    with ExitStack() as stack:
        threads, nodes = [], []

        def start(number: int) -> None:
            nodes.append(stack.enter_context(serving(tmp_path / str(number))))

        for number in range(6):
            threads.append(threading.Thread(target=start, args=[number]))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert {status(one).pid for one in nodes} == {one.child.pid for one in nodes}
        assert len(nodes) == 6


def test_a_start_that_was_suspended_does_not_hold_up_others(tmp_path: Path, runtime: Path) -> None:
    import fcntl

    (runtime / "minipacs").mkdir(mode=0o700)
    descriptor = os.open(runtime / "minipacs", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with serving(tmp_path) as node:
            assert status(node).pid == node.child.pid
    finally:
        os.close(descriptor)


def test_a_socket_that_answers_is_not_taken_from_who_has_it(tmp_path: Path, runtime: Path) -> None:
    port = free_port()
    path = runtime / "minipacs" / f"127.0.0.1:{port}.sock"
    path.parent.mkdir(mode=0o700)
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(path))
        other.listen()
        inode = path.stat().st_ino
        with serving(tmp_path, table(CT1), "--port", str(port)) as node:
            (warning,) = warnings(node)
            assert warning.startswith(f"{NO_SOCKET}: another node answers at {path}")
        assert path.stat().st_ino == inode


def test_a_socket_that_another_has_put_there_since_is_not_removed(node: Node, runtime: Path) -> None:
    path = socket_of(runtime, node)
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(path.with_name("new")))
        path.with_name("new").rename(path)
        os.kill(node.child.pid, signal.SIGTERM)
        assert node.child.wait(PATIENCE) == 0
        assert path.is_socket()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_node_leaves_no_socket(number: signal.Signals, node: Node, runtime: Path) -> None:
    os.kill(node.child.pid, number)
    assert node.child.wait(PATIENCE) == 0
    assert list((runtime / "minipacs").iterdir()) == []


def test_a_node_that_cannot_tell_that_it_listens_leaves_no_socket(tmp_path: Path, runtime: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*MINIPACS, "serve", "--port", "0"],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert list((runtime / "minipacs").iterdir()) == []


def test_the_place_is_free_for_the_next_node_before_the_last_one_has_ended(tmp_path: Path) -> None:
    (tmp_path / "patient.toml").write_text("[timeouts]\nstop = 60\n")
    options = ("--config", str(tmp_path / "patient.toml"), "--peers", "conf/peers.toml")
    with serving(tmp_path / "first", table(CT1), *options) as first, raw_peer(first.port) as peer:
        peer.exchange(request("CT1", "MINIPACS").encode())
        os.kill(first.child.pid, signal.SIGTERM)
        wait_until(lambda: running_node("127.0.0.1", first.port) is None, within=PATIENCE, what="withdrawal")
        with serving(tmp_path / "second", table(CT1), "--port", str(first.port)) as second:
            assert first.child.exit_code is None
            assert status(second).pid == second.child.pid
            peer.close()
            assert first.child.wait(PATIENCE) == 0
            assert status(second).pid == second.child.pid
            assert warnings(second) == []


def test_who_is_still_there_at_the_stop_is_closed_at_once(runtime: Path) -> None:
    path = runtime / "minipacs" / "127.0.0.1:1.sock"

    async def run(stack: ExitStack) -> list[bytes]:
        server = ControlServer(lambda: pytest.fail("nobody asks for it"))
        await server.start("127.0.0.1", 1)
        clients = [
            await asyncio.to_thread(following, path, stack),
            await asyncio.to_thread(stack.enter_context, client(path)),
        ]
        await server.stop()
        return [await asyncio.to_thread(received, connection) for connection in clients]

    with ExitStack() as stack:
        assert asyncio.run(run(stack)) == [b"", b""]
    assert not path.exists()


@pytest.mark.parametrize("kind", ["silent", "half a request", "following", "following without reading"])
def test_clients_do_not_hold_up_the_stop(kind: str, node: Node, runtime: Path) -> None:
    with ExitStack() as stack:
        for _ in range(12):
            if kind.startswith("following"):
                following(socket_of(runtime, node), stack)
            else:
                connection = stack.enter_context(client(socket_of(runtime, node)))
                connection.sendall(b'{"ask"' if kind == "half a request" else b"")
        for _ in range(20 if kind.endswith("reading") else 0):
            echo_as(node, "CT1")
        began = time.monotonic()
        os.kill(node.child.pid, signal.SIGTERM)
        assert node.child.wait(PATIENCE) == 0
        assert time.monotonic() - began < 4  # the patience with silent clients is 5 s
    assert list((runtime / "minipacs").iterdir()) == []


# --- clients that misbehave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\n",
        b"hello\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\n",
        b"\xff\xfe\n",
        b'{"ask":"reboot"}\n',
        b'{"ask":["status"]}\n',
        b'{"ask":null}\n',
        b'["status"]\n',
        b"{}\n",
        b"[" * 4_000 + b"\n",
        b"x" * 5_000,
        b"x" * 300_000 + b"\n",
        b'{"ask":"status"}\n{"ask":"status"}\n',
    ],
    ids=lambda rubbish: repr(rubbish[:20]),
)
def test_rubbish_is_answered_by_an_error_and_the_end(rubbish: bytes, node: Node, runtime: Path) -> None:
    with client(socket_of(runtime, node)) as connection:
        with suppress(BrokenPipeError):  # it closes before it has read all of what is too long
            connection.sendall(rubbish)
        (line,) = received(connection).splitlines()
        assert json.loads(line)["error"]
    assert status(node).pid == node.child.pid
    assert node.events("message") == []


def test_a_request_may_come_in_pieces(node: Node, runtime: Path) -> None:
    with client(socket_of(runtime, node)) as connection:
        for byte in b'{"ask": "status"}\n':
            connection.sendall(bytes([byte]))
        assert json.loads(received(connection))["pid"] == node.child.pid


@pytest.mark.parametrize("more", [b"more\n", b'{"ask":"follow"}\n', b'{"ask":"status"}\n', b"{"])
def test_whatever_comes_after_the_request_to_follow_ends_it(more: bytes, node: Node, runtime: Path) -> None:
    with ExitStack() as stack:
        connection = following(socket_of(runtime, node), stack)
        connection.sendall(more)
        assert json.loads(received(connection))["error"] == "one request a connection"


def test_a_client_that_leaves_at_any_point_does_no_harm(node: Node, runtime: Path) -> None:
    for sent in (b"", b"{", b'{"ask":"status"}\n', b'{"ask":"follow"}\n'):
        for _ in range(30):
            # It may have as many clients as it takes, for a moment.
            with suppress(BlockingIOError, BrokenPipeError), client(socket_of(runtime, node)) as connection:
                connection.sendall(sent)
    echo_as(node, "CT1")
    wait_for_associations(node, 1)
    with ExitStack() as stack:
        for _ in range(12):  # every place to follow is free again
            following(socket_of(runtime, node), stack)
    assert node.events("message") == []


def test_a_silent_client_is_closed_in_time(node: Node, runtime: Path) -> None:
    with client(socket_of(runtime, node)) as connection:
        assert received(connection) == b""  # or a timeout


def test_who_does_not_read_its_status_is_closed_in_time(node: Node, runtime: Path) -> None:
    node.save(table(*({"name": f"p{n}", "ae_title": f"P{n}"} for n in range(5_000))))
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(client(socket_of(runtime, node))).sendall(b'{"ask":"status"}\n')
        assert (
            len(control(node, 3 * PATIENCE).status().peers.table) == 5_000
        )  # once they are closed: a busy node is asked again


def test_fifty_clients_at_once_are_all_answered(node: Node) -> None:
    told: list[int] = []
    threads = [threading.Thread(target=lambda: told.append(status(node).pid)) for _ in range(50)]
    for thread in threads:
        thread.start()
    echo_as(node, "CT1")
    for thread in threads:
        thread.join()
    assert told == [node.child.pid] * 50
    assert wait_for_associations(node, 1).associations.counts["released"] == 1


def test_of_too_many_clients_the_new_one_is_refused_until_another_leaves(node: Node, runtime: Path) -> None:
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(client(socket_of(runtime, node)))
        with client(socket_of(runtime, node)) as one_more:
            assert json.loads(received(one_more)) == {"error": "16 clients are here, the most", "is_busy": True}
        with pytest.raises(ControlError, match="16 clients are here"):
            running_node("127.0.0.1", node.port, timeout=0.5)
        echo_as(node, "CT1")
        assert node.wait_for("association", 1)["outcome"] == "released"
    assert wait_for_associations(node, 1).pid == node.child.pid


def test_those_who_follow_leave_room_to_ask(node: Node, runtime: Path) -> None:
    with ExitStack() as stack:
        for _ in range(12):
            following(socket_of(runtime, node), stack)
        assert status(node).pid == node.child.pid
        with control(node) as one_more, pytest.raises(ControlError, match="12 clients follow, the most"):
            one_more.follow()


def record(number: int) -> AssociationRecord:
    return AssociationRecord(
        calling_ae_title=f"S{number}",
        called_ae_title="MINIPACS",
        address="127.0.0.1",
        peer=None,
        outcome=AssociationOutcome.REJECTED,
        reason="R" * 300,
        fix="F" * 300,
    )


def test_who_does_not_read_is_dropped_and_who_reads_misses_nothing(runtime: Path) -> None:
    count = 10_000
    path = runtime / "minipacs" / "127.0.0.1:1.sock"
    read: list[AssociationRecord] = []

    def read_all(followed: NodeControl) -> None:
        read.extend(followed.next_association(PATIENCE) for _ in range(count))

    async def run(stack: ExitStack) -> bytes:
        server = ControlServer(lambda: pytest.fail("nobody asks for it"))
        await server.start("127.0.0.1", 1)
        idle = await asyncio.to_thread(following, path, stack)
        followed = stack.enter_context(NodeControl(path))
        await asyncio.to_thread(followed.follow)
        reader = asyncio.create_task(asyncio.to_thread(read_all, followed))
        for number in range(count):
            server.tell(record(number))
            while number - len(read) > 500:  # slower than the reader, and far too fast for who does not read
                await asyncio.sleep(0.001)
        await reader
        unread = await asyncio.to_thread(received, idle)
        await server.stop()
        return unread

    with ExitStack() as stack:
        unread = asyncio.run(run(stack))
    assert [one.calling_ae_title for one in read] == [f"S{number}" for number in range(count)]
    assert 0 < len(unread) < 4 << 20  # of more than 7 MiB


def test_a_node_that_hangs_is_told_in_time(node: Node) -> None:
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ControlError, match=r"does not answer within 0\.2 s"):
            running_node("127.0.0.1", node.port, timeout=0.2)
        assert running_node("127.0.0.2", node.port, timeout=0.2) is None
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
    assert status(node).pid == node.child.pid


@pytest.mark.parametrize("line", [b'{"event":"following"}\n', b"hello\n", b'{"ae_title":1}\n'])
def test_a_node_of_another_version_is_told(line: bytes, runtime: Path) -> None:
    path = runtime / "minipacs" / "127.0.0.1:104.sock"
    path.parent.mkdir(mode=0o700)
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            connection, _ = other.accept()
            with closing(connection):
                connection.recv(100)
                connection.sendall(line)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ControlError, match="another version"):
            running_node("127.0.0.1", 104)
        thread.join()


# --- at rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")
def test_nobody_wakes_up_while_nothing_happens(node: Node, runtime: Path) -> None:
    def wake_ups() -> dict[str, Any]:
        tasks = Path(f"/proc/{node.child.pid}/task").glob("*/status")
        return {str(task): [line for line in task.read_text().splitlines() if "voluntary" in line] for task in tasks}

    with ExitStack() as stack:
        following(socket_of(runtime, node), stack)
        status(node)

        def is_at_rest() -> bool:
            before = wake_ups()
            threading.Event().wait(1.1)
            return wake_ups() == before

        wait_until(is_at_rest, within=PATIENCE, what="rest")  # it may be busy yet with what came before


def test_the_client_is_light() -> None:
    code = "import minipacs.control_client, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not {"asyncio", "logging", "tempfile", "tomli"} & set(done.stdout.split())
