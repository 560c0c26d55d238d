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
from typing import TYPE_CHECKING

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

# watchdog 7 logs an error where a watch ends with events still to come, which may be the end of any watch.
logging.getLogger("watchdog.observers.inotify").addFilter(lambda record: "is inactive" not in record.getMessage())

_MOST_LINKS = 40  # as the kernel: more is a loop


class Change(Enum):
    """What happened to the file, or to something on its way."""

    WRITING = "its content changes, and the writer has not closed it"
    CREATED = "it is there; whether it is written still is not known"
    COMPLETE = "it was closed after writing"
    REPLACED = "something whole took the place of it, or of a link or folder on its way"
    GONE = "it, or a link or folder on its way, is gone"


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
        self._watches: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._names: dict[str, set[str]] = {}
        self._deleted: set[str] = set()

    def start(self) -> None:
        """Watch.

        Raises:
            OSError: the system lets us watch no more folders.
        """
        self._observer = Observer()
        self._observer.start()
        self.update()

    def stop(self) -> None:
        """Watch no more."""
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
        assert self._observer is not None
        has_new = False
        while True:
            self._names = self._folders()
            wanted = {folder: _identity(folder) for folder in self._names}
            while self._deleted:  # another folder may have got its number
                self._forget(self._deleted.pop())
            if wanted == {folder: identity for folder, (_, identity) in self._watches.items()}:
                return has_new
            for folder in [f for f, (_, identity) in self._watches.items() if wanted.get(f) != identity]:
                self._forget(folder)
            for folder, identity in wanted.items():
                if folder not in self._watches and identity is not None:
                    with suppress(FileNotFoundError, NotADirectoryError):  # gone meanwhile: look again
                        watch = self._observer.schedule(_Handler(self), folder, event_filter=list(_CHANGES))
                        self._watches[folder] = (watch, identity)
                        has_new = True

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

    def _folders(self) -> dict[str, set[str]]:
        names: dict[str, set[str]] = {}
        for path in self._paths:
            for folder, some in folders_on_the_way(path).items():
                names.setdefault(folder, set()).update(some)
        return names

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


def folders_on_the_way(path: Path) -> dict[str, set[str]]:
    """Return the folders to watch for *path*, and in each the names that matter.

    These are: the folder of each link on the way, the folder that the file is really in and the one above it, or the
    last that exists when something on the way is missing.
    """
    names: dict[str, set[str]] = {}
    todo = list(reversed(path.parts[1:]))
    folder, above = path.anchor, ""
    links = 0
    while todo:
        name = todo.pop()
        step = os.path.join(folder, name)
        if os.path.islink(step) and links < _MOST_LINKS:
            links += 1
            names.setdefault(folder, set()).add(name)
            try:
                target = Path(folder, os.readlink(step))
            except OSError:  # gone meanwhile; what took its place is told
                break
            todo += reversed(Path(os.path.normpath(target)).parts[1:])
            folder, above = path.anchor, ""
        elif todo and os.path.isdir(step):
            folder, above = step, folder
        else:  # the file itself, or the first thing that is missing
            names.setdefault(folder, set()).add(name)
            if above:
                names.setdefault(above, set()).add(os.path.basename(folder))
            break
    return names


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
