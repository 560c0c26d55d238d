"""Part 10 files in a folder, one an object: whole or not there, durable once kept, and never more than the limits.

The folder is that of one node. It has `objects/`, where each file is named after the validated SOP Instance UID, and
`incoming/`, where files grow before they are kept; what is left there by a crash is swept away. No file is read here.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from contextlib import suppress
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import Struct

from minipacs.errors import StorageError
from minipacs.rules import is_uid
from minipacs.services.durable import make_durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from minipacs.settings import StorageLimits

_OBJECTS, _SUFFIX = "objects", ".dcm"


class StoredObject(Struct, frozen=True):
    """What is known of one Part 10 file.

    Attributes:
        sop_instance_uid: of the object.
        sop_class_uid: of the object.
        transfer_syntax_uid: of its data set.
        path: the file.
        size: bytes of the file.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    size: int


class Kept(Enum):
    """What became of a file that is to be kept."""

    NEW = "new"
    IDENTICAL = "identical"  # it was there already
    OVERWRITTEN = "overwritten"
    REFUSED = "refused"  # another one has its UID, and stays


class ObjectFiles:
    """The objects in *folder*, which is made if it is not there.

    Args:
        folder: where they are.
        limits: what is kept at most.
        removed: told of each file that gave way to a newer one.

    Raises:
        StorageError: the folder cannot be used, or another node uses it.
    """

    def __init__(self, folder: Path, limits: StorageLimits, removed: Callable[[Path], None] = lambda _: None) -> None:
        self.folder = folder.absolute()
        self.incoming = self.folder / "incoming"
        self._objects = self.folder / _OBJECTS
        self._limits = limits
        self._removed = removed
        self._lock = threading.Lock()  # of what names are in use, and of the count
        self._count = 0
        self._oldest: deque[Path] | None = None  # read when the first has to give way
        try:
            self.incoming.mkdir(parents=True, exist_ok=True)
            if not self._objects.is_dir():
                self._make_folders()
            self._claim = _claimed(folder)
            for left in self.incoming.iterdir():
                left.unlink()
            make_durable(self.folder)
        except OSError as error:
            rule = f'{folder}: folder: must be one where objects can be kept, not "{error.strerror}"'
            raise StorageError([rule]) from None
        self._count = sum(1 for _ in self)

    def __iter__(self) -> Iterator[Path]:
        """Iterate over the files of all objects that were kept; in no order."""
        for folder in sorted(self._objects.iterdir()):
            if folder.is_dir():
                yield from (path for path in folder.iterdir() if path.suffix == _SUFFIX)

    def __len__(self) -> int:
        """Return how many objects there are."""
        return self._count

    def close(self) -> None:
        """Leave the folder to others."""
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    def path_of(self, sop_instance_uid: str) -> Path:
        """Return where the object of that UID is or would be; raises as place_of()."""
        return place_of(self.folder, sop_instance_uid)

    def remove(self, sop_instance_uid: str) -> bool:
        """Remove the object of that UID; False when there is none.

        Raises:
            ValueError: it is no UID.
            OSError: it cannot be removed.
        """
        place = self.path_of(sop_instance_uid)
        with self._lock:
            try:
                place.unlink()
            except FileNotFoundError:
                return False
            self._count -= 1
        self._removed(place)
        return True

    def new_file(self) -> Path:
        """Return the path of a file that may grow until it is kept; nobody else has it."""
        return self.incoming / f"{uuid4().hex}{_SUFFIX}"

    def room(self, size: int = 0) -> str:
        """Return why *size* bytes more cannot be taken now; empty when they can. Old objects give way, if they may."""
        while self._is_short_of(size):
            if not self._makes_way():
                return f"less than {self._limits.free} bytes would be free"
        return ""

    def keep(self, file: Path, sop_instance_uid: str, *, overwrite: bool, skip: Callable[[Path], int]) -> Kept:
        """Make a file that is whole, and on disk, that of its object; it is gone from where it was in any case.

        Args:
            file: in the folder `incoming`.
            sop_instance_uid: of the object.
            overwrite: whether it takes the place of another one.
            skip: returns how many bytes precede what of a file is compared.

        Returns:
            What became of it; it survives the loss of power then.

        Raises:
            OSError: it cannot be kept.
        """
        place = self.path_of(sop_instance_uid)
        try:
            self._make_folder(place.parent)
            kept = self._put(file, place)
            if kept is Kept.REFUSED:
                if _are_equal(file, place, skip):
                    kept = Kept.IDENTICAL
                elif overwrite:
                    os.replace(file, place)
                    kept = Kept.OVERWRITTEN
            make_durable(place.parent)  # of an identical one, too: whoever sent it first may still be at it
            return kept
        finally:
            file.unlink(missing_ok=True)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _put(self, file: Path, place: Path) -> Kept:
        while True:
            with self._lock:
                if place.exists():
                    return Kept.REFUSED
                if self._count < self._limits.objects:
                    os.replace(file, place)
                    self._count += 1
                    if self._oldest is not None:
                        self._oldest.append(place)
                    return Kept.NEW
            if not self._makes_way():
                raise OSError(errno.EDQUOT, f"as many objects are kept as may be, {self._limits.objects}")

    def _make_folders(self) -> None:
        """Make all of them, so that hardly an object waits until the one for it is on disk."""
        for number in range(256):
            (self._objects / f"{number:02x}").mkdir(parents=True)
        make_durable(self._objects)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            make_durable(self._objects)

    def _is_short_of(self, size: int) -> bool:
        place = os.statvfs(self.incoming)
        return place.f_bavail * place.f_frsize - size < self._limits.free

    def _makes_way(self) -> bool:
        """Whether an old object has given way to a new one, as it may by ``keep = "newest"``."""
        return self._limits.keep == "newest" and self._remove_oldest()

    def _remove_oldest(self) -> bool:
        """Remove the file that is there for longest; whether there was one."""
        with self._lock:
            if self._oldest is None:
                self._oldest = deque(sorted(self, key=_age))
            while self._oldest:
                path = self._oldest.popleft()
                with suppress(FileNotFoundError):
                    path.unlink()
                    self._count -= 1
                    break
            else:
                self._oldest = None
                self._count = sum(1 for _ in self)  # somebody else may have removed some
                return False
        self._removed(path)
        return True


def place_of(folder: Path, sop_instance_uid: str) -> Path:
    """Return where the object of that UID is, or would be, in the *folder* of a node.

    Raises:
        ValueError: it is no UID (PS3.5 §9.1): nothing is ever named after what a peer sent otherwise.
    """
    if not is_uid(sop_instance_uid):
        raise ValueError("must be a UID")
    digest = sha256(sop_instance_uid.encode()).hexdigest()
    return folder / _OBJECTS / digest[:2] / f"{sop_instance_uid}{_SUFFIX}"


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _claimed(folder: Path) -> int:
    """Return the descriptor that makes *folder* ours for as long as it is open.

    Raises:
        StorageError: another process has it.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageError([f"{folder}: folder: must be that of one node, not of two: another one uses it"]) from None
    return descriptor


def _are_equal(one: Path, other: Path, skip: Callable[[Path], int]) -> bool:
    """Whether two files have the same bytes behind what is to be skipped of each."""
    with one.open("rb") as left, other.open("rb") as right:
        left.seek(skip(one))
        right.seek(skip(other))
        while True:
            piece = left.read(1 << 20)
            if piece != right.read(1 << 20):
                return False
            if not piece:
                return True
