"""With `keep = "newest"`, nothing gives way for an object that is refused anyway, and what gives way is told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..peers.node import Node
from ..peers.process import wait_until
from ..peers.storage_node import objects, storing
from ..raw import RawPeer
from ..storing import data_pdus, encoded, image, store_rq
from .stored import WITHIN, sender, store

COUNT = 20
OLD = {f"1.2.{number}" for number in range(1, COUNT + 1)}
OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
ANYTHING = 1 << 60  # bytes that no disk has


@contextmanager
def full(folder: Path, *, size: int = 2_000, **limits: Any) -> Iterator[tuple[Node, Path, RawPeer]]:
    """A node with so many objects, and with these limits from now on."""
    with storing(folder) as (node, _), sender(node.port) as peer:
        for number in range(1, COUNT + 1):
            uid = f"1.2.{number}"
            assert store(peer, uid, encoded(image(uid, pixels=os.urandom(size)))) == 0
            os.utime(objects(folder / "kept")[uid], (number, number))
    with storing(folder, keep="newest", **limits) as (node, kept), sender(node.port) as peer:
        yield node, kept, peer


def told(node: Node) -> list[str]:
    return [event["message"] for event in node.events("message") if "gave way" in event["message"]]


def told_of(node: Node, count: int = 1) -> list[str]:
    """Once it is, which is beside what is answered."""
    wait_until(lambda: len(told(node)) >= count, within=WITHIN, what="what gave way in the log")
    return told(node)


def free(folder: Path) -> int:
    place = os.statvfs(folder)
    return place.f_bavail * place.f_frsize


def nothing_gave_way(node: Node, kept: Path) -> None:
    assert set(objects(kept)) == OLD
    assert told(node) == []
    wait_until(lambda: not list((kept / "incoming").iterdir()), within=20, what="no half object is left")


# --- what is refused anyway -----------------------------------------------------------------------------------------


def test_one_that_is_larger_than_the_limit(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"objects": COUNT, "object_size": 3_000_000, "free": free(tmp_path)}
    with full(tmp_path, size=300_000, **limits) as (node, kept, peer):
        status = store(peer, "1.2.99", encoded(image("1.2.99", pixels=bytes(4_000_000))))
        assert status == OUT_OF_RESOURCES
        nothing_gave_way(node, kept)


def test_one_that_is_no_data_set(tmp_path: Path) -> None:
    with full(tmp_path, objects=COUNT, free=free(tmp_path)) as (node, kept, peer):
        status = store(peer, "1.2.99", os.urandom(20_000))
        assert status in {CANNOT_UNDERSTAND, OUT_OF_RESOURCES}, "the latter where others fill the disk meanwhile"
        nothing_gave_way(node, kept)


def test_one_that_is_cut_short_or_of_another_uid(tmp_path: Path) -> None:
    with full(tmp_path, objects=COUNT) as (node, kept, peer):
        data = encoded(image("1.2.99", pixels=bytes(20_000)))
        assert store(peer, "1.2.99", data[:-2]) == CANNOT_UNDERSTAND
        assert store(peer, "1.2.98", data) == DOES_NOT_MATCH
        nothing_gave_way(node, kept)


def test_one_that_is_broken_off(tmp_path: Path) -> None:
    with full(tmp_path, objects=COUNT, free=free(tmp_path)) as (node, kept, peer):
        peer.send(store_rq(b"1.2.99"), *data_pdus(encoded(image("1.2.99", pixels=bytes(4_000_000))))[:-1])
        peer.reset()
        assert node.wait_for("association", 1)["outcome"] != "released"
        nothing_gave_way(node, kept)


def test_one_for_which_there_is_no_room_were_all_others_gone(tmp_path: Path) -> None:
    """As where another program has filled the disk."""
    with full(tmp_path, free=ANYTHING) as (node, kept, peer):
        for number in range(3):
            assert store(peer, f"1.3.{number}", encoded(image(f"1.3.{number}"))) == OUT_OF_RESOURCES
        nothing_gave_way(node, kept)
        assert "less than" in node.child.log


def test_one_of_a_uid_that_is_there(tmp_path: Path) -> None:
    with full(tmp_path, objects=COUNT) as (node, kept, peer):
        assert store(peer, "1.2.1", encoded(image("1.2.1", pixels=bytes(16)))) == 0xB000
        nothing_gave_way(node, kept)


# --- what is taken --------------------------------------------------------------------------------------------------


def test_one_gives_way_to_each_that_is_one_too_many_and_is_told(tmp_path: Path) -> None:
    with full(tmp_path, objects=COUNT) as (node, kept, peer):
        for uid in ("1.3.1", "1.3.2"):
            assert store(peer, uid, encoded(image(uid))) == 0
        assert set(objects(kept)) == OLD - {"1.2.1", "1.2.2"} | {"1.3.1", "1.3.2"}
        assert told_of(node, 2) == [
            "storage: 1 object gave way to 1.3.1: 1.2.1",
            "storage: 1 object gave way to 1.3.2: 1.2.2",
        ]


def test_as_many_give_way_as_make_room_and_the_line_names_the_first(tmp_path: Path) -> None:
    with full(tmp_path, objects=COUNT // 2) as (node, kept, peer):
        assert store(peer, "1.3.1", encoded(image("1.3.1"))) == 0
        gone = {f"1.2.{number}" for number in range(1, COUNT // 2 + 2)}
        assert set(objects(kept)) == OLD - gone | {"1.3.1"}
        assert told_of(node) == ["storage: 11 objects gave way to 1.3.1: 1.2.1, 1.2.10, 1.2.11 and 8 more"]


def test_where_room_is_made_the_oldest_alone_give_way(tmp_path: Path) -> None:
    """So much is to stay free as is now, and some more: what is missing, a few of the old ones have."""
    size = 8_000_000
    with full(tmp_path, size=size, free=0) as (_, kept, _peer):
        pass
    wanted = free(tmp_path) + COUNT // 2 * size  # others that use the disk meanwhile move it by less than that
    with storing(tmp_path, keep="newest", free=wanted) as (node, kept), sender(node.port) as peer:
        assert store(peer, "1.3.1", encoded(image("1.3.1"))) == 0
        left = set(objects(kept))
        gone = OLD - left
        assert "1.3.1" in left
        assert 0 < len(gone) < COUNT
        assert gone == {f"1.2.{number}" for number in range(1, len(gone) + 1)}
        assert len(told_of(node)) == 1


def test_a_copy_elsewhere_makes_no_room_when_it_goes(tmp_path: Path) -> None:
    """Bytes that another name has, too, are not free when ours is gone."""
    size = 8_000_000
    with full(tmp_path, size=size, free=0) as (_, kept, _peer):
        pass
    (tmp_path / "copies").mkdir()
    for uid, path in objects(kept).items():
        os.link(path, tmp_path / "copies" / uid)
    with (
        storing(tmp_path, keep="newest", free=free(tmp_path) + COUNT // 2 * size) as (node, _),
        sender(node.port) as peer,
    ):
        assert store(peer, "1.3.1", encoded(image("1.3.1"))) == OUT_OF_RESOURCES
        nothing_gave_way(node, kept)
