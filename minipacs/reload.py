"""The peer table that follows its file: read, checked, and only then exchanged.

A reader takes `live.current`, once for what it does, and no lock. One thread of ours alone writes it.
"""

from __future__ import annotations

import logging
import queue
import threading
from time import monotonic, time
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.errors import PeerTableError
from minipacs.file_watch import TELLS_CLOSE, Change, FileWatch
from minipacs.node_status import ReloadResult, TableReload, changes_as_text
from minipacs.peers import PeerTable, counted
from minipacs.timestamp import rfc3339
from minipacs.toml_file import is_there

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger("minipacs")

_WRITER_PATIENCE = 0.8 if TELLS_CLOSE else 0.2
"""Seconds without a change after which a file that its writer does not close is read all the same."""

# How long to wait, in seconds, for more of the same after each change. A rename is whole at once; a file that was
# created may be one that was moved here, or one to which nothing is written yet.
_PAUSES = {
    Change.REPLACED: 0.0,
    Change.GONE: 0.0,
    Change.COMPLETE: 0.0,
    Change.CREATED: 0.05,
    Change.WRITING: _WRITER_PATIENCE,
}

_SETTLED = 0.05
"""Seconds that the file has to stay as it is after a look at it, before what was seen counts.

Whoever wrote while we looked has gone on by then, or we have been told of it.
"""

CONFIRMATION = 0.2
"""Seconds for which a fault, a file that is gone, or a table written without peers has to last before it counts.

Editors truncate, then write; what is seen between is not what anybody meant. A file renamed into place is.
"""

_RETRY = 1.0
"""Seconds after which the file is read again when the system had nothing left to open it with."""

_NOW, _STOP = object(), object()


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


class LivePeerTable:
    """The table in the file at *path*, for as long as a ``with`` block runs.

    Args:
        path: the file; while it does not exist, nobody is admitted.
        told: called in a thread of its own with each Reload; equal content is not told.

    Attributes:
        current: the table in force; a reload puts another in its place.
        last_reload: how the file was last read.
        watch_error: why changes are not seen by themselves; None while they are.

    Raises:
        PeerTableError: there is a file, and it is not valid; with every fault.
    """

    def __init__(self, path: Path, told: Callable[[Reload], None]) -> None:
        self.current = PeerTable()
        self.watch_error: OSError | None = None
        self._path = path
        self._told = told
        self.last_reload = TableReload(time=rfc3339(time()), result="missing")
        self._faults: tuple[str, ...] = ()
        self._orders: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._watch = FileWatch(path, self._orders.put)
        self._thread = threading.Thread(target=self._run, name="minipacs-reload", daemon=True)

    def __enter__(self) -> LivePeerTable:
        """Read the file, and follow it from before that on, so that nothing between is missed."""
        try:
            self._watch.start()
        except OSError as error:
            self._lose_watch(error)
        try:
            self.current = self._read()
            self._note("loaded")
        except PeerTableError as error:
            if is_there(self._path):
                self._watch.stop()
                raise
            self._faults = error.faults
            self._note("missing", faults=error.faults)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Follow it no more."""
        self._watch.stop()
        self._orders.put(_STOP)
        self._thread.join()

    def reload(self) -> None:
        """Read the file at once; what it says counts without waiting for it to last. Returns before that is done."""
        self._orders.put(_NOW)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Wait for changes without ever waking up for nothing; look when they pause, and act when they stay away."""
        due: float | None = None
        seen: PeerTable | PeerTableError | None = None
        stamp: tuple[int, ...] | None = None
        is_whole = is_doubted = False
        while True:
            try:
                order = self._orders.get(timeout=None if due is None else max(0.0, due - monotonic()))
            except queue.Empty:
                order = None
            if order is _STOP:
                return
            if isinstance(order, Change):
                due, seen = monotonic() + _PAUSES[order], None
                is_whole, is_doubted = order is Change.REPLACED, False
            elif order is _NOW:
                self._follow()
                seen = self._look()
                self._take_up(seen, is_certain=True)
                due, seen = _next_try(seen, due), None
            elif self._follow():  # what happened in the new folder before we watched it was not told to us
                due, seen = monotonic() + _PAUSES[Change.CREATED], None
            elif seen is None or stamp != self._stamp():
                stamp = self._stamp()
                due, seen = monotonic() + _SETTLED, self._look()
            else:
                is_doubted = not self._take_up(seen, is_doubted, is_whole)
                due, seen = monotonic() + CONFIRMATION if is_doubted else _next_try(seen, None), None

    def _follow(self) -> bool:
        """Watch where the file is now; whether that is another folder than before."""
        if self.watch_error is None:
            try:
                return self._watch.update()
            except OSError as error:
                self._lose_watch(error)
        return False

    def _lose_watch(self, error: OSError) -> None:
        self.watch_error = error
        logger.warning("changes of %s are not seen (%s): reload by SIGHUP", self._path, error)

    def _stamp(self) -> tuple[int, ...] | None:
        """What cannot stay the same when somebody writes to the file or puts another in its place."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _look(self) -> PeerTable | PeerTableError:
        try:
            return self._read()
        except PeerTableError as error:
            return error

    def _take_up(self, seen: PeerTable | PeerTableError, is_certain: bool, is_whole: bool = False) -> bool:
        """Act on what was seen; False when that is doubtful and has to last first.

        Args:
            seen: what the file says, or why it says nothing.
            is_certain: a fault counts, a file that is gone, and a table without peers.
            is_whole: a table without peers counts.
        """
        if isinstance(seen, PeerTableError):
            if not is_certain and seen.faults != self._faults:
                return False
            self._refuse(seen.faults)
            return True
        if not seen and self.current and not (is_whole or is_certain):
            return False
        self._exchange(seen)
        return True

    def _read(self) -> PeerTable:
        return PeerTable.read(self._path)

    def _refuse(self, faults: tuple[str, ...]) -> None:
        if faults != self._faults:
            self._faults = faults
            self._note("invalid" if is_there(self._path) else "missing", faults=faults)
            self._told(Reload(source=str(self._path), count=len(self.current), faults=faults))

    def _exchange(self, table: PeerTable) -> None:
        old, had_faults = self.current, bool(self._faults)
        self._faults = ()
        if table == old and not had_faults:
            return
        self.current = table
        changes = {
            "added": tuple(name for name in table if name not in old),
            "removed": tuple(name for name in old if name not in table),
            "changed": tuple(name for name in table if name in old and table[name] != old[name]),
        }
        self._note("reloaded" if table != old else "valid-again", **changes)
        self._told(Reload(source=str(self._path), count=len(table), **changes))

    def _note(self, result: ReloadResult, **details: tuple[str, ...]) -> None:
        self.last_reload = TableReload(time=rfc3339(time()), result=result, **details)


def _next_try(seen: PeerTable | PeerTableError | None, due: float | None) -> float | None:
    """When to look again: *due*, or soon when it is not the file that is at fault."""
    is_passing = isinstance(seen, PeerTableError) and seen.is_passing
    return monotonic() + _RETRY if is_passing else due
