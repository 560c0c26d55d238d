"""Part 10 files in a folder, one an object: whole or not there, durable once kept, and never more than the limits.

The folder is that of one node (`storage_folder`). It has `objects/`, where each file is named after the validated SOP
Instance UID, and `incoming/`, where files grow before they are kept; what is left there by a crash is swept away. No
file is read here but to be held against another.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import Struct

from minipacs.errors import StorageError
from minipacs.escape import escape
from minipacs.regular_file import open_regular
from minipacs.rules import is_uid
from minipacs.services import storage_folder
from minipacs.services.durable import make_durable
from minipacs.services.storage_folder import INCOMING, OBJECTS, SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from minipacs.settings import StorageLimits

    _Change = AbstractContextManager[object]
    _Listing = Callable[[Path, Sequence[Path]], _Change]

_MOST_TRIES = 100
"""To keep a file, while others take its place or its room again and again."""

_BLOCK = 512  # bytes, in which stat counts what a file takes

logger = logging.getLogger("minipacs")


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
        leaving: returns the block in which objects are removed by name: it forgets them, or fails, and they stay.
        tell: is told what makes two events alike, a level of the logging module, and what there is to say of one.

    Attributes:
        folder: likewise, absolute.
        incoming: where files grow.

    Raises:
        StorageError: the folder cannot be used, is not ours, or another node uses it.
    """

    def __init__(
        self,
        folder: Path,
        limits: StorageLimits,
        leaving: Callable[[Sequence[Path]], _Change] = nullcontext,
        tell: Callable[[str, int, str], None] = lambda _, level, text: logger.log(level, "%s", text),
    ) -> None:
        self.folder = folder.absolute()
        self.incoming = self.folder / INCOMING
        self._objects = self.folder / OBJECTS
        self._limits = limits
        self._leaving = leaving
        self._lock = threading.Lock()  # of what names are in use, and of the count; taken last
        self._tell = tell
        self._sizes: dict[str, int] | None = None  # path → bytes, the oldest first; read when the first has to give way
        try:
            self._claim = storage_folder.take(folder)
            self._begin(folder)
        except OSError as error:
            rule = f'{folder}: folder: must be one where objects can be kept, not "{error.strerror}"'
            raise StorageError([rule]) from None

    def _begin(self, folder: Path) -> None:
        try:
            if others := storage_folder.sweep(folder):
                names = storage_folder.shown(others)
                logger.warning("storage: %s has what is not ours, and stays: %s", folder / INCOMING, names)
            make_durable(self.incoming)
            self._count = sum(1 for _ in self)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Path]:
        """Iterate over the files of all objects that were kept; in no order."""
        return (Path(one.path) for one in storage_folder.entries(self.folder) if one.is_file(follow_symlinks=False))

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
        with self._leaving([place]), self._lock:
            return self._unlink(place)

    def new_file(self) -> Path:
        """Return the path of a file that may grow until it is kept; nobody else has it."""
        return self.incoming / f"{uuid4().hex}{SUFFIX}"

    def room(self, size: int = 0) -> str:
        """Return why *size* bytes more cannot be taken now; empty when they can, if need be once old objects give way.

        None does yet: what comes may be refused for another reason.
        """
        short = self._short_by(size)
        if short > 0 and not (self._limits.keep == "newest" and self._held() >= short):
            return f"less than {self._limits.free} bytes would be free"
        return ""

    def keep(
        self,
        file: Path,
        sop_instance_uid: str,
        *,
        overwrite: bool,
        skip: Callable[[Path], int],
        listing: _Listing = lambda _, __: nullcontext(),
    ) -> Kept:
        """Make a file that is whole, and on disk, that of its object; it is gone from where it was in any case.

        Args:
            file: in the folder `incoming`.
            sop_instance_uid: of the object.
            overwrite: whether it takes the place of another one.
            skip: returns how many bytes precede what of a file is compared.
            listing: returns the block in which the file takes its place, and others give way to it: it lists it so,
                or fails, and all stays as it is.

        Returns:
            What became of it; it survives the loss of power then.

        Raises:
            OSError: it cannot be kept; nothing has given way to it.
        """
        place = self.path_of(sop_instance_uid)
        try:
            self._make_folder(place.parent)
            kept = self._put(file, place, skip, listing, overwrite=overwrite)
            make_durable(place.parent)  # of an identical one, too: whoever sent it first may still be at it
            return kept
        finally:
            file.unlink(missing_ok=True)

    def tell_refusal(self, why: str, path: Path | str | None = None) -> None:
        """Log that an object was refused for what is ours: *why*, and at which *path*, else that of the folder."""
        text = f"{escape(os.fspath(path or self.folder))}: {why}: an object was refused with 0xA700"
        self._tell(f"refused: {why}", logging.WARNING, f"storage: {text}")

    # --- inside -------------------------------------------------------------------------------------------------------

    def _put(
        self,
        file: Path,
        place: Path,
        skip: Callable[[Path], int],
        listing: _Listing,
        *,
        overwrite: bool,
    ) -> Kept:
        for _ in range(_MOST_TRIES):
            try:
                is_new = not os.path.lexists(place)
                if not is_new:
                    if _are_equal(file, place, skip):
                        return Kept.IDENTICAL
                    if not overwrite:
                        return Kept.REFUSED
                going = self._going(place, is_new=is_new)
                self._place(file, place, going, listing, is_new=is_new)
            except (_ElsewiseError, FileNotFoundError):
                if not file.exists() or not place.parent.exists():
                    raise
            else:
                self._tell_of(going, place)
                return Kept.NEW if is_new else Kept.OVERWRITTEN
        raise OSError(errno.EBUSY, "too many keep objects at once", str(place))

    def _place(self, file: Path, place: Path, going: list[Path], listing: _Listing, *, is_new: bool) -> None:
        """Put the file where it belongs, then remove those that give way to it, and list it so: all or nothing.

        Raises:
            _ElsewiseError: others have been quicker.
        """
        is_placed, former = False, None
        try:
            with listing(place, going), self._lock:
                if is_new is os.path.lexists(place) or any(self._size(path) is None for path in going):
                    raise _ElsewiseError
                if is_new and self._count + 1 - len(going) > self._limits.objects:
                    raise _ElsewiseError
                former = None if is_new else self._linked(place)
                os.replace(file, place)
                is_placed = True
                self._count += is_new
                self._remember(place)
        except BaseException:
            with self._lock:
                if is_placed and is_new:
                    self._unlink(place)
                elif is_placed and former is not None:
                    os.replace(former, place)
                    self._remember(place)
            raise
        finally:
            if former is not None:
                former.unlink(missing_ok=True)
        with self._lock:  # what is listed no longer, and left by a crash, is listed again at the next start
            for path in going:
                self._unlink(path)

    def _linked(self, place: Path) -> Path | None:
        """Return another name of the file at *place*, which another one is to replace; None: it can have none."""
        other = self.new_file()
        try:
            os.link(place, other)
        except OSError:  # not every file system knows hard links
            return None
        return other

    def _make_folder(self, folder: Path) -> None:
        storage_folder.check_folder(self._objects)
        if not os.path.lexists(folder):
            folder.mkdir(exist_ok=True)
            make_durable(self._objects)
        storage_folder.check_folder(folder)

    def _short_by(self, size: int = 0) -> int:
        """How many bytes are not free that have to be, with so many more taken."""
        place = os.statvfs(self.incoming)
        return self._limits.free + size - place.f_bavail * place.f_frsize

    # --- what gives way -----------------------------------------------------------------------------------------------

    def _going(self, place: Path, *, is_new: bool) -> list[Path]:
        """The oldest, which make room for one at *place* by ``keep = "newest"``.

        Raises:
            OSError: there is no room, and would not be were all of them gone.
        """
        with self._lock:
            count = self._count + 1 - self._limits.objects if is_new else 0
            if self._limits.keep != "newest":
                self._check(count, 0)
                return []
            return self._oldest(place, count, self._short_by() - (0 if is_new else self._size(place) or 0))

    def _oldest(self, place: Path, count: int, size: int) -> list[Path]:
        """So many that *count* objects and *size* bytes are less; but not that at *place*."""
        sizes = self._by_age()
        if size > sum(sizes.values()):
            self._check(0, size)
        going = []
        for name in list(sizes):
            if count <= 0 and size <= 0:
                break
            if (path := Path(name)) != place and (freed := self._size(path)) is not None:
                going.append(path)
                count, size = count - 1, size - freed
        self._check(count, size)
        return going

    def _tell_of(self, gone: list[Path], place: Path) -> None:
        if gone:
            names = storage_folder.shown([path.stem for path in gone])
            objects = "1 object" if len(gone) == 1 else f"{len(gone)} objects"
            self._tell("way", logging.INFO, f"storage: {objects} gave way to {place.stem}: {names}")

    def _check(self, count: int, size: int) -> None:
        """Raise OSError where so many objects or bytes are too much."""
        if count > 0:
            raise OSError(errno.EDQUOT, f"as many objects are kept as may be, {self._limits.objects}")
        if size > 0:
            raise OSError(errno.ENOSPC, f"less than {self._limits.free} bytes would be free")

    def _held(self) -> int:
        """How many bytes would be free more, were all objects gone."""
        with self._lock:
            return sum(self._by_age().values())

    def _by_age(self) -> dict[str, int]:
        """What each file of an object takes, the oldest first; of those alone whose names are as we make them."""
        if self._sizes is None:
            ours = [path for path in self if is_uid(path.stem) and path == self.path_of(path.stem)]
            self._sizes = {str(path): self._size(path) or 0 for path in sorted(ours, key=_age)}
        return self._sizes

    def _size(self, path: Path) -> int | None:
        """How many bytes are free when it is gone; None where there is none of ours."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        is_freed = status.st_nlink == 1 and status.st_dev == self.incoming.stat().st_dev
        return status.st_blocks * _BLOCK if is_freed else 0

    def _remember(self, place: Path) -> None:
        """As the newest."""
        if self._sizes is not None:
            self._sizes.pop(str(place), None)
            self._sizes[str(place)] = self._size(place) or 0

    def _unlink(self, path: Path) -> bool:
        """Whether there was a file."""
        if self._sizes is not None:
            self._sizes.pop(str(path), None)
        if self._size(path) is None:
            return False
        path.unlink(missing_ok=True)
        self._count -= 1
        return True


class _ElsewiseError(Exception):
    """What was looked at is not so any more."""


def place_of(folder: Path, sop_instance_uid: str) -> Path:
    """Return where the object of that UID is, or would be, in the *folder* of a node.

    Raises:
        ValueError: it is no UID (PS3.5 §9.1): nothing is ever named after what a peer sent otherwise.
    """
    if not is_uid(sop_instance_uid):
        raise ValueError("must be a UID")
    return folder / OBJECTS / storage_folder.folder_of(sop_instance_uid) / f"{sop_instance_uid}{SUFFIX}"


def _age(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _are_equal(one: Path, other: Path, skip: Callable[[Path], int]) -> bool:
    """Whether two files have the same bytes behind what is to be skipped of each."""
    with open_regular(one, follow=False) as left, open_regular(other, follow=False) as right:
        left.seek(skip(one))
        right.seek(skip(other))
        while True:
            piece = left.read(1 << 20)
            if piece != right.read(1 << 20):
                return False
            if not piece:
                return True
