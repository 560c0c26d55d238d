"""Why the node has an upper layer of its own: the node and a default pynetdicom SCP, side by side, in one run.

    python tests/bench/upper_layer.py            about a minute; loopback only, bounded in count and time

The client is a bare socket that sends canned PDUs, so that the server is what is measured. Figures of one machine and
one run: ratios travel, digits do not.
"""

import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from minipacs.wire.associate import AssociateAC
from minipacs.wire.association import Association
from minipacs.wire.dimse import c_echo_rq
from minipacs.wire.header import HEADER_LENGTH, read_header
from minipacs.wire.pdu import PDataTF, ReleaseRP
from minipacs.wire.verification import request

ROUNDS = 5

PYNETDICOM = """
import sys
from pynetdicom import AE, evt
ae = AE("MINIPACS")
ae.add_supported_context("1.2.840.10008.1.1")
ae.maximum_associations = 200
server = ae.start_server(("127.0.0.1", 0), block=False)
print("listening on", "127.0.0.1:%d," % server.socket.getsockname()[1], flush=True)
sys.stdin.read()
"""

DEFAULT_LIMITS = PYNETDICOM.replace("ae.maximum_associations = 200\n", "")


class Client:
    """One association with a server, by canned PDUs over a bare socket with default options."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._association = Association()

    def associate(self) -> bool:
        self._association.associate(request("BENCH", "MINIPACS"))
        self._association.connected()
        self.socket.sendall(self._association.data_to_send())
        body = self.read()
        if body[0] != AssociateAC.TYPE:
            return False
        self._association.receive_data(body)
        self._association.next_indication()
        self._association.send(1, c_echo_rq(1))
        self.echo_rq = self._association.data_to_send()
        return True

    def echo(self) -> None:
        self.socket.sendall(self.echo_rq)
        assert self.read()[0] == PDataTF.TYPE

    def release(self) -> None:
        self.socket.sendall(bytes.fromhex("05000000000400000000"))
        assert self.read()[0] == ReleaseRP.TYPE
        self.socket.close()

    def read(self) -> bytes:
        data = b""
        while len(data) < HEADER_LENGTH or len(data) < HEADER_LENGTH + read_header(data)[1]:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise ConnectionError("closed")
            data += chunk
        return data


@contextmanager
def server(command: list[str]) -> Iterator[tuple[int, int]]:
    """Run a server that prints where it listens; yield its port and process ID."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        found = re.search(rb":(\d+),", process.stdout.readline())
        assert found is not None
        yield int(found[1]), process.pid
    finally:
        process.kill()
        process.communicate()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def whole_association(port: int, _: int) -> float:
    """Milliseconds for one association, echo and release; the median of 40."""
    times = []
    for _ in range(40):
        started = time.perf_counter()
        client = Client(port)
        assert client.associate()
        client.echo()
        client.release()
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


def echoes_a_second(port: int, _: int) -> float:
    """Echoes a second on one association."""
    client = Client(port)
    assert client.associate()
    started = time.perf_counter()
    for _ in range(1000):
        client.echo()
    rate = 1000 / (time.perf_counter() - started)
    client.release()
    return rate


def beside_idle_ones(port: int, pid: int) -> tuple[float, float]:
    """Per cent of a core, and milliseconds an echo, while 100 associations are open and idle."""
    with ExitStack() as stack:
        for _ in range(99):
            client = Client(port)
            stack.callback(client.socket.close)
            assert client.associate()
        client = Client(port)
        assert client.associate()
        before, started = cpu_seconds(pid), time.perf_counter()
        time.sleep(3)
        load = (cpu_seconds(pid) - before) / (time.perf_counter() - started) * 100
        times = []
        for _ in range(50):
            started = time.perf_counter()
            client.echo()
            times.append((time.perf_counter() - started) * 1000)
        client.release()
    return load, median(times)


def locked_out(port: int) -> float:
    """Seconds for which a good peer is refused after 12 connections that close at once, as of health checks."""
    for _ in range(12):
        socket.create_connection(("127.0.0.1", port)).close()
    time.sleep(0.5)
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        client = Client(port)
        if client.associate():
            client.release()
            break
        client.socket.close()
        time.sleep(0.25)
    return time.perf_counter() - started


def compare(name: str, measure: Callable[[int, int], float], ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    rounds = [(measure(*ours), measure(*theirs)) for _ in range(ROUNDS)]
    mine, other = (median(column) for column in zip(*rounds, strict=True))
    print(f"{name:52} minipacs {mine:9.2f}   pynetdicom {other:9.2f}   ratio {mine / other:.3f}", flush=True)


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    with tempfile.TemporaryDirectory() as folder:
        peers = Path(folder, "peers.toml")
        peers.write_text('[peers.bench]\nae_title = "BENCH"\n')
        settings = Path(folder, "minipacs.toml")
        settings.write_text("[limits]\nassociations_per_peer = 100\n")  # all are of one peer
        node = [sys.executable, "-m", "minipacs", "serve", "--port", "0", "--config", str(settings)]
        with server(node) as ours, server([sys.executable, "-c", PYNETDICOM]) as theirs:
            compare("one association, echo and release, ms", whole_association, ours, theirs)
            compare("echoes a second on one association", echoes_a_second, ours, theirs)
            for name, where in (("minipacs", ours), ("pynetdicom", theirs)):
                load, latency = beside_idle_ones(*where)
                print(f"beside 100 idle associations: {name:12} {load:6.1f} % of a core, {latency:6.2f} ms an echo")
        with server(node) as ours, server([sys.executable, "-c", DEFAULT_LIMITS]) as theirs:
            for name, where in (("minipacs", ours), ("pynetdicom", theirs)):
                print(f"12 health checks: {name:12} refuses a good peer for {locked_out(where[0]):.1f} s", flush=True)


if __name__ == "__main__":
    main()
