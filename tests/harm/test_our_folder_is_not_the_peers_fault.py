"""A folder that is deleted, moved or closed during a C-STORE is told of as ours, by 0xA700, not blamed on the peer."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from minipacs.services.storage_folder import MARKER

from ..peers.node import Node
from ..peers.process import wait_until
from ..peers.storage_node import objects, storing
from ..storing import data_pdus, encoded, image, status_of, store_rq
from .stored import WITHIN, sender, store

OUT_OF_RESOURCES = 0xA700
GONE = "No such file or directory"


def all_of_it(folder: Path) -> None:
    shutil.rmtree(folder)


def incoming(folder: Path) -> None:
    shutil.rmtree(folder / "incoming")


def the_file(folder: Path) -> None:
    [file] = (folder / "incoming").iterdir()
    file.unlink()


def another_file_in_its_place(folder: Path) -> None:
    [file] = (folder / "incoming").iterdir()
    file.unlink()
    file.write_bytes(b"dear")


def where_objects_are(folder: Path) -> None:
    shutil.rmtree(folder / "objects")


def by_moving_it(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


WAYS = (all_of_it, incoming, the_file, another_file_in_its_place, where_objects_are, by_moving_it)


def ours(node: Node) -> list[str]:
    """What the log says of a refusal, once it does: it is written beside what is answered."""
    wait_until(lambda: "an object was refused with 0xA700" in node.child.log, within=WITHIN, what="the line of it")
    lines = [event["message"] for event in node.events("message")]
    assert not [line for line in lines if "Traceback" in line or "could not be stored" in line]
    return [line for line in lines if "an object was refused with 0xA700" in line]


@pytest.mark.parametrize("size", [20_000, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize("delete", WAYS, ids=lambda delete: delete.__name__)
def test_it_is_ours_when_it_goes_during_a_c_store(delete: Callable[[Path], None], size: int, tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
        first, *others = data_pdus(encoded(image("1.2.4", pixels=os.urandom(size))))
        peer.send(store_rq(b"1.2.4"), first)
        while not list((folder / "incoming").iterdir()):
            assert peer.hears_nothing(0.01)
        delete(folder)
        peer.send(*others)
        assert status_of(peer.receive_pdu(WITHIN)) == OUT_OF_RESOURCES
        [line] = ours(node)
        assert line.startswith(f"storage: {folder}/")
        assert f": {GONE}: " in line
        status = store(peer, "1.2.5", encoded(image("1.2.5")))
        stays = delete in {the_file, another_file_in_its_place}
        assert status == (0 if stays else OUT_OF_RESOURCES), "the association goes on"
        assert stays or not folder.exists() or set(objects(folder)) <= {"1.2.3"}


def test_it_is_ours_when_it_is_gone_before(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        shutil.rmtree(folder)
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == OUT_OF_RESOURCES
        [line] = ours(node)
        assert line.startswith(f"storage: {folder}/incoming: ")
        assert not folder.exists(), "what was taken away is not made again"


def the_index(folder: Path) -> None:
    for path in folder.glob("index.sqlite*"):
        path.unlink()


def all_but_empty_folders(folder: Path) -> None:
    marker = (folder / MARKER).read_bytes()
    shutil.rmtree(folder)
    (folder / "incoming").mkdir(parents=True)
    (folder / "objects").mkdir()
    (folder / MARKER).write_bytes(marker)


def a_copy_in_its_place(folder: Path) -> None:
    by_moving_it(folder)
    shutil.copytree(folder.with_name("elsewhere"), folder)


@pytest.mark.parametrize("change", [the_index, all_but_empty_folders, a_copy_in_its_place])
def test_nothing_is_acknowledged_that_goes_into_an_index_which_is_gone(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    """No query and no list would find it."""
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
        change(folder)
        assert store(peer, "1.2.4", encoded(image("1.2.4"))) == OUT_OF_RESOURCES
        rule = "it is gone, or another one than at the start: stop the node, and start it again"
        assert ours(node) == [f"storage: {folder}/index.sqlite: {rule}: an object was refused with 0xA700"]
        assert "1.2.4" not in objects(folder)
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.4", encoded(image("1.2.4"))) == 0


def test_a_folder_that_is_moved_and_comes_back_is_as_before(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        by_moving_it(folder)
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == OUT_OF_RESOURCES
        folder.with_name("elsewhere").rename(folder)
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
        assert set(objects(folder)) == {"1.2.3"}


def test_a_flood_of_it_is_a_few_lines(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        shutil.rmtree(folder)
        for number in range(150):
            assert store(peer, f"1.2.{number}", encoded(image(f"1.2.{number}"))) == OUT_OF_RESOURCES
        assert 1 <= len(ours(node)) <= 60


def test_what_is_larger_than_the_limit_is_told_too(tmp_path: Path) -> None:
    with storing(tmp_path, object_size=10_000) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3", pixels=bytes(20_000)))) == OUT_OF_RESOURCES
        assert ours(node) == [f"storage: {folder}: more than 10000 bytes: an object was refused with 0xA700"]
