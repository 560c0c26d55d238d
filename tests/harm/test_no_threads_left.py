"""No thread is left for one more association: it is rejected as congested, and nothing is lost by that."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE

from minipacs.services.sop_classes import MOVE
from tests.fakes import faking
from tests.peers.node import MINIPACS, Node, environment, table
from tests.peers.process import running, wait_until
from tests.proc import Process
from tests.raw import CT_IMAGE_STORAGE, asking, proposing, raw_peer, rejecting
from tests.service_fakes import takes
from tests.services.test_retrieve_by_the_door import STUDY
from tests.storing import as_file, image

SETPRIV, PRLIMIT = shutil.which("setpriv") or "", shutil.which("prlimit") or ""
OPEN = asking(proposing(1, CT_IMAGE_STORAGE), proposing(3, MOVE[1].encode()), calling=b"SCU")
PEERS = table(
    {"name": "scu", "ae_title": "SCU"}, {"name": "store", "ae_title": "STORE", "host": "127.0.0.1", "port": 9}
)
SOON = 10.0
CONGESTED = rejecting(2, 3, 1)
MOST = 24

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (SETPRIV and PRLIMIT),
    reason="the limit counts all threads of a user: root alone can take one whom nobody else is",
)


@contextmanager
def limited(folder: Path, most: int) -> Iterator[tuple[Node, Process]]:
    """A node that stores and may have so many threads: root keeps what it may of files, and is counted as another."""
    (folder / "conf").mkdir()
    (folder / "conf" / "peers.toml").write_text(PEERS)
    (folder / "conf" / "minipacs.toml").write_text("[storage]\nfree = 0\n")
    as_another = [SETPRIV, f"--ruid={60_000 + os.getpid() % 5_000}", "--bounding-set=-sys_admin,-sys_resource"]
    command = [*as_another, PRLIMIT, f"--nproc={most}", *MINIPACS]
    command += ["serve", "--port", "0", "--log-format", "json", "--storage", "kept"]
    ready = lambda child: "listening on" in child.log and "\n" in child.log  # noqa: E731
    with running(command, log=folder / "node.log", ready=ready, env=environment(), cwd=folder) as child:
        yield Node(folder, child), Process(child.pid)


@contextmanager
def full(node: Node) -> Iterator[None]:
    """As many associations are held as there are threads for."""
    with ExitStack() as held:
        while held.enter_context(raw_peer(node.port)).exchange(OPEN) != CONGESTED:
            assert len(node.events()) < MOST
        yield


def settled(process: Process) -> tuple[int, int]:
    """Its threads and descriptors, once nothing is left of what was before."""
    seen: list[tuple[int, int]] = []

    def is_settled() -> bool:
        seen.append((process.threads, process.descriptors))
        return len(seen) > 25 and len(set(seen[-25:])) == 1  # half a second

    wait_until(is_settled, within=SOON, what="rest")
    return seen[-1]


@pytest.mark.parametrize("most", [MOST, MOST + 1])
def test_an_association_without_a_thread_is_rejected_and_leaves_nothing(tmp_path: Path, most: int) -> None:
    """It takes two threads: of one limit and the next, one lets it have the first."""
    with limited(tmp_path, most) as (node, process):
        at_rest = settled(process)
        with full(node):
            before = settled(process)
            for _ in range(6):
                with raw_peer(node.port) as peer:
                    assert peer.exchange(OPEN) == CONGESTED
            event = node.wait_for("association", 7)
            assert event["reject"].startswith("2/3/1")
            assert "can't start new thread" in event["reason"]
            assert settled(process) <= before
        wait_until(lambda: (process.threads, process.descriptors) == at_rest, within=SOON, what="nothing left")
        with raw_peer(node.port) as peer:
            assert peer.exchange(OPEN)[0] == 0x02
        assert "Traceback" not in node.child.log
        assert "Fatal error" not in node.child.log


@pytest.mark.parametrize("most", [MOST, MOST + 1])
def test_a_move_without_a_thread_is_refused_for_want_of_resources(tmp_path: Path, most: int) -> None:
    with limited(tmp_path, most) as (node, process), faking(takes) as fake:
        node.save(PEERS.replace("port = 9", f"port = {fake.peer.port}"))
        ae = AE("SCU")
        for sop_class in (CT_IMAGE_STORAGE.decode(), MOVE[1]):
            ae.add_requested_context(sop_class, "1.2.840.10008.1.2.1")
        asker = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
        assert asker.send_c_store(as_file(image(), tmp_path / "one.dcm")).Status == 0
        seen = []
        with full(node):
            for _ in range(3):
                *_, (status, _) = asker.send_c_move(STUDY, "STORE", MOVE[1])
                assert (status.Status, status.ErrorComment) == (0xA702, "no thread or descriptor is left for it")
                seen.append(settled(process))
        assert seen[2][0] <= seen[0][0]
        assert seen[2][1] <= seen[0][1] + 1  # SQLite may keep one for its next reader; each call would cost one or two
        asker.release()
        said = [event["message"] for event in node.events("message")]
        assert any("C-MOVE failed with 0xA702: no association with STORE" in line for line in said)
