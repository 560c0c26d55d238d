"""Tells that a file may have changed, whichever way: written, renamed over, a link on its way exchanged, deleted.

The folders are watched, not the file: an editor that saves atomically puts another file in its place. It reads no
file and knows nothing of what is in it.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchdog.observers.api import BaseObserver, ObservedWatch

TELLS_CLOSE = sys.platform == "linux"
"""Whether the system tells that a writer has closed a file."""

_MOST_LINKS = 40  # as the kernel: more is a loop


class Change(Enum):
    """What happened to the file, or to something on its way."""

    WRITING = "its content changes, and the writer has not closed it"
    CREATED = "it is there; whether it is written still is not known"
    COMPLETE = "it was closed after writing"
    REPLACED = "something whole took the place of it, or of a link or folder on its way"
    GONE = "it, or a link or folder on its way, is gone"
    LOST = "what happened is not known: the watcher has lost it"


_CHANGES: dict[type[FileSystemEvent], Change] = {
    DirCreatedEvent: Change.CREATED,
    FileModifiedEvent: Change.WRITING,
    FileAttribEvent: Change.WRITING,  # who may read it; whoever writes may change that in the middle
    FileCreatedEvent: Change.CREATED,
    FileClosedEvent: Change.COMPLETE,
    FileDeletedEvent: Change.GONE,
    DirDeletedEvent: Change.GONE,
    FileMovedEvent: Change.REPLACED,
    DirMovedEvent: Change.REPLACED,
}

_EXCHANGES: list[type[FileSystemEvent]] = [DirMovedEvent, FileMovedEvent]
"""What may happen to a folder far above the file. What is made and written beside it, as in /tmp, wakes nobody."""


_State: TypeAlias = tuple[tuple[int, int], bool]
"""Of a folder: its device and inode, and whether all is told of what happens in it."""


class FileWatch:
    """Watches every folder on which the files at *paths* depend.

    Args:
        paths: the files; they need not exist, nor their folders.
        told: called in a thread of the watcher for each change; it must be quick.
    """

    def __init__(self, paths: Sequence[Path], told: Callable[[Change], None]) -> None:
        self._paths = [path.absolute() for path in paths]
        self._told = told
        self._observer: BaseObserver | None = None
        self._watches: dict[str, tuple[ObservedWatch, _State]] = {}
        self._names: dict[str, set[str]] = {}
        self._deleted: set[str] = set()

    def start(self) -> None:
        """Watch.

        Raises:
            OSError: the system lets us watch no more folders.
        """
        observer: Any = Observer
        self._observer = observer(generate_full_events=True) if TELLS_CLOSE else observer()
        assert self._observer is not None
        self._observer.start()
        _started.add(self)
        self.update()

    def stop(self) -> None:
        """Watch no more."""
        _started.discard(self)
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def update(self) -> bool:
        """Follow the links anew, after a change; a folder that went and came again is another folder.

        Returns:
            Whether a folder is watched that was not before.

        Raises:
            OSError: the system lets us watch no more folders.
        """
        has_new = False
        while True:
            wanted = self._wanted()
            while self._deleted:  # another folder may have got its number
                self._forget(self._deleted.pop())
            if wanted == {folder: state for folder, (_, state) in self._watches.items()}:
                return has_new
            for folder in [f for f, (_, state) in self._watches.items() if wanted.get(f) != state]:
                self._forget(folder)
            for folder, state in wanted.items():
                if folder not in self._watches and state is not None:
                    has_new |= self._watch(folder, state)

    def lose(self) -> None:
        """Tell that something was not told."""
        self._told(Change.LOST)

    def take(self, event: FileSystemEvent) -> None:
        """Pass on what concerns us; in a folder such as /tmp most does not."""
        paths = (os.fsdecode(event.src_path), os.fsdecode(event.dest_path))
        if not any(self._concerns(path) for path in paths if path):
            return
        if isinstance(event, DirDeletedEvent):
            self._deleted.add(paths[0])
        change = _CHANGES[type(event)]
        if change is Change.REPLACED and not self._concerns(paths[1]):
            change = Change.GONE  # moved away
        elif change is Change.CREATED and os.path.islink(paths[0]):
            change = Change.REPLACED  # a link is whole as soon as it is there
        self._told(change)

    def _wanted(self) -> dict[str, _State | None]:
        """The folders to watch now, each as it is to be watched; None where it is gone meanwhile."""
        names: dict[str, set[str]] = {}
        near: set[str] = set()
        for path in self._paths:
            for folder, some in folders_on_the_way(path, near).items():
                names.setdefault(folder, set()).update(some)
        self._names = names
        identities = {folder: _identity(folder) for folder in names}
        return {folder: None if one is None else (one, folder in near) for folder, one in identities.items()}

    def _watch(self, folder: str, state: _State) -> bool:
        """Watch a folder; False when it is gone meanwhile."""
        assert self._observer is not None
        events = list(_CHANGES) if state[1] else _EXCHANGES
        with suppress(FileNotFoundError, NotADirectoryError):
            self._watches[folder] = self._observer.schedule(_Handler(self), folder, event_filter=events), state
            return True
        return False

    def _forget(self, folder: str) -> None:
        assert self._observer is not None
        watch = self._watches.pop(folder, None)
        if watch is not None:
            with suppress(KeyError):
                self._observer.unschedule(watch[0])

    def _concerns(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._names.get(folder, ()) or path in self._names


class _Handler(FileSystemEventHandler):
    def __init__(self, watch: FileWatch) -> None:
        self._watch = watch

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._watch.take(event)


class _Complaints(logging.Filter):
    """Whatever watchdog complains of, the files are looked at again; it has no way to say so but the log.

    Such as the overflow of the kernel's queue (inotify(7), IN_Q_OVERFLOW). Not so where a watch ends with events still
    to come, which may be the end of any watch.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let no record pass: who follows the files logs what it means for them."""
        if "is inactive" not in record.getMessage():
            for watch in list(_started):
                watch.lose()
        return False


_started: WeakSet[FileWatch] = WeakSet()

for _module in ("inotify", "inotify_c", "api"):
    logging.getLogger(f"watchdog.observers.{_module}").addFilter(_Complaints())


def folders_on_the_way(path: Path, near: set[str]) -> dict[str, set[str]]:
    """Return the folders to watch for *path*, and in each the names that matter.

    They are those of every component, as the kernel resolves it (path_resolution(7)): behind a link, ``..`` is the
    folder above that to which the link leads. It ends where something is missing.

    Args:
        path: the file.
        near: to these are added the folders in which more than an exchange of folders matters: that of each link on
            the way, the folder that the file is really in and the one above it, or the last that exists.
    """
    names: dict[str, set[str]] = {}
    todo = list(reversed(path.parts[1:]))
    folder = path.anchor
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            folder = os.path.dirname(folder)
            continue
        names.setdefault(folder, set()).add(name)
        step = os.path.join(folder, name)
        if os.path.islink(step) and links < _MOST_LINKS:
            links += 1
            near.add(folder)
            try:
                target = Path(os.readlink(step))
            except OSError:  # gone meanwhile; what took its place is told
                break
            todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            folder = target.anchor or folder
        elif todo and os.path.isdir(step):
            folder = step
        else:  # the file itself, or the first thing that is missing
            near |= {folder, os.path.dirname(folder)}
            break
    return names


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
