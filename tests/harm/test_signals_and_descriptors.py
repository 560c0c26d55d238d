"""No signal ends a node but by an orderly stop, however early or often it comes; no socket is taken for a stream."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.peers.node import environment, serving, table
from tests.peers.process import running

US = table({"name": "us", "ae_title": "MINIPACS"})
PATIENCE = 60.0

HOLDING = """
import os, sys
sys.argv = ["minipacs", "serve", "--port", "0"]
from minipacs import process
hold = process.Signals.hold
def told(self):
    hold(self)
    os.write(1, b"held\\n")
process.Signals.hold = told
from minipacs.__main__ import main
main()
"""
"""A node that tells when its first step is done; it imports, reads and listens behind that."""


@contextmanager
def starting(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A node that has just begun to start, in a group of its own."""
    (folder / "conf").mkdir()
    (folder / "conf" / "peers.toml").write_text(US)
    node = subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert node.stdout is not None
        assert node.stdout.readline() == "held\n"
        yield node
    finally:
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.communicate()


def test_a_hangup_at_the_start_kills_no_node(tmp_path: Path) -> None:
    with starting(tmp_path) as node:
        assert node.stdout is not None
        os.kill(node.pid, signal.SIGHUP)
        line = node.stdout.readline()
        while "held" in line:
            line = node.stdout.readline()
        assert "listening on" in line
        os.kill(node.pid, signal.SIGTERM)
        assert node.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_at_the_start_is_an_orderly_one(number: signal.Signals, tmp_path: Path) -> None:
    with starting(tmp_path) as node:
        os.kill(node.pid, number)
        assert node.wait(PATIENCE) == 0
        assert node.stdout is not None
        assert "Traceback" not in node.stdout.read()


def storm(pid: int, has_ended: threading.Event) -> None:
    """Send SIGTERM, SIGINT and SIGHUP in turn until the process has ended; its child is not reaped before that."""
    while not has_ended.is_set():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def stormed(pid: int) -> tuple[threading.Thread, threading.Event]:
    has_ended = threading.Event()
    thread = threading.Thread(target=storm, args=(pid, has_ended))
    thread.start()
    return thread, has_ended


def test_a_storm_of_signals_at_the_start_ends_with_0(tmp_path: Path) -> None:
    with starting(tmp_path) as node:
        thread, has_ended = stormed(node.pid)
        try:
            os.waitid(os.P_PID, node.pid, os.WEXITED | os.WNOWAIT)
        finally:
            has_ended.set()
            thread.join()
        assert node.wait(PATIENCE) == 0


@pytest.mark.parametrize("storage", [False, True], ids=["verification", "storage"])
def test_a_storm_of_signals_ends_a_node_with_0(storage: bool, tmp_path: Path) -> None:
    with serving(tmp_path, US, *(["--storage", str(tmp_path / "objects")] if storage else [])) as node:
        thread, has_ended = stormed(node.child.pid)
        try:
            assert node.child.wait(PATIENCE) == 0
        finally:
            has_ended.set()
            thread.join()
        assert node.events("stopped")
        assert "Traceback" not in node.child.log


def test_hangups_without_end_hold_up_no_stop(tmp_path: Path) -> None:
    with serving(tmp_path, US) as node:
        for _ in range(500):
            os.kill(node.child.pid, signal.SIGHUP)
        node.child.terminate()
        assert node.child.wait(PATIENCE) == 0


# --- the three descriptors -------------------------------------------------------------------------------------------

CLOSED = """
import os, sys
for number in map(int, sys.argv[1].split(",")):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "minipacs", *sys.argv[2:]])
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "0,1", "1,2", "0,1,2"])
def test_no_socket_is_a_stream_that_was_closed(closed: str, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "peers.toml").write_text(US)
    sockets = tmp_path / "minipacs"
    with running(
        [sys.executable, "-c", CLOSED, closed, "serve", "--port", "0"],
        log=tmp_path / "log",
        ready=lambda _: sockets.is_dir() and any(sockets.glob("*.sock")),
        env=environment() | {"XDG_RUNTIME_DIR": str(tmp_path)},
        cwd=tmp_path,
    ) as node:
        streams = {number: os.readlink(f"/proc/{node.pid}/fd/{number}") for number in range(3)}
        assert all(streams[int(number)] == os.devnull for number in closed.split(","))
        assert set(streams.values()) <= {os.devnull, str(tmp_path / "log")}
        node.terminate()
        assert node.wait(PATIENCE) == 0
