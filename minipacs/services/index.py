"""The index of what is stored, in SQLite: quick to ask, and made again from the files at any time.

The files are the truth. What cannot be read of them is not listed, and an index of ours that is damaged or of another
version begins anew, to be filled by `Index.catch_up`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING

from minipacs.services import query, tables
from minipacs.services.attributes import LEVELS, STORED, UNIQUE_KEYS, Level, Model
from minipacs.services.extended_negotiation import NOTHING, Agreed
from minipacs.services.header import Header, HeaderError, header_of, read_header
from minipacs.services.object_files import StoredObject
from minipacs.services.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pydicom.dataset import Dataset

_BATCH = 200  # objects in one transaction, while many are read

# Seconds in which another process that writes may let us: while a peer waits for its answer, and where none does.
_PATIENCE, _LONG_PATIENCE = 0.8, 10.0
_MOMENT = 0.01  # seconds between two attempts

_UPSERTS = {
    level: (
        f"INSERT INTO {TABLES[level]} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT ({UNIQUE_KEYS[level]}, parent) DO UPDATE SET "
        # what is empty in one object of a study is taken from the others
        + ", ".join(f"{n} = CASE excluded.{n} WHEN '' THEN {n} ELSE excluded.{n} END" for n in names if n != "parent")
        + " RETURNING id"
    )
    for level in LEVELS[:-1]
    for names in [["parent", *(attribute.keyword for attribute in STORED[level])]]
}
_OF_FILE = ["parent", "path", "size", "modified", "transfer_syntax", *(one.keyword for one in STORED["IMAGE"])]
_INSERT = f"INSERT INTO instances ({', '.join(_OF_FILE)}) VALUES ({', '.join('?' * len(_OF_FILE))})"


class Index:
    """The index of one folder; safe to use from several threads, and beside other processes that use it.

    Attributes:
        file: where it is.
        is_new: whether it began anew, empty, because there was none that could be trusted.
    """

    def __init__(self, file: Path, writer: sqlite3.Connection | None = None) -> None:
        """Open the index in *file*, which stands in the folder whose objects it lists.

        Args:
            file: where it is.
            writer: a connection to one that is empty and stands nowhere, to be filled and asked by it alone.

        Raises:
            StorageError: a file is there that is not ours.
            sqlite3.Error, OSError: neither the file nor a new one in its place can be opened.
        """
        self.file = file
        self._folder = file.parent
        self.is_new = writer is not None or tables.prepare(file)
        self._writer = writer or tables.connect(file, patience=0.0)
        self._place = os.stat(file) if writer is None else None
        self._writing = threading.Lock()

    @property
    def connection(self) -> sqlite3.Connection:
        """By which it is written, and one in memory is asked; no other thread may use it meanwhile."""
        return self._writer

    def close(self) -> None:
        """Close it; it is of no use afterwards."""
        with self._writing:
            self._writer.close()

    def add(self, path: Path, data: Dataset | None = None) -> None:
        """List the object in the Part 10 file at *path*, in place of what was listed for that file.

        Args:
            path: the file.
            data: what has been read of it already, with its file meta information; None: it is read here.

        Raises:
            HeaderError: it is no object that can be listed.
            OSError: it cannot be read.
            sqlite3.Error: the index cannot be written.
        """
        header = read_header(path) if data is None else header_of(data)
        with self.adding(path, header, path):
            pass

    @contextmanager
    def adding(self, path: Path, header: Header, file: Path, leaving: Iterable[Path] = ()) -> Iterator[None]:
        """List the object for which *file* takes the place at *path* meanwhile; nothing else is changed meanwhile.

        Args:
            path: where it is to be.
            header: what is listed of it.
            file: where it is.
            leaving: the files that give way to it meanwhile.

        Raises:
            OSError: *file* cannot be looked at, or the index is no longer where others look for it.
            sqlite3.Error: the index cannot be written, or another process has kept it locked.
            Exception: what is raised meanwhile; what was listed stays.
        """
        stat = file.stat()
        with self._transaction(_PATIENCE):
            for one in leaving:
                self._take(one)
            self._put(path, header, stat.st_size, stat.st_mtime_ns)
            yield

    def remove(self, path: Path) -> None:
        """List the file at *path* no longer, nor the series, study and patient that have no other object."""
        with self.removing([path]):
            pass

    @contextmanager
    def removing(self, paths: Iterable[Path]) -> Iterator[None]:
        """List the files no longer that are removed meanwhile; as `adding`."""
        with self._transaction(_PATIENCE):
            for path in paths:
                self._take(path)
            yield

    def catch_up(
        self,
        paths: Iterable[Path],
        told: Callable[[int], None] = lambda _: None,
        failed: Callable[[Path, Exception], None] = lambda _, __: None,
    ) -> tuple[int, int]:
        """Add the files of *paths* that are not listed as they are, and remove what is listed and no longer there.

        What a node does at its start: after a power cut, objects may be stored that were not listed any more.

        Args:
            paths: every object file of the folder.
            told: is told now and then how many files have been looked at.
            failed: is told of each file that cannot be listed, and why.

        Returns:
            How many were added, and how many removed.
        """
        with self._writing:
            rows = self._writer.execute("SELECT path, size, modified FROM instances")
            listed = {path: (size, modified) for path, size, modified in rows}
        count, added = 0, 0
        batch: list[Path] = []
        for count, path in enumerate(paths, 1):
            with suppress(FileNotFoundError):
                stat, name = path.lstat(), self._name(path)
                if not _is_text(name):
                    failed(path, HeaderError("its name is not UTF-8"))
                elif listed.pop(name, None) != (stat.st_size, stat.st_mtime_ns):
                    batch.append(path)
            if count % _BATCH == 0:
                added += self._add_all(batch, failed)
                batch.clear()
                told(count)
        added += self._add_all(batch, failed)
        told(count)
        gone = [path for name in listed if not os.path.lexists(path := self._folder / name)]  # others came meanwhile
        if gone:
            with self._transaction():
                for path in gone:
                    self._take(path)
        return added, len(gone)

    def rebuild(
        self,
        paths: Iterable[Path],
        told: Callable[[int], None] = lambda _: None,
        failed: Callable[[Path, Exception], None] = lambda _, __: None,
    ) -> int:
        """Read all the files of *paths* again, and list them and nothing else; return how many are listed.

        Queries are answered meanwhile: from what is listed already, old or new.
        """
        with self._transaction():
            self._writer.execute("UPDATE instances SET modified = -1")
        self.catch_up(paths, told, failed)
        return len(self)

    def find(self, model: Model, level: Level, keys: Dataset, agreed: Agreed = NOTHING) -> Iterator[Dataset]:
        """Answer a query (PS3.4 §C.4.1): return the identifiers of the matches, as they are read.

        Args:
            model: the information model.
            level: the Query/Retrieve Level.
            keys: the identifier of the request.
            agreed: what has been agreed upon for it.

        Raises:
            query.IdentifierFault: *keys* break the rules of the model.
        """
        return self.answers(query.Query(model, level, keys, agreed))

    def answers(self, asked: query.Query) -> Iterator[Dataset]:
        """Yield the identifier of each match of a query that has been checked."""
        with closing(tables.connect(self.file)) as reader:
            for row in reader.execute(asked.sql, asked.parameters):
                yield asked.answer(row)

    def objects(self, model: Model, level: Level, keys: Dataset, agreed: Agreed = NOTHING) -> list[StoredObject]:
        """Return what a retrieve request names (PS3.4 §C.4.2.1.4.1), a series after the other.

        Raises:
            query.IdentifierFault: *keys* break the rules of the model.
        """
        sql, parameters = query.selection(model, level, keys, agreed)
        with closing(tables.connect(self.file)) as reader:
            rows = reader.execute(sql, parameters).fetchall()
        return [
            StoredObject(uid, sop_class, syntax, self._folder / name, size)
            for uid, sop_class, syntax, name, size in rows
        ]

    def oldest(self) -> Path | None:
        """Return the file that was stored first; None where there is none."""
        with closing(tables.connect(self.file)) as reader:
            row = reader.execute("SELECT path FROM instances ORDER BY modified, id LIMIT 1").fetchone()
        return self._folder / row[0] if row else None

    def __len__(self) -> int:
        """Return how many objects are listed."""
        with closing(tables.connect(self.file)) as reader:
            count: int = reader.execute("SELECT count(*) FROM instances").fetchone()[0]
        return count

    @contextmanager
    def _transaction(self, patience: float = _LONG_PATIENCE) -> Iterator[None]:
        self._begin(monotonic() + patience)
        try:
            self._check_place()
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:  # a COMMIT that fails may have ended it
                self._writer.execute("ROLLBACK")
            raise
        finally:
            self._writing.release()

    def _check_place(self) -> None:
        """Raise OSError where another file has the place of the one that is written, or none: nobody would find it."""
        if self._place is None:
            return
        try:
            is_there = os.path.samestat(self._place, os.stat(self.file))
        except FileNotFoundError:
            is_there = False
        if not is_there:
            rule = "it is gone, or another one than at the start: stop the node, and start it again"
            raise OSError(errno.ESTALE, rule, str(self.file))

    def _begin(self, deadline: float) -> None:
        """Be the one that writes; each waits for another process by itself, or the last of many would wait for all."""
        while True:
            self._writing.acquire()
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                return
            except BaseException as error:
                self._writing.release()
                is_locked = isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_locked or monotonic() > deadline:
                    raise
            sleep(_MOMENT)

    def _add_all(self, paths: list[Path], failed: Callable[[Path, Exception], None]) -> int:
        """Add those that can be read; the others are listed no longer."""
        if not paths:
            return 0
        read: list[tuple[Path, Header, int, int]] = []
        for path in paths:
            try:
                header, stat = read_header(path), path.lstat()
                read.append((path, header, stat.st_size, stat.st_mtime_ns))
            except (HeaderError, OSError) as error:
                failed(path, error)
        with self._transaction():
            for path in paths:
                self._take(path)
            for one in read:
                self._put(*one)
        return len(read)

    def _put(self, path: Path, header: Header, size: int, modified: int) -> None:
        self._take(path)
        parent: object = "" if header.values["PatientID"] else header.values["StudyInstanceUID"]
        for level in LEVELS[:-1]:
            values = [header.values[attribute.keyword] for attribute in STORED[level]]
            parent = self._writer.execute(_UPSERTS[level], [parent, *values]).fetchone()[0]
        values = [header.values[attribute.keyword] for attribute in STORED["IMAGE"]]
        row = [parent, self._name(path), size, modified, header.transfer_syntax_uid, *values]
        self._writer.execute(_INSERT, row)

    def _take(self, path: Path) -> None:
        """Remove the row of the file, and each above it that nothing is left below."""
        row = self._writer.execute(
            "DELETE FROM instances WHERE path = ? RETURNING parent", [self._name(path)]
        ).fetchone()
        for below, level in (("instances", "series"), ("series", "studies"), ("studies", "patients")):
            if row is None:
                return
            parent = ", parent" if level != "patients" else ", NULL"
            row = self._writer.execute(
                f"DELETE FROM {level} WHERE id = ? AND NOT EXISTS (SELECT 1 FROM {below} WHERE parent = ?1) "
                f"RETURNING id{parent}",
                [row[-1]],
            ).fetchone()

    def _name(self, path: Path) -> str:
        """From the folder, so that it can be moved as a whole."""
        return str(path.relative_to(self._folder)) if path.is_relative_to(self._folder) else str(path.absolute())


def _is_text(name: str) -> bool:
    """Whether the name of a file can be kept as text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
