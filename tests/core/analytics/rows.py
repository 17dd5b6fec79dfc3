"""Some days of made-up events, the same at each run, and DuckDB's tables of them."""

from contextlib import contextmanager
from functools import cache
from random import Random

import duckdb

from spectrum.core.analytics.columns import EVENTS, MINUTES, TABLES, ColumnKind, Role
from spectrum.core.analytics.dialects import DuckDb
from spectrum.core.analytics.plan import DataRange

BEGIN = 1_700_006_400  # a whole hour
DAYS = 2
EVERYTHING = DataRange(minutes_until=BEGIN + 1e9)
_TEXTS = (ColumnKind.TEXT, ColumnKind.CATEGORY)
_ENDS = {
    "connect": ("", "passed"),
    "disconnect": ("client_closed", "passed"),
    "clientFiltered": ("client_blocked", "refused"),
    "originError": ("connect_refused", "failed"),
}
_CLIENTS = ["192.0.2.1", "192.0.2.77", "10.16.3.4", "10.31.255.255", "2001:db8::1", "2001:db8:0:5::2", "it's; \\ ü"]


@cache
def events():
    """Return rows of `events` as mappings: 1000 in the first hour, and 1000 in the days."""
    random = Random(17)
    times = sorted({BEGIN + random.randrange(3600_000) / 1000 for _ in range(1000)})
    times += sorted({BEGIN + 3600 + random.randrange((DAYS * 86400 - 3600) * 1000) / 1000 for _ in range(1000)})
    return tuple(_event(random, at, time) for at, time in enumerate(times, 1))


def _event(random, sequence, time):
    event = random.choice(list(_ENDS))
    reason, outcome = _ENDS[event]
    is_sum = event == "clientFiltered" and random.random() < 0.3
    client = "" if is_sum else random.choice(_CLIENTS)
    row = {column.name: "" if column.kind in _TEXTS else 0 for column in EVENTS.columns}
    row |= {column.name: None for column in EVENTS.having(Role.DURATION)}
    row |= {
        "source": "n/0/1",
        "sequence": sequence,
        "time": time,
        "event": event,
        "reason": reason,
        "outcome": outcome,
        "app": random.choice("aaabbc"),
        "node": "n",
        "session": f"{sequence % 200}.1" if event in ("connect", "disconnect") else "",
        "client_ip": client,
        "ip_version": 6 if ":" in client else 4,
        "edge_port": random.choice([22, 443]),
        "weight": random.randint(2, 50) if is_sum else 1,
        "clients": random.randint(2, 20) if is_sum else 0,
        "client_bytes": random.randrange(2**34),
        "origin_bytes": random.randrange(1000),
    }
    if event == "disconnect":
        row["duration"] = int(random.lognormvariate(13, 2))
        row["client_rtt"] = random.choice([None, random.randint(100, 300_000)])
    return row


@contextmanager
def tables(rows):
    """Yield a connection to DuckDB with all tables, and these events; `minutes` shows each of them by itself."""
    with duckdb.connect() as connection:
        for table in TABLES.values():
            columns = ", ".join(f"{column.name} {column.kind.duckdb}" for column in table.columns)
            if table is not MINUTES:
                connection.execute(f"CREATE TABLE {table.name} ({columns})")
        rolled = minutes(DuckDb(), "date_trunc('minute', time)")
        connection.execute(f"CREATE VIEW minutes AS SELECT {rolled} FROM events")
        insert(connection, rows)
        yield connection


def insert(connection, rows):
    """Insert rows of events, column by column: `executemany` would take seconds."""
    lists = [[_stored(column, row[column.name]) for row in rows] for column in EVENTS.columns]
    selected = [
        "make_timestamp(unnest(CAST(? AS BIGINT[])))"
        if column.kind is ColumnKind.TIME
        else f"unnest(CAST(? AS {column.kind.duckdb}[]))"
        for column in EVENTS.columns
    ]
    connection.execute(f"INSERT INTO events SELECT {', '.join(selected)}", lists)


def _stored(column, value):
    return round(value * 1e6) if column.kind is ColumnKind.TIME else value


def minutes(dialect, minute):
    """Return what is selected of `events` for `minutes`."""
    made = []
    for column in MINUTES.columns:
        name = column.name
        duration = name.rpartition("_")[0]
        if column.role is Role.TIME:
            made.append(f"{minute} AS {name}")
        elif name == "records":
            made.append("1 AS records")
        elif column.role is Role.HISTOGRAM:
            made.append(f"{dialect.histogram_of(duration)} AS {name}")
        elif name.endswith("_sum") and duration in EVENTS.by_name:
            made.append(f"coalesce({duration}, 0) AS {name}")
        elif name.endswith("_count") and duration in EVENTS.by_name:
            made.append(f"CASE WHEN {duration} IS NULL THEN 0 ELSE 1 END AS {name}")
        else:
            made.append(name)
    return ", ".join(made)
