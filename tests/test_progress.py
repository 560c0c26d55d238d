"""The line on the terminal while a peer works for us: when it is shown, where, and that nothing is left of it."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt

from minipacs import Peer

from .peers.dcmtk import STORESCP, storescp
from .peers.node import MINIPACS, environment, run_minipacs
from .peers.required import required
from .peers.scp import answering
from .test_service_rows import CT, IMAGES

AWAY = "\r\x1b[K"  # to the first column, and clear what is there
PATIENCE = 20.0
COMMANDS = {
    "store": (r"storing at {peer}  \[#{{4}}-{{26}}\]  1 of 7 … \d+ s left", "store", str(IMAGES)),
    "find": (r"asking {peer} … \d s", "find"),
    "move": (r"moving from {peer} to MINIPACS  \[#{{15}}-{{15}}\]  1 of 2 … \d s left", "move", "PatientID=X"),
    "get": (r"getting from {peer}  \[#{{15}}-{{15}}\]  1 of 2 … \d s left", "get", "PatientID=X", "--output", "out"),
}


@dataclass
class Terminal:
    """What came to a terminal, as it came."""

    text: str = ""
    told: threading.Event = field(default_factory=threading.Event)


class SlowPeer:
    """Answers the first of two, and the second when the event is set."""

    def __init__(self, released: threading.Event, destination: int) -> None:
        self._released = released
        self._destination = destination
        self._stored = 0

    def store(self, _: evt.Event) -> int:
        self._stored += 1
        if self._stored == 2:
            self._released.wait(PATIENCE)
        return 0

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        if "SOPClassesInStudy" in event.identifier:  # what is asked before a C-GET
            return
        match = Dataset()
        match.PatientID = "X"
        yield 0xFF00, match
        self._released.wait(PATIENCE)
        yield 0xFF00, match

    def get(self, _: evt.Event) -> Iterator[object]:
        yield 2
        image = dcmread(CT)
        yield 0xFF00, image
        self._released.wait(PATIENCE)
        image.SOPInstanceUID += "1"
        yield 0xFF00, image

    def move(self, event: evt.Event) -> Iterator[object]:
        image = [build_context(dcmread(CT).SOPClassUID)]
        yield "127.0.0.1", self._destination, {"contexts": image}
        yield from self.get(event)


@contextmanager
def slow_peer(released: threading.Event, folder: Path) -> Iterator[Peer]:
    with storescp(folder / "scp", ae_title="MINIPACS") as scp:
        slow = SlowPeer(released, scp.port)
        handlers = [
            (evt.EVT_C_STORE, slow.store),
            (evt.EVT_C_FIND, slow.find),
            (evt.EVT_C_GET, slow.get),
            (evt.EVT_C_MOVE, slow.move),
        ]
        with answering(handlers) as peer:
            yield peer


def run_on_terminal(folder: Path, *arguments: str, columns: int = 120, until: threading.Event) -> tuple[str, str]:
    """Run a command whose standard error is a terminal, and set the event when a line is there; output and that."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [*MINIPACS, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    ) as child:
        os.close(theirs)
        text = b""
        deadline = monotonic() + 2 * PATIENCE
        try:
            while monotonic() < deadline:
                if select.select([ours], [], [], 0.1)[0]:
                    try:
                        text += os.read(ours, 1 << 16)
                    except OSError:  # EIO: nobody has the terminal any more
                        break
                if "…".encode() in text:
                    until.set()
            assert child.stdout is not None
            assert child.wait(PATIENCE) == 0
            return child.stdout.read().decode(), text.decode()
        finally:
            child.kill()
            os.close(ours)


def released(is_set: bool = False) -> threading.Event:
    event = threading.Event()
    if is_set:
        event.set()
    return event


pytestmark = required(STORESCP)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_it_is_shown_on_standard_error_alone_and_nothing_is_left_of_it(name: str, form: str, tmp_path: Path) -> None:
    line, command, *keys = COMMANDS[name]
    wait = released()
    with slow_peer(wait, tmp_path) as peer:
        options = ["--json"] if form == "json" else []
        out, text = run_on_terminal(tmp_path, command, str(peer), *keys, *options, until=wait)
    assert re.search(line.format(peer=re.escape(str(peer))), text), text
    shown = text.removesuffix("2 matches\r\n")
    assert shown.endswith(AWAY)
    assert "\n" not in shown
    assert "\x1b" not in shown.replace("\x1b[K", ""), "the cursor is let alone"
    assert "…" not in out
    assert "\x1b" not in out
    if form == "json":
        assert all(json.loads(each) for each in out.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_not_shown_for_what_takes_less_than_a_second(name: str, tmp_path: Path) -> None:
    _, command, *keys = COMMANDS[name]
    with slow_peer(released(is_set=True), tmp_path) as peer:
        _, text = run_on_terminal(tmp_path, command, str(peer), *keys, until=released())
    assert text.removesuffix("2 matches\r\n") == ""


@pytest.mark.parametrize("columns", [10, 40, 60])
def test_it_is_never_wider_than_the_terminal(columns: int, tmp_path: Path) -> None:
    """What is wrapped cannot be taken away."""
    wait = released()
    with slow_peer(wait, tmp_path) as peer:
        timer = threading.Timer(4, wait.set)  # a terminal of 10 columns does not show how long it takes
        timer.start()
        _, text = run_on_terminal(tmp_path, "store", str(peer), str(IMAGES), columns=columns, until=released())
        timer.cancel()
    lines = text.replace("\x1b[K", "").split("\r")
    assert max(map(len, lines)) == columns - 1


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_not_shown_where_standard_error_is_no_terminal(name: str, tmp_path: Path) -> None:
    _, command, *keys = COMMANDS[name]
    wait = released()
    with slow_peer(wait, tmp_path) as peer:
        timer = threading.Timer(2.5, wait.set)
        timer.start()
        done = run_minipacs(tmp_path, command, str(peer), *keys)
    assert (done.returncode, done.stderr.removesuffix("2 matches\n")) == (0, "")
