"""Under a crowd of attackers a good peer is served; nothing of it stays: no descriptor, connection or memory."""

import asyncio
import gc
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from minipacs import Peer, VerificationSCP, echo
from minipacs.tls import client_context

from .bench.client import Client
from .certificates import Authority, Identity
from .hostile import CROWDS, FULL, STREAMS, Counts, attacking
from .peers.dcmtk import ECHOSCU, echoscu
from .peers.node import Node, run_minipacs, serving, table
from .peers.process import wait_until
from .peers.required import required
from .proc import Process
from .test_scp import loop_of, wait_until_nothing_is_kept
from .test_tls_cli import conf

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")

PATIENCE = 30.0
MOST_MEMORY = 20 << 10  # KiB, above that of the idle node
MOST_GROWTH = 4 << 10  # KiB, from the end of one attack to the end of the next
MOST_LINES = 16  # of log, about connections that never became an association: some of each kind in its first minute
ATTACK = replace(FULL, pace=400, seconds=50)
PEERS = table({"name": "echoscu", "ae_title": "ECHOSCU"}, {"name": "bench", "ae_title": "BENCH"})


class Port:
    """A port of a node, and a good peer's call to it."""

    def __init__(self, node: Node, authority: Authority | None, identity: Identity | None) -> None:
        self.node = node
        self.process = Process(node.child.pid)
        self.is_tls = authority is not None
        self._context = client_context(authority.settings(identity)) if authority else None
        self._options: list[str | Path] = []
        if authority and identity:
            self._options = ["+tls", identity.key, identity.certificate, "+cf", authority.certificate]

    def echo(self) -> str:
        """What became of an echo by our SCU."""
        peer = Peer("node", "MINIPACS", "127.0.0.1", self.node.port)
        result = echo(peer, "ECHOSCU", tls=self._context)
        return "success" if result.is_success else str(result)

    def echo_by_dcmtk(self) -> str:
        """Nothing, or what echoscu says went wrong."""
        run = echoscu("-aet", "ECHOSCU", "-aec", "MINIPACS", *map(str, self._options), "127.0.0.1", self.node.port)
        return f"{run.returncode}: {run.stdout}{run.stderr}" if run.returncode or "F:" in run.stderr else ""

    def attack(self) -> tuple[int, dict[str, Counts]]:
        """Echo 50 times and once more under attack: most memory meanwhile in KiB, and what became of the attackers."""
        resident = []
        with attacking(self.node.port, replace(ATTACK, tls=self.is_tls), self.node.folder) as attack:
            for _ in range(50):
                assert self.echo() == "success"
                resident.append(self.process.resident_kib)
            assert self.echo_by_dcmtk() == ""
            resident.append(self.process.resident_kib)
            return max(resident), attack.stop()

    def status(self) -> dict[str, Any]:
        elsewhere = self.node.folder / "elsewhere"  # where no settings tell of a port for TLS alone, which goes first
        elsewhere.mkdir()
        done = run_minipacs(elsewhere, "status", "--port", str(self.node.port), "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)["associations"]
        return told


@pytest.fixture(params=["plain", "TLS"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Port]:
    authority = identity = None
    if request.param == "TLS":
        authority = Authority(tmp_path / "ca")
        ours, identity = authority.issue(), authority.issue()
        conf(tmp_path, authority, ours, "port = 0", "only = true")
    with serving(tmp_path, PEERS) as node:
        yield Port(node, authority, identity)


@required(ECHOSCU)
def test_a_good_peer_is_served_under_attack_and_nothing_of_it_stays(port: Port) -> None:
    descriptors = port.process.descriptors
    for _ in range(20):
        assert port.echo() == "success"
    resident = port.process.resident_kib
    after = []
    for _ in range(2):
        most, counts = port.attack()
        assert most - resident < MOST_MEMORY
        for name in (*CROWDS, *STREAMS):
            assert counts[name].opened > 0
            assert counts[name].not_opened == 0
        assert all(counts[name].closed_by_node > 0 for name in ("http", "foreign"))
        port.process.wait_for_descriptors(descriptors)
        after.append(port.process.resident_kib)
    assert after[1] - after[0] < MOST_GROWTH
    status = port.status()
    assert (status["open"], status["connections"]) == ([], 0)
    assert status["counts"]["released"] == 20 + 2 * 51
    strangers = [event for event in port.node.events() if event["calling_ae_title"] is None]
    assert 1 <= len(strangers) + len(port.node.events("message")) <= MOST_LINES


def associate(port: int, count: int) -> None:
    """Associate, echo and release, one after the other."""
    for _ in range(count):
        client = Client(port)
        with client.socket:
            assert client.associate()
            client.echo()
            client.release()


def test_ten_thousand_associations_leave_no_memory_and_no_descriptor(tmp_path: Path) -> None:
    with serving(tmp_path, PEERS) as node:
        process = Process(node.child.pid)
        descriptors = process.descriptors
        associate(node.port, 2_000)
        resident = process.resident_kib
        associate(node.port, 8_000)
        assert process.resident_kib - resident < 1 << 10
        process.wait_for_descriptors(descriptors)


def test_associations_leave_no_object_and_no_task() -> None:
    """As many objects of ours as before, without the garbage collector's help: none waits in a cycle for it."""
    with VerificationSCP([Peer("bench", "BENCH")], port=0) as node:
        associate(node.port, 1_000)  # the node keeps the records of so many
        node.wait_for_associations(1_000)
        wait_until_nothing_is_kept(node)
        gc.collect()
        gc.disable()
        try:
            before = ours(), len(os.listdir("/proc/self/fd"))
            associate(node.port, 1_000)
            wait_until_nothing_is_kept(node)
            wait_until(lambda: (ours(), len(os.listdir("/proc/self/fd"))) == before, within=PATIENCE, what="as before")
        finally:
            gc.enable()
        assert len(asyncio.all_tasks(loop_of(node))) == 1


def ours() -> int:
    """How many objects of classes of minipacs there are."""
    return sum(
        str(type(one).__module__).partition(".")[0] == "minipacs" and not isinstance(one, type | FunctionType)
        for one in gc.get_objects()
    )
