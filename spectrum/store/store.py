"""The writer of a store: one process at a time, each change a transaction that is on disk when it is acknowledged.

Its methods block, and may be called from any thread. WAL with `synchronous=FULL` (sqlite.org/pragma.html): a commit
that returned survives kill -9 and a power failure, and one that did not has no effect.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from spectrum.store.audit import AuditEntry, AuditFilter, Author, changed_part, without_secrets
from spectrum.store.errors import NameTaken, StoreError, StoreFull, StoreInUse
from spectrum.store.objects import ObjectChange, StoredObject, new_id
from spectrum.store.reading import (
    BUSY_TIMEOUT_S,
    FILE_NAME,
    TOKEN_FIELDS,
    damaged,
    decoded,
    explained,
    reader,
    tokens_in,
)
from spectrum.store.schema import migrate, sync_folder, version_of
from spectrum.store.tokens import StoredToken

LOCK_NAME = "store.lock"
# Limit of lines in the audit log: a year of 2,700 a day.
MAX_AUDIT_ENTRIES = 1_000_000
# Limit of the characters of a value in it.
MAX_AUDITED = 1 << 16
# Size to which the WAL is truncated after a checkpoint.
MAX_WAL_BYTES = 16 << 20
# SQLite's errors if a file cannot grow: a full disk, a quota, RLIMIT_FSIZE.
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_OBJECT = "section, id, name, value, created_on, modified_on, revision"
# Not checked for corruption at the start: the audit log would take seconds.
_CHECKED = ("objects", "tokens", "revision")
_LOCK_PAUSE_S = 0.02


class Store:
    """A store, open for writing.

    Args:
        folder: Its folder; created if missing.

    Attributes:
        path: Its file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._folder = folder
        self._lock = -1
        self._connection: sqlite3.Connection | None = None
        # SQLite allows one call at a time on a connection; a transaction is several.
        self._turn = Lock()

    def open(self, timeout_s: float = 0.0) -> None:
        """Open it; create or migrate its tables.

        Args:
            timeout_s: Time to wait for another process to close it.

        Raises:
            StoreError: If it cannot be used: another process has it, it is damaged, or of a later version.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StoreError(f"{exc.filename}: {(exc.strerror or str(exc)).lower()}") from exc
        try:
            self._await_lock(time.monotonic() + timeout_s)
            self._connect()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it, after a commit in another thread has finished."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    @property
    def revision(self) -> int:
        """The number of the last change."""
        with self._turn, explained(self.path):
            number: int = self._open_connection.execute("SELECT number FROM revision").fetchone()[0]
        return number

    def objects(self) -> Iterator[StoredObject]:
        """Return all objects, in order of creation."""
        with self._turn, explained(self.path):
            rows = self._open_connection.execute(f"SELECT {_OBJECT} FROM objects ORDER BY number").fetchall()
        return (self._object(row) for row in rows)

    def commit(self, changes: Sequence[ObjectChange], audit: Sequence[AuditEntry], now: float) -> list[StoredObject]:
        """Apply changes and write their lines of the audit log, all or none.

        A new id creates an object; for a known one, name and value are replaced. Deleting a missing object is no error.

        Args:
            changes: The changes, in order.
            audit: Their lines.
            now: The time, in seconds since 1970.

        Returns:
            The objects as they are now, without deleted ones, in the order of `changes`.

        Raises:
            NameTaken: If another object of the section has the name already.
            StoreFull: If there is no room. As with every error, nothing was changed, and a later commit may succeed.
            StoreError: If it cannot be written for another reason.
        """
        made: list[StoredObject] = []
        with self._transaction() as connection:
            number = connection.execute("SELECT number FROM revision").fetchone()[0]
            for number, change in enumerate(changes, number + 1):  # noqa: B020 - the last one is stored
                if change.value is None:
                    connection.execute("DELETE FROM objects WHERE id = ?", (change.id,))
                else:
                    made.append(self._write(connection, change, number, now))
            connection.execute("UPDATE revision SET number = ?", (number,))
            _write_audit(connection, audit, now)
        return made

    def tokens(self) -> list[StoredToken]:
        """Return all tokens, in order of creation."""
        with self._turn, explained(self.path):
            return tokens_in(self._open_connection, self.path)

    def put_token(self, token: StoredToken, audit: Sequence[AuditEntry], now: float) -> None:
        """Make a token, or change the one with its id, and write lines of the audit log.

        Raises:
            StoreError: As with `commit`.
        """
        row = (token.id, token.name, token.digest, _encoded(token.value), token.created_on, token.modified_on)
        with self._transaction() as connection:
            connection.execute(
                f"INSERT INTO tokens ({TOKEN_FIELDS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "name = excluded.name, digest = excluded.digest, value = excluded.value, "
                "modified_on = excluded.modified_on",
                row,
            )
            _write_audit(connection, audit, now)

    def delete_token(self, token_id: str, audit: Sequence[AuditEntry], now: float) -> None:
        """Delete a token and write lines of the audit log; a missing token is no error.

        Raises:
            StoreError: As with `commit`.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM tokens WHERE id = ?", (token_id,))
            connection.execute("DELETE FROM token_uses WHERE id = ?", (token_id,))
            _write_audit(connection, audit, now)

    def token_uses(self) -> dict[str, float]:
        """Return when tokens were last used, in seconds since 1970, by id; including those of the file."""
        with self._turn, explained(self.path):
            return dict(self._open_connection.execute("SELECT id, at FROM token_uses").fetchall())

    def write_token_uses(self, uses: Mapping[str, float | None]) -> None:
        """Store when some tokens were last used, by id; None to delete it.

        Raises:
            StoreError: As with `commit`.
        """
        with self._transaction() as connection:
            for token_id, at in uses.items():
                if at is None:
                    connection.execute("DELETE FROM token_uses WHERE id = ?", (token_id,))
                else:
                    connection.execute("INSERT OR REPLACE INTO token_uses (id, at) VALUES (?, ?)", (token_id, at))

    def write_audit(self, audit: Sequence[AuditEntry], now: float) -> None:
        """Write lines of the audit log without a change, such as refused attempts.

        Raises:
            StoreError: As with `commit`.
        """
        with self._transaction() as connection:
            _write_audit(connection, audit, now)

    def audit(self, wanted: AuditFilter, count: int, after: int = 0, newest_first: bool = True) -> list[AuditEntry]:
        """Return lines of the audit log in order. It does not block commits.

        Args:
            wanted: The selection.
            count: The most lines to return.
            after: The number of the line before the first one, in the requested order; 0 for the first page.
            newest_first: Whether the latest lines come first.

        Raises:
            StoreError: If they cannot be read.
        """
        conditions, given = _conditions(wanted)
        if after:
            conditions.append("number < ?" if newest_first else "number > ?")
            given.append(after)
        return self._audit(conditions, given, f"ORDER BY number {'DESC' if newest_first else 'ASC'} LIMIT {int(count)}")

    def count_audit(self, wanted: AuditFilter) -> int:
        """Return the number of lines of a selection."""
        conditions, given = _conditions(wanted)
        with reader(self._folder) as connection:
            query = f"SELECT count(*) FROM audit WHERE {' AND '.join(conditions) or '1'}"
            found: int = connection.execute(query, given).fetchone()[0]
        return found

    def _audit(self, conditions: list[str], given: list[Any], order: str) -> list[AuditEntry]:
        with reader(self._folder) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute(f"SELECT * FROM audit WHERE {' AND '.join(conditions) or '1'} {order}", given)
            return [_entry(self.path, row) for row in rows]

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self.path} is not open")
        return self._connection

    def _await_lock(self, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreInUse(f"{self._folder}: another process writes to this store") from None
            time.sleep(_LOCK_PAUSE_S)

    def _connect(self) -> None:
        with explained(self.path):
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
                sync_folder(self._folder)
            # isolation_level None: transactions begin explicitly.
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection = connection
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}")
            connection.execute("PRAGMA trusted_schema = OFF")
            # A change of a large value needs a statement journal, and the API's process may write in its folder alone.
            connection.execute("PRAGMA temp_store = MEMORY")
            for table in _CHECKED if version_of(connection, self.path) else ():
                if (found := connection.execute(f"PRAGMA quick_check({table})").fetchone()[0]) != "ok":
                    raise damaged(self.path, found)
            migrate(connection, self.path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Return a context with a transaction: committed at the end, rolled back after any error."""
        with self._turn:
            connection = self._open_connection
            try:
                with explained(self.path):
                    connection.execute("BEGIN IMMEDIATE")
                    try:
                        yield connection
                        connection.execute("COMMIT")
                    except BaseException:
                        if connection.in_transaction:
                            connection.execute("ROLLBACK")
                        raise
            except StoreError as exc:
                if getattr(exc.__cause__, "sqlite_errorcode", None) in _FULL:
                    raise StoreFull(f"{self.path}: there is no room for the change: {exc.__cause__}") from exc
                raise

    def _write(self, connection: sqlite3.Connection, change: ObjectChange, number: int, now: float) -> StoredObject:
        assert change.value is not None, "it would be deleted"
        try:
            section, created_on, modified_on = connection.execute(
                f"INSERT INTO objects ({_OBJECT}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "name = excluded.name, value = excluded.value, revision = excluded.revision, "
                f"modified_on = max(excluded.modified_on, created_on) RETURNING section, created_on, modified_on",
                (change.section, change.id, change.name, _encoded(change.value), now, now, number),
            ).fetchone()
        except sqlite3.IntegrityError as exc:
            raise NameTaken(f"{change.section}: another object has the name {change.name}") from exc
        return StoredObject(section, change.id, change.name, change.value, created_on, modified_on, number)

    def _object(self, row: tuple[Any, ...]) -> StoredObject:
        section, object_id, name, value, created_on, modified_on, revision = row
        return StoredObject(section, object_id, name, decoded(self.path, value), created_on, modified_on, revision)


def _encoded(value: Mapping[str, Any] | None) -> str:
    """Return a value as text: ASCII, because a text may contain unpaired surrogates, which SQLite refuses.

    Raises:
        ValueError: If it has a number that JSON does not have.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


_AUDIT_FIELDS = (
    "id, at, author_kind, author_id, author_name, address, user_agent, action, section, object_id, name, before, "
    "after, account, zone, is_done, method, path, status, request_id"
)
_AUDIT_PLACES = ", ".join("?" * (_AUDIT_FIELDS.count(",") + 1))


def _write_audit(connection: sqlite3.Connection, entries: Sequence[AuditEntry], now: float) -> None:
    for entry in entries:
        before, after = map(_audited, changed_part(entry.before, entry.after))
        author = entry.author
        row = (
            *(entry.id or new_id(), now, author.kind, author.id, author.name, author.address, author.user_agent),
            *(entry.action, entry.section, entry.object_id, entry.name, before, after, entry.account, entry.zone),
            *(int(entry.is_done), entry.method, entry.path, entry.status, entry.request_id),
        )
        connection.execute(f"INSERT INTO audit ({_AUDIT_FIELDS}) VALUES ({_AUDIT_PLACES})", tuple(map(_storable, row)))
    if entries:
        connection.execute(
            "DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - ?", (MAX_AUDIT_ENTRIES,)
        )


def _audited(value: Mapping[str, Any] | None) -> str | None:
    """Return a value as text, without secrets; if it is too long, only its length."""
    if value is None:
        return None
    text = _encoded(without_secrets(value))
    return text if len(text) <= MAX_AUDITED else _encoded({"(left out)": f"{len(text)} characters"})


def _storable(value: Any) -> Any:
    """Return a text for SQLite, without unpaired surrogates, which clients may send."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _entry(path: Path, row: sqlite3.Row) -> AuditEntry:
    fields = dict(row)
    author = Author(
        **{key: fields.pop(f"author_{key}") for key in ("kind", "id", "name")},
        **{key: fields.pop(key) for key in ("address", "user_agent")},
    )
    for key in ("before", "after"):
        fields[key] = None if fields[key] is None else decoded(path, fields[key])
    return AuditEntry(author=author, **{**fields, "is_done": bool(fields["is_done"])})


def _conditions(wanted: AuditFilter) -> tuple[list[str], list[Any]]:
    """Return the conditions in SQL, and their values."""
    found: list[str] = []
    given: list[Any] = []

    def add(condition: str, *values: Any) -> None:
        found.append(condition)
        given.extend(values)

    if wanted.since is not None:
        add("at >= ?", wanted.since)
    if wanted.before is not None:
        add("at < ?", wanted.before)
    if wanted.accounts is not None or wanted.zones is not None:
        accounts, zones = wanted.accounts or (), wanted.zones or ()
        add(f"(account IN ({_places(accounts)}) OR zone IN ({_places(zones)}))", *accounts, *zones)
    for column, values in (("action", wanted.actions), ("section", wanted.sections)):
        if values:
            add(f"{column} IN ({_places(values)})", *values)
    for column in ("object_id", "author_id", "address", "id"):
        if value := getattr(wanted, column):
            add(f"{column} = ?", value)
    return found, given


def _places(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
