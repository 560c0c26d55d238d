"""The tables of the index, and how its file is opened: a file that is damaged, or of another make, begins anew.

Four tables, one a level; each row names the row of the level above it as its parent. A patient has none; but one
without a Patient ID is another in each study, by whose UID it is told apart. Nothing is lost with the file: all of it
is read from the objects again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from minipacs.services.attributes import LEVELS, STORED, UNIQUE_KEYS, Level
from minipacs.services.matching import fold
from minipacs.services.moments import moment

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION = 0x6D706163  # "mpac"
VERSION = 2  # one more whenever a table, or what is written in it, changes
_PATIENCE = 30.0  # seconds, for another process that writes

TABLES: dict[Level, str] = {"PATIENT": "patients", "STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}

# What the row of an object has besides its attributes.
_OF_FILES = "path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, modified INTEGER NOT NULL, transfer_syntax TEXT NOT NULL"


def connect(file: Path) -> sqlite3.Connection:
    """Return a connection to the index in *file*, for the calling thread.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")  # what the power takes with it, the files give back
    connection.create_function("fold", 1, fold, deterministic=True)
    connection.create_function("moment", 2, moment, deterministic=True)
    return connection


def prepare(file: Path) -> bool:
    """See to it that *file* is an index of ours that is sound; whether it begins anew, empty.

    Raises:
        sqlite3.Error, OSError: neither it nor a new one can be opened.
    """
    try:
        with closing(connect(file)) as connection:
            if _is_ours(connection):
                return False
            if connection.execute("PRAGMA schema_version").fetchone() == (0,):
                _create(connection)
                return True
    except sqlite3.OperationalError:  # locked, no such folder, no space: nothing wrong with what is in it
        raise
    except sqlite3.DatabaseError:
        pass
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    with closing(connect(file)) as connection:
        _create(connection)
    return True


def _is_ours(connection: sqlite3.Connection) -> bool:
    numbers = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return numbers == [APPLICATION, VERSION] and connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
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
    statements += [f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION}"]
    connection.executescript(f"BEGIN;{';'.join(statements)};COMMIT")
