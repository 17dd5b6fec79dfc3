"""Reads a store beside its writer: read-only, with sqlite3 and json only.

Readers and the writer do not block each other: a reader sees what was committed when it began (sqlite.org/wal.html).
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spectrum.store.errors import StoreCorrupt, StoreError
from spectrum.store.schema import version_of
from spectrum.store.tokens import StoredToken

FILE_NAME = "store.sqlite3"
# The writer locks the file only for a moment: when it creates it, or recovers it after a kill.
BUSY_TIMEOUT_S = 5.0
# Columns of `StoredToken`, in order.
TOKEN_FIELDS = "id, name, digest, value, created_on, modified_on"


@dataclass(frozen=True, slots=True)
class StoreContent:
    """The objects of a store.

    Attributes:
        revision: The number of the last change.
        objects: Values by section and name, in order of creation.
    """

    revision: int
    objects: dict[str, dict[str, Any]]


def read_objects(folder: Path) -> StoreContent:
    """Return the objects of the store in a folder; none where there is no store yet. It blocks: use a thread.

    Raises:
        StoreError: If it cannot be read.
    """
    objects: dict[str, dict[str, Any]] = {}
    with _content(folder) as connection:
        if connection is None:
            return StoreContent(0, objects)
        for section, name, value in connection.execute("SELECT section, name, value FROM objects ORDER BY number"):
            objects.setdefault(section, {})[name] = decoded(folder / FILE_NAME, value)
        return StoreContent(_revision(connection), objects)


def read_revision(folder: Path) -> int:
    """Return the number of the last change to the store in a folder; 0 where there is no store yet. It blocks.

    Raises:
        StoreError: If it cannot be read.
    """
    with _content(folder) as connection:
        return 0 if connection is None else _revision(connection)


def read_tokens(folder: Path) -> list[StoredToken]:
    """Return the tokens of the store in a folder; none where there is no store yet. It blocks.

    Raises:
        StoreError: If it cannot be read.
    """
    with _content(folder) as connection:
        if connection is None:
            return []
        return tokens_in(connection, folder / FILE_NAME)


def tokens_in(connection: sqlite3.Connection, path: Path) -> list[StoredToken]:
    """Return the tokens of an open store, in order of creation."""
    rows = connection.execute(f"SELECT {TOKEN_FIELDS} FROM tokens ORDER BY number").fetchall()
    return [
        StoredToken(token_id, name, digest, decoded(path, value), created_on, modified_on)
        for token_id, name, digest, value, created_on, modified_on in rows
    ]


@contextmanager
def _content(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """Yield a connection with the store's present content; None if it has none."""
    path = folder / FILE_NAME
    if not path.exists():
        yield None
        return
    with reader(folder) as connection:
        connection.execute("BEGIN")
        yield connection if version_of(connection, path) else None
        connection.execute("ROLLBACK")


def _revision(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("SELECT number FROM revision").fetchone()[0]
    return number


@contextmanager
def reader(folder: Path) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection; errors of SQLite are raised as `StoreError`."""
    path = folder / FILE_NAME
    with explained(path):
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
        )
        try:
            connection.execute("PRAGMA temp_store = MEMORY")  # a confined process can create no file
            yield connection
        finally:
            connection.close()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into `StoreError`."""
    try:
        yield
    except sqlite3.Error as exc:
        raise store_error(path, exc) from exc


def store_error(path: Path, exc: sqlite3.Error) -> StoreError:
    """Return an error of SQLite as one of the store."""
    if getattr(exc, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(exc))
    return StoreError(f"{path}: {exc}")


def decoded(path: Path, value: str) -> Any:
    """Return a stored value, decoded."""
    try:
        return json.loads(value)
    except ValueError as exc:
        raise damaged(path, str(exc)) from exc


def damaged(path: Path, what: str) -> StoreCorrupt:
    """Return the error of a damaged store. It names existing copies, as none is ever deleted."""
    copies = sorted(path.parent.glob(f"{path.name}.before-*[0-9]"), key=lambda copy: copy.stat().st_mtime)
    hint = f"the last copy is {copies[-1]}" if copies else "spectrum import takes what spectrum export wrote"
    return StoreCorrupt(
        f"{path} is damaged: {what}. Nothing in it was changed; "
        f"move {path.name}* to another folder and start again; {hint}"
    )
