"""Peers that are admitted do all of their harm side by side: a good peer is served, and nothing of it stays."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from minipacs import Peer, echo

from ..hostile_images import SLOW, TITLE, SlowDestination, attacking_images
from ..peers.node import Node, table
from ..peers.process import wait_until
from ..peers.storage_node import storing
from ..proc import Process, peak_kib

SECONDS = 8.0
MOST_MEMORY = 100 << 10  # KiB, above that of the idle node; without bounds, one of these requests takes 1 GiB
MOST_LOG = 1 << 18  # bytes; without bounds, it is 1.6 MB a second
SPARE = 2  # SQLite keeps a descriptor for its next reader; a timer runs while there are lines that are not told yet
STOPS_WITHIN = 5.0  # seconds, on a machine that does other things besides


@dataclass(frozen=True)
class Target:
    node: Node
    index: Path
    process: Process

    def echo(self) -> str:
        result = echo(Peer("node", "MINIPACS", "127.0.0.1", self.node.port), "GOOD", timeout=30)
        return "success" if result.is_success else str(result)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with SlowDestination() as slow:
        peers = table(
            {"name": "good", "ae_title": "GOOD"},
            {"name": "hostile", "ae_title": TITLE},
            {"name": "slow", "ae_title": SLOW, "host": "127.0.0.1", "port": slow.port},
        )
        with storing(tmp_path, peers) as (node, kept):
            yield Target(node, kept / "index.sqlite", Process(node.child.pid))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_a_good_peer_is_served_and_nothing_of_the_attack_stays(target: Target) -> None:
    assert target.echo() == "success"
    process = target.process
    descriptors, threads, idle = process.descriptors, process.threads, process.resident_kib
    with attacking_images(target.node.port, target.index, SECONDS) as attack:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            assert target.echo() == "success"
        answers = attack.stop()
    assert all("no answer" not in said for said in answers.values()), answers
    assert all(answers.values()), answers
    assert peak_kib(target.node.child.pid) - idle < MOST_MEMORY
    wait_until(
        lambda: target.process.descriptors <= descriptors + SPARE and target.process.threads <= threads + SPARE,
        within=30,
        what=f"{descriptors} descriptors and {threads} threads, as before",
    )
    assert "Traceback" not in target.node.child.log
    of_the_attack = [line for line in target.node.child.log.splitlines() if '"GOOD"' not in line]
    assert sum(map(len, of_the_attack)) < MOST_LOG
    target.node.child.terminate()
    assert target.node.child.wait(STOPS_WITHIN) == 0
