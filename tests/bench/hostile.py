"""A good peer's time, and the node's memory and descriptors, while it is attacked; and how others do beside less.

    python -m tests.bench.hostile            about four minutes; loopback only, bounded in count and time

The good peer is a bare socket that sends canned PDUs, one association after the other with a pause between. Idle and
attacked take turns, so that whatever else the machine does meets both. Figures of one machine and one run: ratios
travel, digits do not.
"""

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Protocol

from minipacs.tls import client_context
from tests.certificates import Authority
from tests.fakes import faking
from tests.harm.test_find_is_bounded import ENDLESS, asked
from tests.harm.test_unread_standard_error import associate, pipe
from tests.harm.test_unread_standard_error import serving as serving_unread
from tests.hostile import FULL, attacking
from tests.hostile_images import SLOW, TITLE, SlowDestination, attacking_images
from tests.peers.node import Node, serving, table
from tests.peers.process import wait_until
from tests.peers.storage_node import storing
from tests.proc import Process

from .client import Client
from .servers import BY_DEFAULT, allow_many_files, started

ROUNDS = 3
ASSOCIATIONS = 100  # a round, of each
PAUSE = 0.03
PHASES = ("connect", "associate", "echo", "release")
OF_SQLITE = 8  # descriptors that SQLite keeps for the next readers, of as many as read at once
LOCKED_OUT = 40.0  # seconds after which a server is not asked again

Dial = Callable[[], Client]


class Attackers(Protocol):
    """Those who attack, while they do."""

    def stop(self) -> Mapping[str, object]:
        """End it; what became of them, by behaviour."""


@dataclass
class Figures:
    """Of a node, idle or attacked."""

    times: list[list[float]] = field(default_factory=list)  # of the phases, milliseconds, by association
    resident: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    switches: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def of(self, phase: str) -> tuple[float, float]:
        """Median and 95th percentile in milliseconds."""
        column = [sum(row) if phase == "all" else row[PHASES.index(phase)] for row in self.times]
        return median(column), quantiles(column, n=20)[-1]


def one_association(dial: Dial) -> list[float]:
    """Milliseconds of each phase."""
    moments = [time.perf_counter()]
    client = dial()
    for step in (lambda: None, client.associate, client.echo, client.release):
        answer = step()
        assert answer is not False, "a good peer was rejected"
        moments.append(time.perf_counter())
    return [(after - before) * 1000 for before, after in pairwise(moments)]


def measure(node: Process, dial: Dial, figures: Figures) -> None:
    for _ in range(5):
        one_association(dial)
    switches, cpu, started = node.context_switches, node.cpu_seconds, time.perf_counter()
    for number in range(ASSOCIATIONS):
        figures.times.append(one_association(dial))
        if number % 10 == 0:
            figures.resident.append(node.resident_kib)
            figures.descriptors.append(node.descriptors)
        time.sleep(PAUSE)
    seconds = time.perf_counter() - started
    figures.switches.append((node.context_switches - switches) / seconds)
    figures.cpu.append((node.cpu_seconds - cpu) / seconds * 100)


def idle_and_attacked(
    name: str, node: Node, dial: Dial, attacked_by: Callable[[], AbstractContextManager[Attackers]]
) -> None:
    process = Process(node.child.pid)
    idle, attacked, after = Figures(), Figures(), []
    measure(process, dial, Figures())  # warm: what is imported and kept once is
    for _ in range(ROUNDS):
        measure(process, dial, idle)
        with attacked_by() as attack:
            measure(process, dial, attacked)
            counts = attack.stop()
        wait_until_few(process, min(idle.descriptors) + OF_SQLITE)
        after.append(process.resident_kib)
    show(name, idle, attacked)
    peak = max(attacked.resident)
    print(f"  resident memory, MB: idle {idle.resident[0] / 1024:.1f}, attacked {peak / 1024:.1f} at most", end="")
    print(f" (+{(peak - idle.resident[0]) / 1024:.1f}), after each attack {[round(kib / 1024, 1) for kib in after]}")
    print(f"  descriptors: idle {min(idle.descriptors)}, attacked {max(attacked.descriptors)}", end="")
    print(f", after {process.descriptors}")
    print(f"  context switches a second: {median(idle.switches):.0f}, {median(attacked.switches):.0f}", end="")
    print(f"; per cent of a core: {median(idle.cpu):.1f}, {median(attacked.cpu):.1f}")
    print(f"  what became of the last attackers: {counts}")
    print(f"  lines that it logged in all this, of connections that were no association: {untold(node)}", flush=True)


def wait_until_few(process: Process, descriptors: int) -> None:
    """The last connection may be on its way out when we look."""
    wait_until(lambda: process.descriptors <= descriptors, within=30, what=f"{descriptors} descriptors")


def show(name: str, idle: Figures, attacked: Figures) -> None:
    print(f"{name}: {len(idle.times)} associations idle, {len(attacked.times)} attacked; milliseconds, median (95 %)")
    for phase in (*PHASES, "all"):
        (before, before95), (during, during95) = idle.of(phase), attacked.of(phase)
        print(f"  {phase:10} idle {before:6.2f} ({before95:6.2f})   attacked {during:6.2f} ({during95:6.2f})", end="")
        print(f"   ratio {during / before:.2f}")


def untold(node: Node) -> int:
    strangers = [event for event in node.events() if event["calling_ae_title"] is None]
    return len(strangers) + len(node.events("message"))


def is_served(port: int) -> bool:
    """Whether a good peer is associated, answered and released, each within 5 s."""
    with suppress(OSError, AssertionError):
        client = Client(port)
        with client.socket:
            client.socket.settimeout(5.0)
            if client.associate():
                client.echo()
                client.release()
                return True
    return False


def seconds_until_served(port: int) -> str:
    started = time.perf_counter()
    while time.perf_counter() - started < LOCKED_OUT:
        if is_served(port):
            return f"{time.perf_counter() - started:.1f} s"
        time.sleep(0.1)
    return f"more than {LOCKED_OUT:.0f} s"


def beside_silent_ones(port: int) -> str:
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        time.sleep(0.5)
        return seconds_until_served(port)


def after_closes(port: int) -> str:
    for _ in range(12):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    time.sleep(0.5)
    return seconds_until_served(port)


def side_by_side(what: str, attack: Callable[[int], str]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        started(BY_DEFAULT, Path(folder)) as servers,
        ThreadPoolExecutor(len(servers)) as pool,
    ):
        results = dict(zip(servers, pool.map(attack, [server.port for server in servers.values()]), strict=True))
    print(f"{what}, a good peer is served after: {results}", flush=True)


def plain(folder: Path) -> None:
    with serving(folder, '[peers.bench]\nae_title = "BENCH"\n') as node:
        idle_and_attacked("plain port", node, lambda: Client(node.port), lambda: attacking(node.port, FULL))


def by_tls(folder: Path) -> None:
    authority = Authority(folder / "ca")
    ours, theirs = authority.issue(), authority.issue()
    (folder / "conf").mkdir()
    (folder / "conf" / "minipacs.toml").write_text(
        f"[tls]\ncertificate = '{ours.certificate}'\nkey = '{ours.key}'\ntrusted = '{authority.certificate}'\n"
        "port = 0\nonly = true\n"
    )
    context = client_context(authority.settings(theirs))

    with serving(folder, '[peers.bench]\nae_title = "BENCH"\n') as node:

        def dial() -> Client:
            client = Client(node.port)
            client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
            return client

        idle_and_attacked("port for TLS", node, dial, lambda: attacking(node.port, replace(FULL, tls=True)))


def with_storage(folder: Path) -> None:
    """Peers that are admitted attack, by what they send to be stored, looked up and moved."""
    with SlowDestination() as slow:
        peers = table(
            {"name": "bench", "ae_title": "BENCH"},
            {"name": "hostile", "ae_title": TITLE},
            {"name": "slow", "ae_title": SLOW, "host": "127.0.0.1", "port": slow.port},
        )
        with storing(folder, peers) as (node, kept):
            index = kept / "index.sqlite"
            idle_and_attacked("storage", node, lambda: Client(node.port), lambda: attacking_images(node.port, index))


def unread(folder: Path) -> None:
    """Nobody reads the log of a node: it goes on, and ends when it is told to."""
    with pipe() as error, serving_unread(folder, subprocess.DEVNULL, error.writing) as node:
        times = []
        for _ in range(ASSOCIATIONS * 20):
            started = time.perf_counter()
            associate(node)
            times.append((time.perf_counter() - started) * 1000)
        first, last = median(times[:ASSOCIATIONS]), median(times[-ASSOCIATIONS:])
        resident = Process(node.process.pid).resident_kib / 1024
        stop = node.terminate()
    print(
        f"a standard error that is not read: {len(times)} associations, of the first {ASSOCIATIONS} and the last ",
        end="",
    )
    print(f"{first:.2f} and {last:.2f} ms in the median; {resident:.1f} MB; stopped after {stop:.2f} s", flush=True)


def endless(folder: Path) -> None:
    """`minipacs find` at a peer whose answers never end."""
    for name, behaviour in ENDLESS.items():
        started = time.perf_counter()
        with faking(behaviour) as fake:
            code, _, memory = asked(folder / name, fake.peer.port)
        seconds = time.perf_counter() - started
        print(f"find, of {name} without end: exit code {code} after {seconds:.1f} s, {memory} MB at most", flush=True)


def main() -> None:
    allow_many_files()
    print(f"attack: {FULL}")
    for node in (plain, by_tls, with_storage, unread, endless):
        with tempfile.TemporaryDirectory() as folder:
            node(Path(folder))
    side_by_side("beside 40 silent connections", beside_silent_ones)
    side_by_side("after 12 connections that close at once", after_closes)


if __name__ == "__main__":
    main()
