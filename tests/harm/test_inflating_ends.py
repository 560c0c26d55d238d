"""Inflating ends: whatever a deflated image is followed by, it is answered, and nothing of it goes on afterwards."""

import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from ..peers.dcmtk import STORESCU
from ..peers.node import Node, table
from ..peers.process import wait_until
from ..peers.required import required
from ..peers.storage_node import objects, storescu, storing, uid_of
from ..raw import CT_IMAGE_STORAGE
from ..storing import as_file, encoded, image
from .messages import DEFLATED, EXPLICIT, associated, deflated, stored

DCMCONV = str(Path(STORESCU).with_name("dcmconv"))
PEERS = table({"name": "py", "ae_title": "PYNETDICOM"}, {"name": "dcmtk", "ae_title": "STORESCU"})
SIZE = (1 << 20) + 4096  # of its pixel data: more than is inflated at once
UID = "1.2.3"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with storing(tmp_path_factory.mktemp("node"), PEERS, overwrite=True) as (node, _):
        yield node


def stream(*, is_odd: bool, size: int = SIZE) -> tuple[bytes, bytes]:
    """An image that deflates to an odd or an even number of bytes, and its pixel data."""
    for number in range(100):
        pixels = os.urandom(50 + number) + bytes(size - 50 - number)
        data = deflated(encoded(image(UID, pixels=pixels)))
        if len(data) % 2 == is_odd:
            return data, pixels
    raise AssertionError("all are of one kind")


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def is_quiet(node: Node, before: int) -> bool:
    return threads(node.child.pid) <= before and not list((node.folder / "kept" / "incoming").iterdir())


@pytest.mark.parametrize("size", [SIZE, 1000, 1 << 20, (1 << 20) - 500, 1 << 22])
@pytest.mark.parametrize("is_odd", [True, False])
@pytest.mark.parametrize("behind", [b"", b"\0", b"\0\0", b"\1", b"\0" * 100_000])
def test_a_deflated_image_is_answered_whatever_follows_it(size: int, is_odd: bool, behind: bytes, node: Node) -> None:
    data, pixels = stream(is_odd=is_odd, size=size)
    before = threads(node.child.pid)
    with associated(node.port, CT_IMAGE_STORAGE, DEFLATED) as peer:
        assert stored(peer, data + behind, UID) == (0, "")
    kept = dcmread(objects(node.folder / "kept")[UID])
    assert kept.PixelData == pixels
    wait_until(lambda: is_quiet(node, before), within=30, what="the end of the thread")


def test_so_is_one_that_is_cut_short_or_damaged(node: Node) -> None:
    data, _ = stream(is_odd=True)
    before = threads(node.child.pid)
    with associated(node.port, CT_IMAGE_STORAGE, DEFLATED) as peer:
        for cut in (1, 2, 10, len(data) // 2, len(data) - 1):
            status, comment = stored(peer, data[:-cut], UID)
            assert status == 0xC000
            assert comment.startswith("the data set is cut short")
        damaged = data[:500] + b"\xff" * 500 + data[1000:]
        assert stored(peer, damaged, UID)[0] == 0xC000
        by_zlib = zlib.compress(encoded(image(UID)))  # with a header, as PS3.5 §A.5 has it not
        assert stored(peer, by_zlib, UID)[0] == 0xC000
    with associated(node.port, CT_IMAGE_STORAGE, EXPLICIT) as peer:
        assert stored(peer, data, UID)[0] == 0xC000
    wait_until(lambda: is_quiet(node, before), within=30, what="the end of the thread")


@required(STORESCU, DCMCONV)
def test_dcmtk_sends_what_it_has_deflated(node: Node, tmp_path: Path) -> None:
    lengths = set()
    for number in range(8):
        file = as_file(image(pixels=os.urandom(1000 + number * 2) + bytes(SIZE)), tmp_path / f"{number}.dcm")
        subprocess.run([DCMCONV, "+td", file, file], check=True, capture_output=True, timeout=60)
        lengths.add(file.stat().st_size)
        assert storescu(node, file, args=("-xd",)) == 0
        assert dcmread(objects(node.folder / "kept")[uid_of(file)]) == dcmread(file)
    assert len(lengths) > 1
