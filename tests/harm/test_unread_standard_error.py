"""A standard error, or a standard output, that is not read stops nothing; what is dropped of the log is counted."""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from tests.peers.node import MINIPACS, environment, run_minipacs, table
from tests.peers.ports import free_port, listens
from tests.peers.process import wait_until
from tests.raw import RawPeer, asking, raw_peer
from tests.wire.exchange import RELEASE_RQ, echo_answers
from tests.wire.exchange import echo as echo_rq

OPEN = asking()
SOON = 10.0
SMALL = 4096  # bytes, the smallest pipe


class Pipe:
    """A pipe that nobody reads yet."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        with suppress(AttributeError):  # Linux alone has it
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, SMALL)

    def fill(self) -> None:
        os.set_blocking(self.writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, bytes(1))
        os.set_blocking(self.writing, True)

    def read(self) -> bytes:
        """All, to its end."""
        data = b""
        while piece := os.read(self.reading, 1 << 16):
            data += piece
        return data

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            with suppress(OSError):
                os.close(descriptor)


@contextmanager
def pipe() -> Iterator[Pipe]:
    one = Pipe()
    try:
        yield one
    finally:
        one.close()


class Node:
    """It runs, with these for its standard output and its standard error."""

    def __init__(self, folder: Path, output: int | IO[bytes], error: int | IO[bytes], *options: str) -> None:
        (folder / "conf").mkdir()
        (folder / "conf" / "peers.toml").write_text(table({"name": "e", "ae_title": "ECHOSCU"}))
        self.folder, self.port = folder, free_port()
        command = [*MINIPACS, "serve", "--port", str(self.port), "--log-format", "json", *options]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=error,
            start_new_session=True,
        )

    def wait(self) -> None:
        wait_until(lambda: listens(self.process.pid, self.port), within=30, what="listening")

    def terminate(self) -> float:
        """How many seconds it takes to end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SOON) == 0
        return time.monotonic() - began

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(folder: Path, output: int | IO[bytes], error: int | IO[bytes], *options: str) -> Iterator[Node]:
    node = Node(folder, output, error, *options)
    try:
        node.wait()
        yield node
    finally:
        node.kill()


def associate(node: Node) -> None:
    """Echo, and go."""
    with raw_peer(node.port) as peer:
        assert peer.exchange(OPEN)[0] == 0x02
        assert peer.exchange(echo_rq()) == echo_answers(1)
        assert peer.exchange(RELEASE_RQ)[0] == 0x06


def echo_much(peer: RawPeer, count: int) -> None:
    for _ in range(count):
        assert peer.exchange(echo_rq()) == echo_answers(1)


def test_peers_are_served_and_the_node_stops_though_standard_error_is_not_read(tmp_path: Path) -> None:
    with pipe() as error, serving(tmp_path, subprocess.DEVNULL, error.writing) as node:
        for _ in range(300):
            associate(node)
        done = run_minipacs(tmp_path, "status", "--port", str(node.port), "--json")
        assert json.loads(done.stdout)["associations"]["counts"]["released"] == 300
        assert node.terminate() < SOON / 2


def test_nothing_waits_for_a_standard_output_that_is_full(tmp_path: Path) -> None:
    with pipe() as output, pipe() as error:
        output.fill()
        error.fill()
        with serving(tmp_path, output.writing, error.writing) as node:
            associate(node)
            assert node.terminate() < SOON / 2


@pytest.mark.parametrize("is_read_at_all", [True, False])
def test_what_is_dropped_is_counted_and_told_when_it_is_read_again(tmp_path: Path, is_read_at_all: bool) -> None:
    """Of -vv, so that there is much of it: more than the node keeps for who is to read it."""
    log = tmp_path / "log"
    with pipe() as error, serving(tmp_path, subprocess.DEVNULL, error.writing, "-vv") as node:
        os.close(error.writing)
        with raw_peer(node.port) as peer:
            assert peer.exchange(OPEN)[0] == 0x02
            echo_much(peer, 6_000)
            if not is_read_at_all:
                assert node.terminate() < SOON / 2
                return
            with log.open("wb") as output:
                reader = subprocess.Popen(["cat"], stdin=error.reading, stdout=output, start_new_session=True)
            try:
                wait_until(lambda: b'"log-dropped"' in log.read_bytes(), within=30, what="the count")
                echo_much(peer, 10)
                peer.exchange(RELEASE_RQ)
                node.terminate()
            finally:
                os.close(error.reading)
                reader.wait(SOON)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    pdus = [line for line in lines if line["event"] == "pdu"]
    dropped = sum(line["count"] for line in lines if line["event"] == "log-dropped")
    assert dropped > 100
    assert len(pdus) + dropped == 2 * 6_010 + 4
    assert lines[-1]["event"] == "stopped"


def test_a_standard_error_whose_reader_has_gone_stops_nothing(tmp_path: Path) -> None:
    with pipe() as error, serving(tmp_path, subprocess.DEVNULL, error.writing) as node:
        os.close(error.reading)
        for _ in range(20):
            associate(node)
        assert node.terminate() < SOON / 2


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    """But a node that cannot say where it listens does not begin (tests.test_cli)."""
    with Path("/dev/full").open("wb") as full, serving(tmp_path, subprocess.DEVNULL, full) as node:
        for _ in range(20):
            associate(node)
        assert node.terminate() < SOON / 2


def test_all_that_was_said_is_written_before_the_end(tmp_path: Path) -> None:
    with (
        (tmp_path / "out").open("wb") as output,
        (tmp_path / "err").open("wb") as error,
        serving(tmp_path, output, error) as node,
    ):
        for _ in range(50):
            associate(node)
        node.terminate()
    assert (tmp_path / "out").read_text().startswith("minipacs: MINIPACS listening on ")
    events = [json.loads(line)["event"] for line in (tmp_path / "err").read_text().splitlines()]
    assert events == ["listening", *["association"] * 50, "stopped"]
