"""The table under random edits by several writers: no peer is ever admitted that no valid table contained.

Every writer is a handle of this one process, so that whoever writes in between, and how much is in the file by then, is
for hypothesis to choose; a reader looks all the time. What may be admitted is what was in a file that somebody had
finished: half of an entry, such as one without its last line `allow_from`, is not, however long its writer rests.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from minipacs import Peer, PeerTable, PeerTableError
from minipacs.reload import LivePeerTable, Reload

from .peers.process import wait_until

PATIENCE = 20.0
NAMES = "abcd"
NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "192.168.7.9", "fd00::/8")

tables = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NETWORKS), min_size=1), max_size=4)
broken = st.sampled_from([b"", b"[peers.a", b"[peers.a]\n", b'[peers.a]\nae_title = "\xff"\n', b"\0" * 40, b"x = 1\n"])
writers = st.integers(0, 1)
lines = st.integers(0, 8)
meddling = st.sampled_from(["", "touch", "change its mode", "rename it away and back", "link to it"])
rests = st.sampled_from([0.0, 0.0, 0.12, 1.1])


def text_of(table: dict[str, list[str]]) -> bytes:
    """What restricts a peer comes last: whoever reads half of it reads a peer that may call from anywhere."""
    lines = []
    for name, networks in table.items():
        lines += [f"[peers.{name}]", f'ae_title = "{name.upper()}"', f"allow_from = {json.dumps(networks)}", ""]
    return "\n".join(lines).encode()


texts = st.one_of(tables.map(text_of), broken)


class Writer:
    """Somebody who writes in place, piece by piece."""

    def __init__(self, file: BinaryIO, text: bytes) -> None:
        self.file = file
        self.inode = os.fstat(file.fileno()).st_ino
        self._rest = text

    def write(self, lines: int) -> None:
        length = len(b"".join(self._rest.splitlines(keepends=True)[:lines]))
        self.file.write(self._rest[:length])
        self.file.flush()
        self._rest = self._rest[length:]

    def finish(self) -> None:
        self.write(1000)
        self.file.truncate()


class Edits(RuleBasedStateMachine):
    """A folder, its writers, and the table that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="minipacs-test-"))
        self.path = self.folder / "peers.toml"
        self.writers: dict[int, Writer] = {}
        self.admissible: set[Peer] = set()
        self.seen: list[PeerTable] = []
        self.told: list[Reload] = []
        self.count = 0
        self.steps: list[tuple[object, ...]] = []
        self._is_over = threading.Event()

    @initialize(text=tables.map(text_of))
    def begin(self, text: bytes) -> None:
        self.admit(text)
        self.path.write_bytes(text)
        self.live = LivePeerTable(self.path, self.told.append).__enter__()
        self.reader = threading.Thread(target=self._look)
        self.reader.start()

    def teardown(self) -> None:
        try:
            if hasattr(self, "live"):
                self.settle()
                self._is_over.set()
                self.reader.join()
                self.live.__exit__()
                self.only_what_was_whole_is_admitted()
        finally:
            self._is_over.set()
            for writer in self.writers.values():
                writer.file.close()
            shutil.rmtree(self.folder)

    def _look(self) -> None:
        last = None
        while not self._is_over.wait(0.0005):
            current = self.live.current
            if current is not last:
                self.seen.append(current)
                last = current

    # --- what may be admitted ----------------------------------------------------------------------------------------

    def admit(self, text: bytes) -> None:
        with suppress(PeerTableError):
            self.admissible |= set(PeerTable.parse(text).values())

    def admit_what_is_there(self) -> None:
        with suppress(OSError):
            self.admit(self.path.read_bytes())

    @contextmanager
    def edit(self, *step: object) -> Iterator[None]:
        self.steps.append(step)
        yield

    def is_written(self, inode: int) -> bool:
        return any(writer.inode == inode for writer in self.writers.values())

    # --- the edits ---------------------------------------------------------------------------------------------------

    @rule(number=writers, text=tables.map(text_of), truncates=st.booleans(), lines=lines, then=meddling, seconds=rests)
    def open(self, number: int, text: bytes, truncates: bool, lines: int, then: str, seconds: float) -> None:
        with self.edit("open", number, text, truncates, lines):
            if number in self.writers or self.path.is_dir() or not (truncates or self.path.exists()):
                return
            self.writers[number] = Writer(self.path.open("wb" if truncates else "r+b"), text)
            self.writers[number].write(lines)
        self.meddle(then, seconds)

    @rule(number=writers, lines=lines, then=meddling, seconds=rests)
    def go_on(self, number: int, lines: int, then: str, seconds: float) -> None:
        with self.edit("go on", number, lines):
            if number in self.writers:
                self.writers[number].write(lines)
        self.meddle(then, seconds)

    @rule(then=meddling, seconds=rests)
    def meddle(self, then: str, seconds: float) -> None:
        """Do what makes the file look whole, without a change of what is in it; and rest."""
        with self.edit(then, seconds):
            if then == "touch" and self.path.is_file():
                self.path.open("r+b").close()
            elif then == "change its mode" and self.path.is_file():
                self.path.chmod(0o644)
            elif then == "rename it away and back" and os.path.lexists(self.path):
                backup = self.folder / "peers.toml~"
                self.path.rename(backup)
                backup.rename(self.path)
            elif then == "link to it" and self.path.is_file() and not self.path.is_symlink():
                real = self.folder / f"moved {self.count}"
                self.count += 1
                self.path.rename(real)
                self.path.symlink_to(real)
            time.sleep(seconds)

    @rule(number=writers)
    def finish(self, number: int) -> None:
        with self.edit("finish", number):
            writer = self.writers.pop(number, None)
            if writer is None:
                return
            writer.finish()
            if not self.is_written(writer.inode):  # what is in it now is what its writers, together, have made of it
                os.lseek(writer.file.fileno(), 0, os.SEEK_SET)
                self.admit(Path(f"/proc/self/fd/{writer.file.fileno()}").read_bytes())
            writer.file.close()

    @rule(text=texts)
    def rename_over(self, text: bytes) -> None:
        with self.edit("rename over", text):
            self.admit(text)
            temporary = self.folder / f"temporary {self.count}"
            self.count += 1
            temporary.write_bytes(text)
            if self.path.is_dir() and not self.path.is_symlink():
                self.path.rmdir()
            temporary.replace(self.path)

    @rule(text=texts)
    def exchange_a_link(self, text: bytes) -> None:
        with self.edit("link", text):
            self.admit(text)
            real = self.folder / f"real {self.count}"
            real.mkdir()
            (real / "peers.toml").write_bytes(text)
            link = self.folder / f"link {self.count}"
            self.count += 1
            link.symlink_to(real / "peers.toml")
            if self.path.is_dir() and not self.path.is_symlink():
                self.path.rmdir()
            link.replace(self.path)

    @rule()
    def delete(self) -> None:
        with self.edit("delete"):
            if self.path.is_dir() and not self.path.is_symlink():
                self.path.rmdir()
            else:
                self.path.unlink(missing_ok=True)

    @rule()
    def put_a_folder_there(self) -> None:
        with self.edit("folder"):
            self.path.unlink(missing_ok=True) if not self.path.is_dir() else None
            self.path.mkdir(exist_ok=True)

    @rule()
    def put_a_dangling_link_there(self) -> None:
        with self.edit("dangling link"):
            link = self.folder / f"dangling {self.count}"
            self.count += 1
            link.symlink_to("nowhere")
            if not self.path.is_dir() or self.path.is_symlink():
                link.replace(self.path)

    @rule()
    def hang_up(self) -> None:
        with self.edit("hang up"):
            self.live.reload()

    # --- what has to be so -------------------------------------------------------------------------------------------

    @invariant()
    def only_what_was_whole_is_admitted(self) -> None:
        while self.seen:
            for peer in self.seen.pop(0).values():
                assert peer in self.admissible, f"{peer!r} was in no table that was whole; {self.steps}"

    @precondition(lambda self: not self.writers)
    @rule()
    def settle(self) -> None:
        """When nobody edits any more, the table in force is that of the file, or else it stays."""
        with self.edit("settle"):
            for number in list(self.writers):
                self.finish(number)
            self.admit_what_is_there()
            try:
                wanted = PeerTable.read(self.path)
            except PeerTableError:
                return
            wait_until(lambda: self.live.current == wanted, within=PATIENCE, what=f"the table {wanted!r}")


def test_no_peer_is_admitted_that_no_valid_table_contained() -> None:
    run_state_machine_as_test(
        Edits,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # what depends on time cannot be made shorter; the message has every step
            suppress_health_check=list(HealthCheck),
        ),
    )
