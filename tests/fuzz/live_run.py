"""Mutated exchanges over sockets, many at a time, with a `minipacs serve` in a process of its own: tests/fuzz/live N.

What has to be true: the node ends every connection within its deadlines, a good echo succeeds after each thousand, and
at the end it is as it was: alive, no open file more, hardly any memory more, no error in its log.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from minipacs import Outcome, Peer, echo
from minipacs.tls import client_context
from minipacs.tracing.dump import name_of
from minipacs.wire.dimse import c_echo_rq
from tests.certificates import Authority
from tests.fuzz import corpus
from tests.fuzz.mutation import mutated
from tests.peers.node import Node, serving, table
from tests.peers.process import wait_until
from tests.wire.exchange import RELEASE_RQ, REQUEST, p_data, pieces
from tests.wire.exchange import echo as echo_rq

DEADLINE = 0.4
"""Seconds of each deadline of the node; so short that waiting for one does not make up the run."""

SLACK = 10.0
"""Seconds that a busy machine may add to the deadlines."""

MEMORY = 20.0
"""MB that the node may have more at the end than after the first thousand exchanges."""

_AT_ONCE = 96
_NO_LINGERING = struct.pack("ii", 1, 0)
_ROUND = 1_000  # exchanges between two good echoes
_BY_TLS = 0.04  # of the exchanges: a handshake costs as much as many of them

_SETTINGS = f"""
[timeouts]
request = {DEADLINE}
pdu = {DEADLINE}
idle = {DEADLINE}
close = {DEADLINE}
handshake = {DEADLINE * 10}
[limits]
associations = 1000
"""

_COMMAND = c_echo_rq(7).encode()
_SESSIONS = (
    REQUEST.encode() + echo_rq() + RELEASE_RQ,
    REQUEST.encode() + echo_rq(1) + echo_rq(2) + echo_rq(3) + RELEASE_RQ,
    REQUEST.encode() + p_data(_COMMAND[:20], is_last=False) + p_data(_COMMAND[20:]) + RELEASE_RQ,
)
_ENDS = ("half-close", "half-close", "half-close", "close", "reset", "wait")


class Broken(AssertionError):
    """The node does not do what it has to."""


@dataclass
class Figures:
    """What a run was like."""

    exchanges: int = 0
    by_tls: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # by the first PDU of what came
    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds until the node ended a connection
    echoes: int = 0


@dataclass(frozen=True)
class Exchange:
    """One connection: what is sent, in which pieces, how we end it, and whether it is by TLS."""

    pieces: tuple[bytes, ...]
    end: str
    by_tls: bool

    @classmethod
    def draw(cls, chance: random.Random, streams: Sequence[bytes]) -> "Exchange":
        """One of many: a session that is mutated, or something of the corpus that may be, or nothing at all."""
        if chance.random() < 0.03:
            return cls((), chance.choice(_ENDS), by_tls=False)
        stream = chance.choice(_SESSIONS) if chance.random() < 0.6 else chance.choice(streams)
        stream = mutated(stream, streams, chance)
        cuts = sorted(chance.randint(0, len(stream)) for _ in range(chance.choice((0, 0, 1, 3))))
        return cls(tuple(pieces(stream, cuts)), chance.choice(_ENDS), chance.random() < _BY_TLS)


async def _carry_out(exchange: Exchange, port: int, tls: ssl.SSLContext | None, figures: Figures) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    started = time.monotonic()
    figures.exchanges += 1
    figures.by_tls += tls is not None
    figures.ends[exchange.end] += 1
    try:
        with suppress(OSError):  # the node may have ended it already, as it should
            for piece in exchange.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if exchange.end == "half-close" and tls is None:
                writer.write_eof()
        if exchange.end == "reset":
            with suppress(OSError):  # it is closed already where the node has reset it
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
            writer.transport.abort()
        elif exchange.end != "close":
            with suppress(OSError):
                figures.answers[name_of((await reader.read())[:1])] += 1
            figures.slowest = max(figures.slowest, time.monotonic() - started)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _round(count: int, node: "_Fuzzed", chance: random.Random, streams: Sequence[bytes]) -> None:
    """So many exchanges, a number of them at any time."""
    exchanges = iter([Exchange.draw(chance, streams) for _ in range(count)])

    async def one_after_the_other() -> None:
        for exchange in exchanges:
            port, tls = (node.tls_port, node.tls) if exchange.by_tls else (node.port, None)
            # All its deadlines, one after the other, and each byte of it may put off the next.
            within = DEADLINE * (10 + 2 * len(exchange.pieces)) + SLACK
            try:
                await asyncio.wait_for(_carry_out(exchange, port, tls, node.figures), within)
            except (TimeoutError, ConnectionRefusedError) as error:
                sent = [piece.hex() for piece in exchange.pieces]
                raise Broken(f"{error!r} within {within:g} s; {exchange.end} behind {sent}") from error

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(one_after_the_other())


class _Fuzzed:
    """The node that is under fire."""

    def __init__(self, node: Node, tls: ssl.SSLContext, tls_port: int) -> None:
        self.node, self.port, self.tls, self.tls_port = node, node.port, tls, tls_port
        self.figures = Figures()

    def check_echo(self) -> None:
        """A good peer is served."""
        result = echo(Peer("", "MINIPACS", "127.0.0.1", self.port), "ECHOSCU", timeout=SLACK)
        if result.outcome is not Outcome.SUCCESS:
            raise Broken(
                f"after {self.figures.exchanges} exchanges an echo ends with {result.outcome}: {result.reason}"
            )
        self.figures.echoes += 1

    def files(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.node.child.pid}/fd").iterdir()))

    def memory(self) -> float:
        """Its resident set, in MB."""
        status = Path(f"/proc/{self.node.child.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def check_log(self) -> None:
        """Nothing went wrong inside."""
        with (self.node.folder / "node.log").open(errors="replace") as log:
            for line in log:
                if "Traceback" in line or "internal-error" in line or '"level":"error"' in line.replace(": ", ":"):
                    raise Broken(f"the node logs an error of its own: {line[:2_000]}")

    def check_stop(self) -> None:
        """It ends in order."""
        os.kill(self.node.child.pid, signal.SIGTERM)
        if code := self.node.child.wait(SLACK):
            raise Broken(f"the node ends with exit code {code}")


@contextmanager
def _node(folder: Path, options: Sequence[str]) -> Iterator[_Fuzzed]:
    authority = Authority(folder / "ca")
    identity = authority.issue()
    files = {"certificate": identity.certificate, "key": identity.key, "trusted": authority.certificate}
    tls = "".join(f"{name} = {json.dumps(str(path))}\n" for name, path in files.items())
    (folder / "conf").mkdir()
    (folder / "conf" / "minipacs.toml").write_text(f"{_SETTINGS}[tls]\nport = 0\n{tls}")
    peers = table(*({"name": title.lower(), "ae_title": title} for title in ("ECHOSCU", "STORESCU", "ORTHANC")))
    with serving(folder, peers, *options) as node:
        yield _Fuzzed(node, client_context(authority.settings(identity)), node.wait_for("listening", 1)["tls_port"])


def run(count: int, seed: int, options: Sequence[str] = (), seconds: float = 3_600.0) -> Figures:
    """Carry out so many exchanges.

    Args:
        count: of exchanges.
        seed: of chance: the same exchanges again.
        options: of `minipacs serve`.
        seconds: in which all of them have to be done.

    Raises:
        Broken: the node does not do what it has to.
    """
    chance, streams = random.Random(seed), corpus.streams()
    with tempfile.TemporaryDirectory(prefix="fuzz-live-") as folder, _node(Path(folder), options) as node:
        node.check_echo()
        files, started, warm = node.files(), time.monotonic(), 0.0
        while (done := node.figures.exchanges) < count:
            if time.monotonic() > started + seconds:
                raise Broken(f"{done} exchanges within {seconds:g} s, and not {count}")
            asyncio.run(_round(min(_ROUND, count - done), node, chance, streams))
            node.check_echo()
            warm = warm or node.memory()
            _tell(node, started, "\r" if sys.stdout.isatty() else "\n")
        wait_until(lambda: node.files() <= files, within=SLACK, what=f"{files} open files, as at the start")
        grown = node.memory() - warm
        print(f"open files {files} -> {node.files()}, memory {warm:.1f} -> {node.memory():.1f} MB, seed {seed}")
        if grown > MEMORY:
            raise Broken(f"the node has grown by {grown:.1f} MB since the first {_ROUND} exchanges")
        node.check_log()
        node.check_stop()
        return node.figures


def _tell(node: _Fuzzed, started: float, end: str) -> None:
    figures, seconds = node.figures, time.monotonic() - started
    print(
        f"{figures.exchanges} exchanges ({figures.by_tls} by TLS), {figures.echoes} echoes, "
        f"{figures.exchanges / seconds:.0f}/s, slowest end {figures.slowest:.1f} s, {node.memory():.1f} MB",
        end=end,
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when nothing was found, 1 for a find."""
    parser = argparse.ArgumentParser(prog="tests/fuzz/live", description=__doc__)
    parser.add_argument("exchanges", type=int, nargs="?", default=100_000, help="how many (default: 100000)")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of chance (default: another each time)")
    parser.add_argument("--seconds", type=float, default=3_600, help="in which they have to be done (default: 3600)")
    parser.add_argument("-v", dest="verbose", action="store_true", help="have the node show every PDU (serve -vv)")
    options = parser.parse_args(arguments)
    try:
        figures = run(options.exchanges, options.seed, ["-vv"] if options.verbose else [], options.seconds)
    except (Broken, ExceptionGroup, TimeoutError) as error:
        causes = error.exceptions if isinstance(error, ExceptionGroup) else [error]
        print(f"found, with seed {options.seed}: {causes[0]}", file=sys.stderr)
        return 1
    ends = ", ".join(f"{count} {end}" for end, count in figures.ends.most_common())
    answers = ", ".join(f"{count} {answer}" for answer, count in figures.answers.most_common())
    print(f"we ended by: {ends}\nthe node answered by: {answers}")
    print(f"nothing found in {figures.exchanges} exchanges and {figures.echoes} echoes")
    return 0
