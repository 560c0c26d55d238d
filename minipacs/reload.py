"""The peer table that follows its file."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.errors import PeerTableError
from minipacs.live_files import LiveFiles
from minipacs.node_status import ReloadResult, TableReload, changes_as_text
from minipacs.peers import PeerTable, counted
from minipacs.timestamp import rfc3339
from minipacs.toml_file import is_there

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Reload(Struct, frozen=True, kw_only=True):
    """What came of reading the file again; exactly what a user has to know.

    Attributes:
        source: the file.
        added: names of peers that are new.
        removed: names of peers that are gone.
        changed: names of peers that are not as they were.
        count: how many peers are in force now.
        faults: why the file was not taken, a line each; empty when it was.
    """

    source: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    count: int = 0
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as one line."""
        peers = counted(self.count)
        if self.faults:
            return f"peers: the last good table stays in force ({peers}): {'; '.join(self.faults)}"
        text = changes_as_text(self.added, self.removed, self.changed)
        if not text:
            return f"peers: {self.source} is valid again, and as it was ({peers})"
        return f"peers: {text} ({peers})"


class LivePeerTable(LiveFiles[PeerTable]):
    """The table in the file at *path*, for as long as a ``with`` block runs.

    Args:
        path: the file; while it does not exist, nobody is admitted.
        told: called in a thread of its own with each Reload; equal content is not told.

    Attributes:
        current: the table in force; a reload puts another in its place.
        last_reload: how the file was last read.

    Raises:
        PeerTableError: there is a file, and it is not valid; with every fault.
    """

    def __init__(self, path: Path, told: Callable[[Reload], None]) -> None:
        super().__init__([path], PeerTableError)
        self.current = PeerTable.parse(b"")  # imports what reading needs, while there are descriptors for that
        self._path = path
        self._told = told
        self.last_reload = TableReload(time=rfc3339(time()), result="missing")

    def _read(self) -> PeerTable:
        return PeerTable.read(self._path)

    def _can_begin_without(self) -> bool:
        return not is_there(self._path)

    def _is_doubtful(self, seen: PeerTable) -> bool:
        """A table without peers, after one with peers: editors truncate before they write."""
        return not seen and bool(self.current)

    def _begun(self, faults: tuple[str, ...]) -> None:
        self._note("missing" if faults else "loaded", faults=faults)

    def _refused(self, faults: tuple[str, ...]) -> None:
        self._note("invalid" if is_there(self._path) else "missing", faults=faults)
        self._told(Reload(source=str(self._path), count=len(self.current), faults=faults))

    def _exchanged(self, old: PeerTable) -> None:
        table = self.current
        changes = {
            "added": tuple(name for name in table if name not in old),
            "removed": tuple(name for name in old if name not in table),
            "changed": tuple(name for name in table if name in old and table[name] != old[name]),
        }
        self._note("reloaded" if table != old else "valid-again", **changes)
        self._told(Reload(source=str(self._path), count=len(table), **changes))

    def _note(self, result: ReloadResult, **details: tuple[str, ...]) -> None:
        self.last_reload = TableReload(time=rfc3339(time()), result=result, **details)
