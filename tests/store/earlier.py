"""A store as the first version of its tables had it."""

import sqlite3
from pathlib import Path

from spectrum.store.schema import STEPS

TABLES = ("objects", "tokens", "audit", "revision")
ROWS = {
    "objects": [
        (1, "apps", "a" * 32, "ssh", '{"protocol":"tcp/22"}', 1.0, 2.0, 3),
        (4, "pools", "b" * 32, "eu", '{"origins":[]}', 1.0, 1.0, 2),
    ],
    "tokens": [(1, "c" * 32, "ci", "sha256:" + "0" * 64, '{"policies":[{"permissions":["all:read"]}]}', 1.0, 2.0)],
    "audit": [
        (
            *(number, f"{number:032}", 3.0, "token", "c" * 32, "ci", "192.0.2.1", "curl/8", "update", "apps", "a" * 32),
            *("ssh", '{"n":1}', None, "d" * 32, "", 1, "PATCH", "/client/v4/zones", 200, "ray"),
        )
        for number in (1, 2, 5)
    ],
    "revision": [(7,)],
}


def first_store(path: Path) -> None:
    """Make one, with something in each table."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in STEPS[0]:
        connection.execute(statement)
    connection.execute("PRAGMA application_id = 0x53706563")
    connection.execute("PRAGMA user_version = 1")
    connection.execute("DELETE FROM revision")
    for table, rows in ROWS.items():
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    connection.close()


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return what is in those tables of a store."""
    connection = sqlite3.connect(path)
    found = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}
    connection.close()
    return found
