"""Edits lose no update, however many come at once; and what is edited is in force when the command returns."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from minipacs import Peer, PeerTable, PeerTableError, new_files
from minipacs.certificate import of_pem, shown
from minipacs.control_client import NodeControl, running_node
from minipacs.new_files import locked
from minipacs.peer_file import add_peer, growing, remove_peer
from tests.peers.node import MINIPACS, Node, environment, run_minipacs, serving, table
from tests.peers.process import wait_until

NAMES = [f"p{number}" for number in range(16)]
PATIENCE = 120.0


def all_at_once(folder: Path, commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Run minipacs commands at once: the exit code of each, and what it says on standard error."""
    running = [
        subprocess.Popen(
            [*MINIPACS, *command],
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    said = [process.communicate(timeout=PATIENCE)[1] for process in running]
    return [(process.returncode, text) for process, text in zip(running, said, strict=True)]


def adding(name: str) -> list[str]:
    return ["peers", "add", name, name.upper()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table with all of them."""
    path = tmp_path / "conf" / "peers.toml"
    path.parent.mkdir()
    path.write_text("# ours\n" + table(*({"name": name, "ae_title": name.upper()} for name in NAMES)))
    return path


def beside(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


# --- at once ---------------------------------------------------------------------------------------------------------


def test_of_sixteen_that_are_added_at_once_all_are_there(tmp_path: Path) -> None:
    """In a folder that the first has to make."""
    assert all_at_once(tmp_path, [adding(name) for name in NAMES]) == [(0, "")] * 16
    path = tmp_path / "conf" / "peers.toml"
    assert set(PeerTable.read(path)) == set(NAMES)
    assert beside(path) == ["peers.toml"]


def test_of_eight_that_are_removed_at_once_none_is_there(path: Path) -> None:
    gone, stay = NAMES[:8], NAMES[8:]
    assert all_at_once(path.parents[1], [["peers", "remove", name] for name in gone]) == [(0, "")] * 8
    assert list(PeerTable.read(path)) == stay
    assert path.read_text().startswith("# ours\n")


def test_removals_beside_additions_are_all_made(path: Path) -> None:
    new = [f"n{number}" for number in range(5)]
    done = all_at_once(
        path.parents[1], [*map(adding, new), *(["peers", "remove", name, "--peers", str(path)] for name in NAMES[:5])]
    )
    assert done == [(0, "")] * 10
    assert set(PeerTable.read(path)) == {*new, *NAMES[5:]}


def test_one_name_that_two_add_at_once_is_added_once(tmp_path: Path) -> None:
    codes = sorted(code for code, _ in all_at_once(tmp_path, [adding("a")] * 4))
    assert codes == [0, 2, 2, 2]
    assert list(PeerTable.read(tmp_path / "conf" / "peers.toml")) == ["a"]


def test_an_init_overwrites_nothing_that_is_added_at_the_same_time(tmp_path: Path) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (init, _), (add, _) = all_at_once(folder, [["init"], adding("a")])
        assert (add, init in {0, 2}) == (0, True)
        assert "a" in PeerTable.read(folder / "conf" / "peers.toml")


def test_the_targets_of_links_are_one_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to("conf/peers.toml")
    done = all_at_once(
        tmp_path,
        [[*adding(f"n{number}"), "--peers", str(link if number % 2 else path)] for number in range(8)],
    )
    assert done == [(0, "")] * 8
    assert {f"n{number}" for number in range(8)} <= set(PeerTable.read(path))


# --- the lock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", [lambda path: add_peer(path, Peer("x", "X")), lambda path: remove_peer(path, "p1")])
def test_a_lock_that_stays_is_told_and_nothing_is_edited(
    edit: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_files, "LOCK_PATIENCE", 0.2)
    before = path.read_bytes()
    with locked(path), pytest.raises(PeerTableError) as raised:
        edit(path)  # type: ignore[operator]
    assert raised.value.faults == (
        f"{path}: file: must be edited by one command at a time, and another command edits it for longer than 0.2 s: "
        f"it holds {path.parent}/.peers.toml.lock",
    )
    assert path.read_bytes() == before
    assert beside(path) == ["peers.toml"]


def test_a_lock_is_waited_for(path: Path) -> None:
    done = threading.Event()

    def add() -> None:
        add_peer(path, Peer("x", "X"))
        done.set()

    adds = threading.Thread(target=add)
    with locked(path.resolve()):
        adds.start()
        assert not done.wait(0.3)
        remove_by_hand = path.read_text().replace('[peers.p1]\nae_title = "P1"\n', "")
        path.write_text(remove_by_hand)  # the one who has it edits, too
    adds.join(PATIENCE)
    assert "x" in PeerTable.read(path)
    assert "p1" not in PeerTable.read(path)


def test_a_lock_that_a_killed_command_left_is_no_obstacle(path: Path) -> None:
    lock = path.with_name(".peers.toml.lock")
    lock.touch(mode=0o400)
    add_peer(path, Peer("x", "X"))
    assert beside(path) == ["peers.toml"]


@pytest.mark.parametrize(
    "make",
    [
        lambda lock: lock.symlink_to(lock.parent / "elsewhere"),
        lambda lock: lock.write_text("a lock of another program"),
        lambda lock: lock.mkdir(),
        os.mkfifo,
    ],
    ids=["link", "file", "folder", "pipe"],
)
def test_what_is_no_lock_is_told_and_stays_as_it_is(make: Callable[[Path], object], path: Path) -> None:
    lock = path.with_name(".peers.toml.lock")
    make(lock)
    before = lock.lstat()
    done = run_minipacs(path.parents[1], "peers", "add", "x", "X")
    assert done.returncode == 2
    assert f"{lock.name} is no lock that minipacs made: move it away" in done.stderr
    assert lock.lstat() == before
    assert beside(path) == [lock.name, "peers.toml"]


def test_several_are_judged_and_added_in_one_edit_that_nobody_comes_between(path: Path) -> None:
    """As an import does, which looks at the table for each."""
    with growing(path) as its:
        other = threading.Thread(target=add_peer, args=(path, Peer("x", "X")))
        other.start()
        for number in range(3):
            its.add(Peer(f"n{number}", f"N{number}"))
        with pytest.raises(ValueError, match="must be a name of its own"):
            its.add(Peer("p1", "ANOTHER"))
        assert "n0" not in PeerTable.read(path)
    other.join(PATIENCE)
    assert list(PeerTable.read(path)) == [*NAMES, "n0", "n1", "n2", "x"]


def test_nothing_is_added_where_judging_fails(path: Path) -> None:
    before = path.read_bytes()
    with suppress(KeyError), growing(path) as its:
        its.add(Peer("n", "N"))
        raise KeyError
    assert path.read_bytes() == before
    assert beside(path) == ["peers.toml"]


# --- a node that runs ------------------------------------------------------------------------------------------------


def control_of(node: Node) -> NodeControl:
    control = running_node("127.0.0.1", node.port)
    assert control is not None
    return control


def in_force(node: Node) -> list[str]:
    with control_of(node) as control:
        return [peer.name for peer in control.status().peers.table]


def test_a_command_returns_when_its_edit_is_in_force(tmp_path: Path) -> None:
    with serving(tmp_path) as node:
        for name in NAMES[:4]:
            assert node.minipacs(*adding(name)).returncode == 0
            assert name in in_force(node)
        for name in NAMES[:4]:
            assert node.minipacs("peers", "remove", name).returncode == 0
            assert name not in in_force(node)


def test_by_another_name_of_the_table_too(tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to("conf")
    with serving(tmp_path) as node:
        assert node.minipacs(*adding("a"), "--peers", "other/peers.toml").returncode == 0
        assert in_force(node) == ["a"]


@contextmanager
def suspended(node: Node) -> Iterator[None]:
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.child.pid, signal.SIGCONT)


def test_that_it_is_not_known_to_be_in_force_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "one") as node, serving(tmp_path / "other") as other:
        with suspended(node):
            done = node.minipacs(*adding("a"))
            assert done.returncode == 1
            assert done.stdout.startswith("conf/peers.toml: added a, ")
            assert done.stderr.startswith("minipacs: written, and not known to be in force: ")
            assert "the node does not answer within 5 s; is it suspended?" in done.stderr
            assert other.minipacs(*adding("b")).returncode == 0  # it is no business of the first
            done = node.minipacs(*adding("c"), "--no-wait")
            assert done.returncode == 0
            assert done.stderr == "minipacs: not waited for: a node that runs takes it up in a moment, if at all\n"
        wait_until(lambda: in_force(node) == ["a", "c"], within=PATIENCE, what="the table")


def test_a_table_that_the_node_does_not_take_is_told(tmp_path: Path) -> None:
    with serving(tmp_path, table({"name": "a", "ae_title": "A"})) as node, control_of(node) as control:
        assert control.take_up([str(node.peers)]) == ()
        node.peers.write_text("[peers.a]\nae_title = 1\n")
        (fault,) = control.take_up([str(node.peers)])
        assert "peers.a.ae_title: must be" in fault
        assert control.take_up([str(tmp_path / "conf" / "another.toml")]) == ()
        node.peers.write_text(table({"name": "b", "ae_title": "B"}))
        assert control.take_up([str(node.peers)]) == ()
        assert in_force(node) == ["b"]


def test_a_renewed_certificate_is_in_force_when_the_command_returns(tmp_path: Path) -> None:
    assert run_minipacs(tmp_path, "tls", "init").returncode == 0
    files = 'certificate = "tls/node.pem"\nkey = "tls/node-key.pem"\ntrusted = ["tls/ca.pem"]\n'
    (tmp_path / "conf" / "minipacs.toml").write_text(f"[tls]\n{files}port = 0\n")
    with serving(tmp_path) as node, control_of(node) as control:
        for _ in range(2):
            assert node.minipacs("tls", "init", "--renew").returncode == 0
            status = control.status().tls
            assert status is not None
            assert status.certificate == shown(of_pem((tmp_path / "conf" / "tls" / "node.pem").read_bytes()))


def test_no_note_outlasts_its_node(tmp_path: Path) -> None:
    with serving(tmp_path) as node:
        note = next(path for path in sockets_of(node) if path.suffix == ".files")
        node.child.terminate()
        assert node.child.wait(PATIENCE) == 0
        assert not note.exists()


def sockets_of(node: Node) -> list[Path]:
    from minipacs.control_place import folder_to_serve

    return [path for path in folder_to_serve().iterdir() if path.stem.endswith(f":{node.port}")]
