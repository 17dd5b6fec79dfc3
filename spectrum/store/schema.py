"""The tables of a store, and migrations from earlier versions: forward only, each step a transaction.

`PRAGMA user_version` is the number of applied steps. It changes in the step's own transaction, so that a kill leaves a
file before the step or after it. Why there is no library for it: docs/decisions/021-store.md.
"""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from spectrum.store.errors import StoreCorrupt, StoreError, StoreNewer

# "Spec": the application id of a store, for file(1) and this package (sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x53706563
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE objects (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            section TEXT NOT NULL,
            id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            created_on REAL NOT NULL,
            modified_on REAL NOT NULL,
            revision INTEGER NOT NULL,
            UNIQUE (section, name)
        ) STRICT
        """,
        """
        CREATE TABLE tokens (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            digest TEXT NOT NULL UNIQUE,
            value TEXT NOT NULL,
            created_on REAL NOT NULL,
            modified_on REAL NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE audit (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            at REAL NOT NULL,
            author_kind TEXT NOT NULL,
            author_id TEXT NOT NULL,
            author_name TEXT NOT NULL,
            address TEXT NOT NULL,
            user_agent TEXT NOT NULL,
            action TEXT NOT NULL,
            section TEXT NOT NULL,
            object_id TEXT NOT NULL,
            name TEXT NOT NULL,
            before TEXT,
            after TEXT,
            account TEXT NOT NULL,
            zone TEXT NOT NULL,
            is_done INTEGER NOT NULL,
            method TEXT NOT NULL,
            path TEXT NOT NULL,
            status INTEGER NOT NULL,
            request_id TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX audit_by_account ON audit (account, number)",
        "CREATE INDEX audit_by_object ON audit (object_id, number)",
        # One row: the number of the last change.
        "CREATE TABLE revision (number INTEGER NOT NULL) STRICT",
        "INSERT INTO revision VALUES (0)",
    ),
    (
        # When each token was last used. Tokens of the file have no other row: their ids are derived from their names.
        """
        CREATE TABLE token_uses (
            id TEXT PRIMARY KEY,
            at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
    ),
)
VERSION = len(STEPS)


def version_of(connection: sqlite3.Connection, path: Path, steps: int = VERSION) -> int:
    """Return the number of steps applied to a file; 0 for a new one.

    Args:
        connection: To the file.
        path: Its path, for messages.
        steps: The number of steps that the program knows.

    Raises:
        StoreError: If it belongs to another program, or to a later version.
    """
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if owner != APPLICATION_ID and not (is_empty and found == owner == 0):
        raise StoreCorrupt(f"{path} is an SQLite file of another program; name another folder")
    if found > steps:
        raise StoreNewer(
            f"{path} was written by a later version of spectrum (its tables have version {found}, this program knows "
            f"{steps}); start that version, or move {path.name} and {path.name}-wal to another folder, and rename "
            f"{path.name}.before-{steps + 1} to {path.name}"
        )
    return found


def migrate(connection: sqlite3.Connection, path: Path, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """Migrate a file to the version of `steps`; before each step it is copied, unless it is new.

    Raises:
        StoreError: If it belongs to another program or a later version, or there is no room for the copy.
        sqlite3.Error: If a step fails; the file is as it was before it.
    """
    found = version_of(connection, path, len(steps))
    for number in range(found + 1, len(steps) + 1):
        if found:
            _copy(connection, path.with_name(f"{path.name}.before-{number}"))
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in steps[number - 1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _copy(connection: sqlite3.Connection, to: Path) -> None:
    """Copy a store to another file, atomically."""
    part = to.with_name(f"{to.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        copy = sqlite3.connect(part)
        try:
            connection.backup(copy)
        finally:
            copy.close()
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(to)
        sync_folder(to.parent)
    except (OSError, sqlite3.Error) as exc:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StoreError(f"{to}: no copy could be made before the tables are changed: {exc}") from exc


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
