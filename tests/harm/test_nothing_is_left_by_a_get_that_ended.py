"""A `get` that is ended leaves nothing that is not whole; one that is killed leaves what the next one takes away.

But nothing else is taken away: not what a `get` beside it has, nor what bears a name of ours and is not of ours.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from pynetdicom import evt

from minipacs import Peer
from minipacs.services.incoming import incoming
from minipacs.wire.associate import AssociateRQ
from tests import service_fakes as fakes
from tests.fakes import Conversation, faking, in_turn, refusing
from tests.peers.node import MINIPACS, environment
from tests.peers.process import Child, running, wait_until
from tests.peers.scp import answering
from tests.raw import CT_IMAGE_STORAGE
from tests.storing import data_pdus, encoded, image, store_rq
from tests.test_find_move_get import run
from tests.test_service_rows import IMAGES

LEFT = ".incoming-"
WITHIN = 30.0
UID = "1.2.3.4"


@contextmanager
def half_an_object() -> Iterator[Peer]:
    """A peer that sends the first half of an object by C-GET, and then nothing until the end of the test."""
    is_over = threading.Event()

    def behave(conversation: Conversation) -> None:
        fakes.takes(conversation)
        contexts = AssociateRQ.decode(conversation.received[0][6:], lambda _: None).contexts
        context_id = next(one.context_id for one in contexts if one.abstract_syntax == CT_IMAGE_STORAGE.decode())
        fakes.asked(conversation)
        pieces = data_pdus(encoded(image(UID, pixels=bytes(40_000))), context_id=context_id)
        conversation.send(store_rq(UID.encode(), context_id=context_id), *pieces[:-1])
        is_over.wait(2 * WITHIN)

    with faking(in_turn(fakes.refuses(3), behave)) as fake:
        try:
            yield fake.peer
        finally:
            is_over.set()


@contextmanager
def getting(folder: Path, prefix: tuple[str, ...] = ()) -> Iterator[Child]:
    """`minipacs get` into `folder`/got, which has half an object there."""
    with half_an_object() as peer:
        command = [
            *prefix,
            *MINIPACS,
            "get",
            str(peer),
            "PatientID=P1",
            "--output",
            "got",
            "--timeout",
            str(2 * WITHIN),
        ]
        place = folder / "got"
        ready = lambda _: any(path.stat().st_size for path in place.glob(f"{LEFT}*/*.dcm"))  # noqa: E731
        with running(command, log=folder / "get.log", ready=ready, env=environment(), cwd=folder) as child:
            yield child


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "got").glob(f"{LEFT}*"))


def get_in_vain(folder: Path) -> None:
    """A `get` into the same folder, of a peer that is not there."""
    with refusing() as peer:
        assert run(folder, "get", peer, "PatientID=P1", "--output", "got")[0] == 1


# --- ended ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 50])
def test_a_get_that_is_ended_leaves_nothing(number: signal.Signals, times: int, tmp_path: Path) -> None:
    with getting(tmp_path) as child:
        for _ in range(times):
            os.kill(child.pid, number)
        assert child.wait(WITHIN) == 130
    assert not (tmp_path / "got").exists()
    assert "Traceback" not in child.log


def test_a_second_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with getting(tmp_path) as child:
        os.kill(child.pid, signal.SIGINT)
        wait_until(lambda: has_taken(child.pid, signal.SIGINT), within=WITHIN, what="the first Ctrl-C")
        os.kill(child.pid, signal.SIGINT)
        assert child.wait(WITHIN) == 130
    assert not (tmp_path / "got").exists()


def has_taken(pid: int, number: signal.Signals) -> bool:
    """Whether the signal waits no more."""
    return not mask(pid, "ShdPnd") & 1 << number - 1


def mask(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1], 16)


def test_what_it_was_started_to_ignore_it_ignores(tmp_path: Path) -> None:
    with getting(tmp_path, ("/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh")) as child:
        assert mask(child.pid, "SigIgn") & 1 << signal.SIGHUP - 1
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(WITHIN) == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_store_that_is_ended_says_how_far_it_came(number: signal.Signals, tmp_path: Path) -> None:
    holds = threading.Event()
    stored: list[object] = []

    def hold_the_third(event: evt.Event) -> int:
        stored.append(event)
        if len(stored) == 3:
            holds.wait(WITHIN)
        return 0

    with answering([(evt.EVT_C_STORE, hold_the_third)]) as peer:
        command = [*MINIPACS, "store", str(peer), str(IMAGES)]
        log, ready = tmp_path / "store.log", lambda _: len(stored) == 3
        with running(command, log=log, ready=ready, env=environment(), cwd=tmp_path) as child:
            os.kill(child.pid, number)
            code = child.wait(WITHIN)
        holds.set()
    assert code == 130
    assert child.log.startswith("2 of 7 objects stored in ")


# --- killed -----------------------------------------------------------------------------------------------------------


def test_the_next_get_takes_away_what_one_left_that_was_killed(tmp_path: Path) -> None:
    for _ in range(2):
        with getting(tmp_path) as child:
            child.kill()
            child.wait(WITHIN)
        assert len(left(tmp_path)) == 1  # that of the first is gone
    get_in_vain(tmp_path)
    assert left(tmp_path) == []


def test_a_get_that_runs_beside_is_not_harmed(tmp_path: Path) -> None:
    with getting(tmp_path) as child:
        before = left(tmp_path)
        files = list((tmp_path / "got").glob(f"{LEFT}*/*"))
        get_in_vain(tmp_path)
        assert left(tmp_path) == before
        assert list((tmp_path / "got").glob(f"{LEFT}*/*")) == files
        child.terminate()
        assert child.wait(WITHIN) == 130
    assert not (tmp_path / "got").exists()


def test_many_side_by_side_keep_what_they_have(tmp_path: Path) -> None:
    """Each takes away what others left all the time."""
    faults: list[str] = []

    def work() -> None:
        for _ in range(100):
            with incoming(tmp_path) as place:
                (place / "tmpabcdefgh.dcm").write_bytes(b"half")
                if not (place / "tmpabcdefgh.dcm").exists():
                    faults.append(place.name)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert not any(thread.is_alive() for thread in threads)
    assert (faults, list(tmp_path.iterdir())) == ([], [])


# --- not ours ---------------------------------------------------------------------------------------------------------


def of_another_name(folder: Path) -> Path:
    (folder / ".incoming-mine").mkdir()
    (folder / ".incoming-mine" / "tmpabcdefgh.dcm").write_text("mine")
    return folder / ".incoming-mine" / "tmpabcdefgh.dcm"


def of_the_length_of_another_program(folder: Path) -> Path:
    (folder / ".incoming-backup12").mkdir()
    return folder / ".incoming-backup12"


def in_a_folder_of_our_name(folder: Path) -> Path:
    path = folder / f"{LEFT}{uuid4().hex}" / "thesis.dcm"
    path.parent.mkdir()
    path.write_text("mine")
    return path


def in_a_subfolder(folder: Path) -> Path:
    path = folder / f"{LEFT}{uuid4().hex}" / "tmpabcdefgh.dcm" / "tmpabcdefgh.dcm"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    return path


def a_file_of_our_name(folder: Path) -> Path:
    path = folder / f"{LEFT}{uuid4().hex}"
    path.write_text("mine")
    return path


def behind_a_link(folder: Path) -> Path:
    other = folder.parent / "other"
    other.mkdir()
    (other / "tmpabcdefgh.dcm").write_text("mine")
    (folder / f"{LEFT}{uuid4().hex}").symlink_to(other)
    return other / "tmpabcdefgh.dcm"


def behind_a_link_to_a_file(folder: Path) -> Path:
    path = folder.parent / "other.dcm"
    path.write_text("mine")
    place = folder / f"{LEFT}{uuid4().hex}"
    place.mkdir()
    (place / "tmpabcdefgh.dcm").symlink_to(path)
    return path


@pytest.mark.parametrize(
    "make",
    [
        of_another_name,
        of_the_length_of_another_program,
        in_a_folder_of_our_name,
        in_a_subfolder,
        a_file_of_our_name,
        behind_a_link,
        behind_a_link_to_a_file,
    ],
)
def test_what_is_not_ours_stays(make: Callable[[Path], Path], tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    path = make(tmp_path / "got")
    get_in_vain(tmp_path)
    assert path.exists()
    assert path.is_dir() or path.read_text() == "mine"


def test_a_folder_that_may_not_be_looked_at_is_no_failure(tmp_path: Path) -> None:
    place = tmp_path / "got" / f"{LEFT}{uuid4().hex}"
    place.mkdir(parents=True, mode=0)
    try:
        get_in_vain(tmp_path)
    finally:
        if place.exists():  # root may
            place.chmod(0o700)
