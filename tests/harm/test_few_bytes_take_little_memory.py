"""Few bytes take little memory and little time, whatever they inflate to and whatever pydicom would make of them."""

import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import build_role

from ..peers.node import Node, run_minipacs, table
from ..peers.storage_node import objects, storing
from ..raw import CT_IMAGE_STORAGE, IMPLICIT, VERIFICATION, asking, proposing, raw_peer
from ..services.archive import application_entity
from ..services.objects import identifier
from ..storing import as_file, encoded, image
from ..wire.exchange import echo, echo_answers
from .messages import (
    DEFLATED,
    EXPLICIT,
    FIND,
    GET,
    MOVE,
    UNDEFINED,
    asked,
    associated,
    deflated,
    element,
    ending,
    implicit,
    peak,
    request,
    reset_peak,
    stored,
)

PEERS = [{"name": "py", "ae_title": "PYNETDICOM"}, {"name": "neighbour", "ae_title": "ECHOSCU"}]
MOST = 100  # MiB more than before
AT_ONCE = 15.0  # seconds, on a machine that does much else

ITEM, ITEM_END, SEQUENCE_END = ending(0xFFFEE000), ending(0xFFFEE00D), ending(0xFFFEE0DD)
OPEN_ITEM = implicit(0xFFFEE000, length=UNDEFINED)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with storing(tmp_path_factory.mktemp("node"), table(*PEERS), overwrite=True) as (node, _):
        itself = {"name": "itself", "ae_title": "MINIPACS", "host": "127.0.0.1", "port": node.port}  # for C-MOVE
        node.save(table(*PEERS, itself))
        yield node


def sequence(items: bytes, tag: int = 0x00400275) -> bytes:
    return element(tag, b"SQ", items, length=UNDEFINED) + SEQUENCE_END


def empties(count: int, group: int = 0x0011) -> bytes:
    """So many empty elements, each with a tag of its own."""
    of_group = [min(count - first, 1 << 16) for first in range(0, count, 1 << 16)]
    vr = int.from_bytes(b"PN", "little") << 32
    starts = [vr | group + 2 * number for number in range(len(of_group))]
    return b"".join(
        array("Q", range(start, start + (most << 16), 1 << 16)).tobytes()
        for start, most in zip(starts, of_group, strict=True)
    )


def nested(depth: int) -> bytes:
    start = element(0x00400275, b"SQ", OPEN_ITEM, length=UNDEFINED)
    return start * depth + (ITEM_END + SEQUENCE_END) * depth


LEVEL = element(0x00080052, b"CS", b"STUDY ")

BOMBS: dict[str, Callable[[], bytes]] = {
    "empty elements": lambda: LEVEL + empties(1 << 18),
    "one long text": lambda: LEVEL + element(0x00104000, b"UT", b"x" * (1 << 26)),
    "items of a sequence": lambda: LEVEL + sequence(ITEM * (1 << 20)),
    "items of a sequence with a length": lambda: LEVEL + element(0x00400275, b"SQ", ITEM * 130_000),
    "what may be a sequence": lambda: LEVEL + element(0x00400275, b"UN", ITEM * 130_000),
    "items within items": lambda: LEVEL + sequence((OPEN_ITEM + ITEM_END) * (1 << 17)),
    "nested": lambda: LEVEL + nested(30_000),
    "nested a little": lambda: LEVEL + nested(40),
    "values": lambda: LEVEL + element(0x00081030, b"UC", b"\\" * (1 << 20)),
    "values of a UID": lambda: LEVEL + element(0x0020000D, b"UI", b"\\" * 0xFFFE),
    "zeros": lambda: bytes(1 << 26),
}


def is_beyond(status: int, comment: str) -> bool:
    return status in {0xA700, 0xC000} and comment.startswith("the data set ")


def growth(node: Node, act: Callable[[], None]) -> tuple[int, float]:
    """How many MiB the node takes more at its peak, and how many seconds it takes."""
    before, started = reset_peak(node.child.pid), time.monotonic()
    act()
    return peak(node.child.pid) - before, time.monotonic() - started


@pytest.mark.parametrize("service", [FIND, MOVE, GET])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_deflated_identifier_is_refused_as_soon_as_it_is_too_much(bomb: str, service: bytes, node: Node) -> None:
    data = deflated(BOMBS[bomb]())
    answers = []
    with associated(node.port, service, DEFLATED) as peer:
        more, seconds = growth(node, lambda: answers.append(asked(peer, service, data)))
        assert is_beyond(*answers[0]), answers
        assert asked(peer, service, deflated(element(0x00080052, b"CS", b"NONE")))[0] == 0xA900, "it goes on"
    assert more < MOST
    assert seconds < AT_ONCE


@pytest.mark.parametrize(
    "bomb", ["empty elements", "items of a sequence", "items within items", "nested", "values", "zeros"]
)
def test_so_is_one_that_is_as_long_as_may_be(bomb: str, node: Node) -> None:
    answers = []
    with associated(node.port, FIND, EXPLICIT) as peer:
        more, seconds = growth(node, lambda: answers.append(asked(peer, FIND, BOMBS[bomb]()[: (1 << 20) - 64])))
    assert is_beyond(*answers[0]), answers
    assert more < MOST
    assert seconds < AT_ONCE


def test_an_identifier_with_all_that_people_ask_for_is_answered(node: Node) -> None:
    uids = b"\\".join(b"1.2.826.0.1.3680043.10.1234.%d" % number for number in range(20_000))
    for keys in (
        LEVEL + element(0x0020000D, b"UI", uids[:60_000].rpartition(b"\\")[0]),
        LEVEL + empties(1000) + sequence(OPEN_ITEM + empties(1000) + ITEM_END, 0x00321064),
        LEVEL + element(0x00104000, b"UT", b"x" * 500_000),
    ):
        for data, syntax in ((keys, EXPLICIT), (deflated(keys), DEFLATED)):
            with associated(node.port, FIND, syntax) as peer:
                assert asked(peer, FIND, data) == (0, "")


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        (element(0x00100020, b"LO", b"\\".join([b"a"] * 257)), "PatientID must have at most 256 values"),
        (element(0x00100010, b"PN", b"\\".join([b"a^b"] * 8_000)), "PatientName must have at most 256 values"),
        (element(0x00100020, b"LO", b"*a" * 30_000), "PatientID must have at most 50000 bytes where it has wildcards"),
        (element(0x00100020, b"LO", b"*" + b"[" * 20_000), "PatientID must have at most 50000 bytes"),
    ],
    ids=["values", "names", "wildcards", "brackets"],
)
def test_a_key_of_more_than_a_query_can_have_is_refused_by_its_rule(key: bytes, rule: str, node: Node) -> None:
    with associated(node.port, FIND, EXPLICIT) as peer:
        status, comment = asked(peer, FIND, LEVEL + key)
    assert status == 0xA900
    assert comment.startswith(rule)


def test_a_key_of_as_many_values_as_may_be_is_answered(node: Node) -> None:
    keys = [(0x00080050, b"SH"), (0x00100010, b"PN"), (0x00100020, b"LO"), (0x00200010, b"SH")]
    data = b"".join(element(tag, vr, b"\\".join(b"*%d" % number for number in range(256))) for tag, vr in keys)
    with associated(node.port, FIND, EXPLICIT) as peer:
        assert asked(peer, FIND, LEVEL + data) == (0, "")


@pytest.mark.parametrize(
    ("syntax", "data"),
    [
        (EXPLICIT, lambda: empties(1 << 22)),
        (EXPLICIT, lambda: empties(1 << 22, 0x7FE1)),
        (EXPLICIT, lambda: sequence(ITEM * (1 << 22))),
        (EXPLICIT, lambda: sequence(ITEM * (1 << 22), 0x00181115)),
        (EXPLICIT, lambda: element(0x7FE00010, b"OB", length=UNDEFINED) + ITEM * (1 << 22) + SEQUENCE_END),
        (DEFLATED, lambda: empties(1 << 16) * 20),
        (DEFLATED, lambda: nested(30_000)),
    ],
    ids=["elements", "elements behind", "items", "items of others", "fragments", "deflated", "deep"],
)
def test_an_object_of_nothing_but_elements_is_refused(syntax: bytes, data: Callable[[], bytes], node: Node) -> None:
    whole = encoded(image("1.2.3"))[:-20] + data()
    whole = deflated(whole) if syntax == DEFLATED else whole
    answers: list[tuple[int, str]] = []
    with associated(node.port, CT_IMAGE_STORAGE, syntax) as peer:
        more, seconds = growth(node, lambda: answers.append(stored(peer, whole)))
    assert answers[0][0] == 0xA700, answers
    assert more < MOST
    assert seconds < 4 * AT_ONCE
    assert list((node.folder / "kept" / "incoming").iterdir()) == []


def test_a_neighbour_is_answered_meanwhile(node: Node) -> None:
    large = encoded(image("1.2.3"))[:-20] + empties(1 << 22, 0x7FE1)
    bomb = deflated(BOMBS["items within items"]())

    def attack() -> None:
        with associated(node.port, FIND, DEFLATED) as finder, associated(node.port, CT_IMAGE_STORAGE, EXPLICIT) as peer:
            assert stored(peer, large)[0] == 0xA700
            assert is_beyond(*asked(finder, FIND, bomb))

    attackers = [threading.Thread(target=attack) for _ in range(3)]
    seconds = []
    with associated(node.port, VERIFICATION, IMPLICIT, b"ECHOSCU") as neighbour:
        for one in attackers:
            one.start()
        while any(one.is_alive() for one in attackers):
            started = time.monotonic()
            neighbour.send(echo())
            assert neighbour.receive_pdu(AT_ONCE) == echo_answers(1)
            seconds.append(time.monotonic() - started)
    assert seconds
    assert sorted(seconds)[len(seconds) // 2] < 1.0
    assert max(seconds) < AT_ONCE


def test_what_is_listed_is_what_is_needed(node: Node) -> None:
    """An object of many frames, each with its elements, is taken as it is, and read no further than is needed."""
    frame = OPEN_ITEM + b"".join(element(0x00280000 + 2 * n, b"LO", b"ab") for n in range(8)) + ITEM_END
    whole = encoded(image("1.2.4"))[:-20] + sequence(frame * 20_000, 0x52009230) + element(0x7FE00010, b"OW", bytes(8))
    answers: list[tuple[int, str]] = []
    with associated(node.port, CT_IMAGE_STORAGE, EXPLICIT) as peer:
        more, _ = growth(node, lambda: answers.append(stored(peer, whole, "1.2.4")))
    assert answers == [(0, "")]
    assert more < MOST
    assert objects(node.folder / "kept")["1.2.4"].read_bytes().endswith(whole)


def test_an_object_that_is_written_anew_is_so_within_bounds(node: Node) -> None:
    """In Implicit VR, it would be read as a whole: 200 000 items, which are kept, and go out as they are alone."""
    whole = encoded(image("1.2.5"))[:-20] + sequence((OPEN_ITEM + ITEM_END) * 200_000, 0x52009230)
    with associated(node.port, CT_IMAGE_STORAGE, EXPLICIT) as peer:
        assert stored(peer, whole, "1.2.5") == (0, "")
    statuses: list[int] = []

    def get() -> None:
        entity = application_entity("PYNETDICOM")
        entity.add_requested_context(GET.decode())
        entity.add_requested_context(CT_IMAGE_STORAGE.decode(), IMPLICIT.decode())
        roles: list[Any] = [build_role(CT_IMAGE_STORAGE.decode(), scp_role=True)]
        association = entity.associate("127.0.0.1", node.port, ae_title="MINIPACS", ext_neg=roles)
        keys = identifier("IMAGE", StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.1.1", SOPInstanceUID="1.2.5")
        statuses.extend(status.Status for status, _ in association.send_c_get(keys, GET.decode()))
        association.release()

    more, _ = growth(node, get)
    assert statuses[-1] != 0
    assert "not sent: the data set has more than" in node.child.log
    assert more < MOST


@pytest.mark.parametrize("bomb", ["items of a sequence", "items within items", "nested"])
def test_a_file_is_shown_within_bounds(bomb: str, tmp_path: Path) -> None:
    file = as_file(image("1.2.3"), tmp_path / "bomb.dcm")
    file.write_bytes(file.read_bytes()[:-20] + BOMBS[bomb]())
    for options in ((), ("--json",)):
        done = run_minipacs(tmp_path, "storage", "show", "bomb.dcm", *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("minipacs: bomb.dcm: the data set has ")


def test_requests_that_wait_are_few(node: Node) -> None:
    """A peer asks, and asks, and does not wait for an answer: the rest waits in the network, at no neighbour's cost."""
    keys = LEVEL + element(0x00104000, b"UT", b"x" * ((1 << 20) - 100))
    flooding = b"".join(request(FIND, keys))

    def flood() -> None:
        with raw_peer(node.port) as peer:
            assert peer.exchange(asking(proposing(1, FIND, EXPLICIT), calling=b"PYNETDICOM"))[:1] == b"\2"
            peer.socket.settimeout(2.0)
            with suppress(OSError):  # the node takes no more
                for _ in range(300):
                    peer.send(flooding)

    more, _ = growth(node, flood)
    assert more < MOST
    assert node.minipacs("echo", f"MINIPACS@127.0.0.1:{node.port}", "--calling", "ECHOSCU").returncode == 0
