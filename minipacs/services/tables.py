"""The tables of the index, and how its file is opened: one of ours that is damaged, or of another version, begins anew.

Four tables, one a level; each row names the row of the level above it as its parent. A patient has none; but one
without a Patient ID is another in each study, by whose UID it is told apart. Nothing is lost with the file: all of it
is read from the objects again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from minipacs.services import index_file, storage_folder
from minipacs.services.attributes import LEVELS, STORED, UNIQUE_KEYS, Level
from minipacs.services.matching import fold
from minipacs.services.moments import moment

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2  # one more whenever a table, or what is written in it, changes
_PATIENCE = 0.8  # seconds, in which another process that locks all of it may let us read

TABLES: dict[Level, str] = {"PATIENT": "patients", "STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}

# What the row of an object has besides its attributes.
_OF_FILES = "path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, modified INTEGER NOT NULL, transfer_syntax TEXT NOT NULL"


def connect(file: Path, mode: str = "rw", patience: float = _PATIENCE) -> sqlite3.Connection:
    """Return a connection to the index in *file*, for the calling thread.

    Args:
        file: where it is.
        mode: ``rw``; ``rwc``: it is made where it is not there; ``ro``: nothing is written.
        patience: seconds to wait while another process locks it.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    uri = f"{file.absolute().as_uri()}?mode={mode}"
    return _usable(sqlite3.connect(uri, patience, isolation_level=None, check_same_thread=False, uri=True))


def prepare(file: Path) -> bool:
    """See to it that *file* is an index of ours that is sound; whether it begins anew, empty.

    Raises:
        StorageError: a file is there that is not ours; it stays as it is.
        sqlite3.Error, OSError: neither it nor a new one can be opened.
    """
    try:
        if index_file.is_there(file):
            with closing(connect(file)) as connection:
                if _is_sound(connection):
                    return False
    except sqlite3.OperationalError:  # locked, no space: nothing wrong with what is in it
        raise
    except sqlite3.DatabaseError:
        pass
    for path in index_file.files_of(file):
        path.unlink(missing_ok=True)
    with closing(connect(file, "rwc")) as connection:
        # Before there is a log, so that the header of the file itself has it from its first moment on.
        connection.execute(f"PRAGMA application_id = {index_file.APPLICATION}")
        connection.execute("PRAGMA journal_mode = WAL")
        _create(connection)
    return True


def to_read(file: Path) -> sqlite3.Connection | None:
    """Return a connection to the index in *file* by which nothing is written; None where it cannot be trusted.

    Of a log that is left by a process that was killed, SQLite reads nothing without writing beside it.

    Raises:
        StorageError: a file is there that is not ours.
    """
    has_log = file.with_name(file.name + index_file.LOG).exists()
    if not index_file.is_there(file) or (has_log and not storage_folder.is_in_use(file.parent)):
        return None
    connection = None
    try:
        # With a log, SQLite's files for reading are there; without, it would make them, but for a file that stays so.
        connection = connect(file, "ro" if has_log else "ro&immutable=1")
        if _is_sound(connection):
            return connection
    except sqlite3.DatabaseError:
        pass
    if connection is not None:
        connection.close()
    return None


def in_memory() -> sqlite3.Connection:
    """Return a connection to an index that is empty, and gone when it is closed."""
    connection = _usable(sqlite3.connect("", isolation_level=None))
    _create(connection)
    return connection


def _usable(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA synchronous = NORMAL")  # what the power takes with it, the files give back
    connection.create_function("fold", 1, fold, deterministic=True)
    connection.create_function("moment", 2, moment, deterministic=True)
    return connection


def _is_sound(connection: sqlite3.Connection) -> bool:
    version = [connection.execute("PRAGMA user_version").fetchone()]
    return version == [(VERSION,)] and [*connection.execute("PRAGMA quick_check(1)")] == [("ok",)]


def _create(connection: sqlite3.Connection) -> None:
    statements = []
    for above, level in zip((None, *LEVELS), LEVELS, strict=False):
        columns = ", ".join(f"{attribute.keyword} TEXT NOT NULL DEFAULT ''" for attribute in STORED[level])
        table, key = TABLES[level], UNIQUE_KEYS[level]
        parent = f"INTEGER NOT NULL REFERENCES {TABLES[above]}" if above else "TEXT NOT NULL"
        more = f", {_OF_FILES}" if level == "IMAGE" else f", UNIQUE ({key}, parent)"
        statements.append(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, parent {parent}, {columns}{more})")
        if above:
            statements.append(f"CREATE INDEX {table}_of_parent ON {table} (parent)")
    statements.append("CREATE INDEX instances_by_uid ON instances (SOPInstanceUID)")
    statements.append("CREATE INDEX instances_by_age ON instances (modified)")
    statements.append(f"PRAGMA user_version = {VERSION}")
    connection.executescript(f"BEGIN;{';'.join(statements)};COMMIT")
