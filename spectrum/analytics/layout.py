"""The tables in the files of an embedded store, and their columns there."""

from collections.abc import Iterable

from spectrum.core.analytics.client_numbers import NUMBERED_EVENTS
from spectrum.core.analytics.columns import ATTACKS, CHANGES, HEALTH, MINUTES, PACKETS, Table

HISTORY = "history"
# Tables of a volume that are copied into the history: as roll-ups, or unchanged.
COPIED = (HEALTH, CHANGES, ATTACKS)
OF_VOLUME = (NUMBERED_EVENTS, *COPIED, PACKETS)
OF_HISTORY = (MINUTES, *COPIED)
# Among the marks of volume 0: the newest event that was dropped, in microseconds since 1970.
DROPPED = "dropped"


def catalog(number: int) -> str:
    """Return the name of a volume in SQL."""
    return f"v{number}"


def definition(table: Table) -> str:
    """Return the columns of a table as it is created."""
    return ", ".join(f'"{column.name}" {column.duckdb}' for column in table.columns)


def selection(table: Table, there: Iterable[str]) -> str:
    """Return the columns of a table for a query, of a file that has those in `there`."""
    known = frozenset(there)
    return ", ".join(
        f'"{column.name}"'
        if column.name in known
        else f'CAST({_empty(column.duckdb)} AS {column.duckdb}) "{column.name}"'
        for column in table.columns
    )


def _empty(kind: str) -> str:
    if kind == "VARCHAR":
        return "''"
    return "NULL" if kind.startswith(("MAP", "BLOB", "TIMESTAMP")) else "0"
