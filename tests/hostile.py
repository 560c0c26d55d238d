"""Attackers of a node, in a process of their own: crowds that hold connections open, and streams that come and go.

    python -m tests.hostile --port 11112 --silent 500 --half-sent 500 --trickling 100 --http 20 --seconds 30

A crowd keeps its number: whoever the node closes comes back, all of them together no faster than `--pace`. They end
after `--seconds`, or at SIGTERM, and print one line of JSON: for each behaviour how many connections were opened, how
many failed to open, and how many the node closed. Loopback only.
"""

import argparse
import asyncio
import json
import random
import resource
import signal
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .peers.process import Child, running
from .raw import asking

HOST = "127.0.0.1"
CROWDS = ("silent", "half_sent", "trickling")
STREAMS = ("closing", "http", "foreign")

_READY = "attacking\n"
_PAUSE = 0.5  # seconds after a connection that could not be opened
_PATIENCE = 2.0  # seconds for the node to answer or close, of those that do not stay
_HTTP = b"GET / HTTP/1.1\r\nHost: node\r\nUser-Agent: health-check\r\n\r\n"


@dataclass(frozen=True)
class Attack:
    """How many of each at once, and how many connections a second of each that does not stay.

    `half_sent` sends half of an association request (to a port for TLS: of a ClientHello) and no more, `trickling` one
    byte of it a second. `foreign` sends what belongs on the other port: a ClientHello to the plain one, a whole
    association request without TLS to the one for TLS.
    """

    silent: int = 0
    half_sent: int = 0
    trickling: int = 0
    closing: float = 0.0
    http: float = 0.0
    foreign: float = 0.0
    tls: bool = False
    seconds: float = 60.0
    pace: float = 250.0

    def options(self) -> list[str]:
        """The same on the command line."""
        values = asdict(self)
        switches = ["--tls"] if values.pop("tls") else []
        return switches + [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


FULL = Attack(silent=500, half_sent=500, trickling=100, closing=20, http=20, foreign=20)
"""What the node has to stand, for a minute."""


def client_hello() -> bytes:
    """The first flight of a TLS client, one record."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


@dataclass
class Counts:
    """What became of the connections of one behaviour."""

    opened: int = 0
    not_opened: int = 0
    closed_by_node: int = 0


class _Client(asyncio.Protocol):
    """One connection; whatever comes is dropped."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    async def is_closed_within(self, seconds: float) -> bool:
        return bool((await asyncio.wait([self.lost], timeout=seconds))[0])


@dataclass
class _Attackers:
    port: int
    attack: Attack
    counts: dict[str, Counts] = field(default_factory=lambda: {name: Counts() for name in (*CROWDS, *STREAMS)})

    def __post_init__(self) -> None:
        request, hello = asking(), client_hello()
        self._opening, self._foreign = (hello, request) if self.attack.tls else (request, hello)
        self._loop = asyncio.get_running_loop()
        self._next_turn = self._loop.time()
        self._present = 0  # members of the crowds that have been there

    async def run(self) -> None:
        """Attack until cancelled."""
        crowd = [(name, getattr(self.attack, name)) for name in CROWDS]
        streams = [(name, getattr(self.attack, name)) for name in STREAMS]
        members = [name for name, count in crowd for _ in range(count)]
        random.shuffle(members)
        if not members:
            print(_READY, end="", flush=True)
        async with asyncio.TaskGroup() as group:
            for name in members:
                group.create_task(self._stay(name, len(members)))
            for name, rate in streams:
                if rate:
                    group.create_task(self._come_and_go(group, name, rate))

    async def _stay(self, name: str, of: int) -> None:
        is_new = True
        while True:
            await self._turn()
            if (client := await self._connect(name)) is None:
                await asyncio.sleep(_PAUSE)
                continue
            if name == "half_sent":
                client.transport.write(self._opening[: len(self._opening) // 2])
            if is_new:
                is_new = False
                self._present += 1
                if self._present == of:
                    print(_READY, end="", flush=True)
            if name == "trickling":
                await self._trickle(client)
            await client.lost
            self.counts[name].closed_by_node += 1

    async def _trickle(self, client: _Client) -> None:
        for byte in self._opening:
            client.transport.write(bytes([byte]))
            if await client.is_closed_within(1.0):
                return

    async def _come_and_go(self, group: asyncio.TaskGroup, name: str, rate: float) -> None:
        at = self._loop.time()
        while True:
            group.create_task(self._visit(name))
            at += 1 / rate
            await asyncio.sleep(max(0.0, at - self._loop.time()))

    async def _visit(self, name: str) -> None:
        if (client := await self._connect(name)) is None:
            return
        if name != "closing":
            client.transport.write(_HTTP if name == "http" else self._foreign)
            is_closed = await client.is_closed_within(_PATIENCE)
            self.counts[name].closed_by_node += is_closed
        client.transport.abort()

    async def _connect(self, name: str) -> _Client | None:
        try:
            client: _Client = (await self._loop.create_connection(_Client, HOST, self.port))[1]
        except OSError:
            self.counts[name].not_opened += 1
            return None
        self.counts[name].opened += 1
        return client

    async def _turn(self) -> None:
        """Wait for one's turn to connect: of a crowd that is thrown out at once, not all come back at once."""
        now = self._loop.time()
        self._next_turn = max(now, self._next_turn) + 1 / self.attack.pace
        await asyncio.sleep(self._next_turn - now)


async def _attack(port: int, attack: Attack) -> None:
    attackers = _Attackers(port, attack)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    running = asyncio.create_task(attackers.run())
    running.add_done_callback(lambda _: ended.set())  # by a fault of its own, which is raised below
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), attack.seconds)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    print(json.dumps({name: asdict(counts) for name, counts in attackers.counts.items()}), flush=True)


class Attacking:
    """An attack that is under way."""

    def __init__(self, child: Child) -> None:
        self.child = child

    def stop(self) -> dict[str, Counts]:
        """End it; what became of its connections, by behaviour."""
        if self.child.exit_code is None:
            self.child.terminate()
        assert self.child.wait(within=30.0) == 0, self.child.log
        return {name: Counts(**counts) for name, counts in json.loads(self.child.log.splitlines()[-1]).items()}


@contextmanager
def attacking(port: int, attack: Attack, folder: Path | None = None) -> Iterator[Attacking]:
    """Attack the node on that port of 127.0.0.1; from here on, each of the crowds has connected.

    The node may have closed some of them by then: who is thrown out comes back.
    """
    command = [sys.executable, "-m", "tests.hostile", f"--port={port}", *attack.options()]
    with tempfile.TemporaryDirectory() as temporary:
        log = (folder or Path(temporary)) / f"hostile-{port}.log"
        ready: Callable[[Child], bool] = lambda child: _READY in child.log  # noqa: E731
        with running(command, log=log, ready=ready, cwd=Path(__file__).parents[1]) as child:
            yield Attacking(child)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile")
    parser.add_argument("--port", type=int, required=True)
    for one in fields(Attack):
        option = f"--{one.name.replace('_', '-')}"
        if one.type is bool:
            parser.add_argument(option, action="store_true")
        else:
            parser.add_argument(option, type=one.type, default=one.default)
    arguments = vars(parser.parse_args())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    asyncio.run(_attack(arguments.pop("port"), Attack(**arguments)))


if __name__ == "__main__":
    main()
