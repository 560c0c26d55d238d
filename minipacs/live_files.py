"""What files say, followed while they change: read, checked, and only then exchanged. It knows no content of any file.

A reader takes what is in force, once for what it does, and no lock. One thread of ours alone writes it.
"""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Generic, Self, TypeAlias, TypeVar

from minipacs.control_place import is_same
from minipacs.errors import FileError
from minipacs.file_watch import TELLS_CLOSE, Change, FileWatch
from minipacs.writers import is_open_for_writing, writer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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
    Change.LOST: 0.0,
    Change.WRITING: _WRITER_PATIENCE,
}

_SETTLED = 0.05
"""Seconds that the files have to stay as they are after a look at them, before what was seen counts.

Whoever wrote while we looked has gone on by then, or we have been told of it.
"""

_SETTLED_WHOLE = 0.03
"""The same for what was renamed into place: the wait is for those alone who write to it behind that."""

CONFIRMATION = 0.2
"""Seconds for which a fault, a file that is gone, or content that is doubtful has to last before it counts.

Editors truncate, then write; what is seen between is not what anybody meant. A file renamed into place is.
"""

_LONGEST = 1.0
"""Seconds of changes without a pause, after which what was renamed into place is taken up without its staying there."""

_RETRY = 1.0
"""Seconds after which the files are read again when the system had nothing left to open them with."""

_PATIENCE = 3.0
"""Seconds for which a thread waits until it is decided, as whoever calls does (listener.py)."""

_NOW, _STOP = object(), object()

_LOSS = 60.0
"""Seconds in which one loss of changes is logged; there may be many where others rename files without a pause."""

V = TypeVar("V")

_Stamp: TypeAlias = tuple[tuple[int, ...] | None, ...]


class _Question:
    """Whether it is decided about what the files hold.

    Args:
        told: called once it is.
    """

    def __init__(self, told: Callable[[], object]) -> None:
        self.told = told


class LiveFiles(ABC, Generic[V]):
    """What the files at *paths* say together, for as long as a ``with`` block runs.

    Args:
        paths: the files.
        error: what is raised of them.
        confirmation: seconds for which what is doubtful has to last before it counts.

    Attributes:
        current: what is in force; a change puts another value in its place.
        watch_error: why changes are not seen by themselves; None while they are.

    Raises:
        FileError: the files are there, and not valid; with every fault.
    """

    current: V

    def __init__(self, paths: Sequence[Path], error: type[FileError], confirmation: float = CONFIRMATION) -> None:
        self.watch_error: OSError | None = None
        self._paths = paths
        self._error = error
        self._confirmation = confirmation
        self._faults: tuple[str, ...] = ()
        self._decided: _Stamp | None = None  # of the files, when it was decided about what they say
        self._waiting: list[_Question] = []
        self._begun_at = 0.0
        self._is_resting = True  # nothing is to be decided; a retry may be due all the same
        self._loss_told = -_LOSS
        self._orders: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._watch = FileWatch(paths, self._orders.put)
        self._thread = threading.Thread(target=self._run, name="minipacs-reload", daemon=True)

    def __enter__(self) -> Self:
        """Read the files, and follow them from before that on, so that nothing between is missed."""
        try:
            self._watch.start()
        except OSError as error:
            self._lose_watch(error)
        self._decided = self._stamp()
        seen = self._look()
        if not isinstance(seen, FileError):
            self.current = seen
        elif self._can_begin_without():
            self._faults = seen.faults
        else:
            self._watch.stop()
            raise seen
        self._begun(self._faults)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Follow them no more."""
        self._orders.put(_STOP)
        self._thread.join()
        self._watch.stop()  # behind the thread, which follows the files by it

    def reload(self) -> None:
        """Read the files at once; what they say counts without waiting for it to last. Returns before that is done."""
        self._orders.put(_NOW)

    def is_up_to_date(self, told: Callable[[], object]) -> bool:
        """Whether it is decided about what the files hold at this moment: it is in force, or was refused.

        No watch is perfect: a mount or a write by another name of the file is told by none. So whoever acts on what is
        in force looks; that costs a `stat` a file. Where it is not decided, the files are read, by the rules for every
        change.

        Args:
            told: called once it is decided, if it is not; in the thread.
        """
        if self._decided == self._stamp():
            return True
        self._orders.put(_Question(told))
        return False

    def now(self) -> V:
        """Return what is in force, once it is decided about what the files hold, or is late; not for an event loop."""
        decided = threading.Event()
        if not self.is_up_to_date(decided.set):
            decided.wait(_PATIENCE)
        return self.current

    @property
    def faults(self) -> tuple[str, ...]:
        """Why what the files say was not taken, a line each; empty when it was."""
        return self._faults

    def concerns(self, path: str) -> bool:
        """Whether the file at *path* is one of ours, by that name or another."""
        return any(is_same(path, str(one)) for one in self._paths)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(self._paths)

    # --- what they are is known to those who derive from us -----------------------------------------------------------

    @abstractmethod
    def _read(self) -> V:
        """Return what the files say; raises FileError."""

    def _can_begin_without(self) -> bool:
        """Whether a fault that is there at the start is no reason not to begin."""
        return False

    def _is_doubtful(self, seen: V) -> bool:  # noqa: ARG002 - for those who know better
        """Whether *seen* may be what nobody meant, though it is valid."""
        return False

    @abstractmethod
    def _begun(self, faults: tuple[str, ...]) -> None:
        """Take note of the first look."""

    @abstractmethod
    def _exchanged(self, old: V) -> None:
        """Take note that `current` is another, or valid again and as it was. In the thread."""

    @abstractmethod
    def _refused(self, faults: tuple[str, ...]) -> None:
        """Take note that what the files say now is not taken. In the thread."""

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Wait for changes without ever waking up for nothing; look when they pause, and act when they stay away."""
        due: float | None = None
        seen: V | FileError | None = None
        stamp: _Stamp | None = None
        is_whole = is_doubted = has_waited = False
        while True:
            order = self._next_order(due)
            if order is _STOP:
                self._answer()
                return
            if isinstance(order, _Question):
                self._waiting.append(order)
                if self._decided == self._stamp():
                    self._answer()
                elif due is None or self._is_resting:
                    due, seen, is_whole, is_doubted, has_waited = monotonic(), None, False, False, False
                    self._begin()
            elif isinstance(order, Change):
                due, seen = monotonic() + _PAUSES[order], None
                is_whole, is_doubted, has_waited = order is Change.REPLACED, False, order is Change.WRITING
                self._begin()
            elif order is _NOW:
                self._follow()
                stamp, seen = self._stamp(), self._look()
                self._take_up(seen, stamp, is_certain=True)
                due, seen = _next_try(seen, due), None
            elif self._follow():  # what happened in the new folder before we watched it was not told to us
                due, seen = monotonic() + _PAUSES[Change.CREATED], None
            elif not has_waited and any(map(is_open_for_writing, self._paths)):
                due, seen, has_waited = monotonic() + _WRITER_PATIENCE, None, True
            elif seen is None or stamp != self._stamp():
                stamp = self._stamp()
                due, seen = monotonic() + (_SETTLED_WHOLE if is_whole else _SETTLED), self._look()
                if is_whole and monotonic() > self._begun_at + _LONGEST and not isinstance(seen, FileError):
                    self._begun_at = monotonic()
                    self._take_up(seen, stamp, is_certain=False, is_whole=True)
            else:
                assert stamp is not None
                is_doubted = not self._take_up(seen, stamp, is_doubted, is_whole)
                self._is_resting = not is_doubted
                due, seen = monotonic() + self._confirmation if is_doubted else _next_try(seen, None), None

    def _begin(self) -> None:
        """Take note that there is something to be decided."""
        if self._is_resting:
            self._is_resting, self._begun_at = False, monotonic()

    def _next_order(self, due: float | None) -> object:
        """Return the next order, or None when *due* has come before one."""
        try:
            order = self._orders.get(timeout=None if due is None else max(0.0, due - monotonic()))
        except queue.Empty:
            return None
        if order is Change.LOST and monotonic() >= self._loss_told + _LOSS:
            self._loss_told = monotonic()
            files = " and ".join(map(str, self._paths))
            logger.warning("more happened beside %s than the system tells: what they say is read again", files)
        return order

    def _answer(self) -> None:
        """Tell those who asked that it is decided."""
        waiting, self._waiting = self._waiting, []
        for question in waiting:
            question.told()

    def _follow(self) -> bool:
        """Watch where the files are now; whether that is another folder than before."""
        if self.watch_error is None:
            try:
                return self._watch.update()
            except OSError as error:
                self._lose_watch(error)
        return False

    def _lose_watch(self, error: OSError) -> None:
        self.watch_error = error
        logger.warning("changes of %s are not seen (%s): reload by SIGHUP", " and ".join(map(str, self._paths)), error)

    def _stamp(self) -> _Stamp:
        return tuple(map(_stamp_of, self._paths))

    def _look(self) -> V | FileError:
        """Return what the files say, or why it is not to be taken: what is still written is no one's table yet."""
        before = self._stamp()
        try:
            seen = self._read()
        except FileError as error:
            return error
        for path in self._paths:
            if (process := writer_of(path)) is not None:
                rule = f"{path}: file: must be closed by whoever writes it, not open for writing in process {process}"
                return self._error([rule], is_passing=True)
        if before != self._stamp():
            rule = f"{self._paths[0]}: file: must stay as it is while it is read"
            return self._error([rule], is_passing=True)
        return seen

    def _take_up(self, seen: V | FileError, stamp: _Stamp, is_certain: bool, is_whole: bool = False) -> bool:
        """Act on what was seen; False when that is doubtful and has to last first.

        Args:
            seen: what the files say, or why they say nothing.
            stamp: theirs, from before they were read.
            is_certain: a fault counts, a file that is gone, and what is doubtful.
            is_whole: what is doubtful counts.
        """
        if isinstance(seen, FileError):
            if not is_certain and seen.faults != self._faults:
                return False
            if seen.faults != self._faults:
                self._faults = seen.faults
                self._refused(seen.faults)
        elif self._is_doubtful(seen) and not (is_whole or is_certain):
            return False
        else:
            self._exchange(seen)
        self._decided = stamp
        self._answer()
        return True

    def _exchange(self, seen: V) -> None:
        old, had_faults = self.current, bool(self._faults)
        self._faults = ()
        if seen != old or had_faults:
            self.current = seen
            self._exchanged(old)


def _next_try(seen: object, due: float | None) -> float | None:
    """When to look again: *due*, or soon when it is not the files that are at fault."""
    is_passing = isinstance(seen, FileError) and seen.is_passing
    return monotonic() + _RETRY if is_passing else due


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    """What cannot stay the same when somebody writes to the file or puts another in its place.

    The last change of its inode is told by no clock that its writer sets, as the last change of its content is.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
