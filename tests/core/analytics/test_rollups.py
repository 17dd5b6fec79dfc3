import random

import duckdb
import numpy
import pytest

from spectrum.core.analytics.columns import EVENTS, MINUTES, Role
from spectrum.core.analytics.histogram import percentile
from spectrum.core.analytics.rollups import as_minutes, rolled_up

ROWS = 2000
DURATIONS = [column.name for column in EVENTS.having(Role.DURATION)]
SUMS = ("weight", "clients", "client_bytes", "origin_bytes", "client_packets", "origin_packets")


@pytest.fixture(scope="module")
def database():
    """Events of a few minutes, of a few apps; some durations are unknown."""
    draw = random.Random(17)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"CREATE TABLE events ({', '.join(f'{one.name} {one.duckdb}' for one in EVENTS.columns)})")
        connection.execute(
            "CREATE TABLE drawn"
            " (time TIMESTAMP, app VARCHAR, weight INT, client_bytes INT, duration BIGINT, client_rtt INT)"
        )
        lines = [
            (
                f"2026-11-26 12:0{draw.randrange(4)}:{draw.randrange(60):02}",
                draw.choice(["ssh", "web"]),
                draw.choice([1, 1, 1, 5]),
                draw.randrange(10**6),
                int(draw.lognormvariate(12, 3)),
                draw.choice([None, draw.randrange(1, 10**6)]),
            )
            for _ in range(ROWS)
        ]
        columns = [list(column) for column in zip(*lines, strict=True)]
        connection.execute(f"INSERT INTO drawn SELECT {', '.join('unnest(?)' for _ in columns)}", columns)
        connection.execute(
            "INSERT INTO events BY NAME SELECT *, 0 AS clients, 1 AS origin_bytes, 0 AS client_packets,"
            " 0 AS origin_packets, 'disconnect' AS event FROM drawn"
        )
        connection.execute(f"CREATE TABLE minutes AS {rolled_up('events')}")
        connection.execute(f"CREATE VIEW shown AS {as_minutes('events')}")
        yield connection


@pytest.mark.parametrize("table", ["minutes", "shown"])
def test_sums_are_those_of_events(database, table):
    sums = ", ".join(f"sum({name})" for name in SUMS)
    of_durations = ", ".join(f"sum({name}), count({name})" for name in DURATIONS)
    rolled = ", ".join(f"sum({name}_sum), sum({name}_count)" for name in DURATIONS)
    per = "app, date_trunc('minute', time) AS minute"
    exact = database.execute(f"SELECT {per}, {sums}, {of_durations} FROM events GROUP BY ALL ORDER BY ALL").fetchall()
    found = database.execute(f"SELECT {per}, {sums}, {rolled} FROM {table} GROUP BY ALL ORDER BY ALL").fetchall()
    assert [[value or 0 for value in row] for row in exact] == [[value or 0 for value in row] for row in found]
    assert database.execute(f"SELECT sum(records) FROM {table}").fetchone() == (ROWS,)


def test_what_is_shown_has_the_same_columns(database):
    def described(query):
        return [row[:2] for row in database.execute(f"DESCRIBE {query}").fetchall()]

    assert described("minutes") == described("shown") == [(one.name, one.duckdb) for one in MINUTES.columns]


@pytest.mark.parametrize("table", ["minutes", "shown"])
@pytest.mark.parametrize("name", ["duration", "client_rtt"])
def test_percentiles_are_near_those_of_numpy(database, table, name):
    found = database.execute(f"SELECT {name} FROM events WHERE {name} IS NOT NULL").fetchall()
    values = numpy.array([value for (value,) in found])
    histogram = dict(
        database.execute(
            f"SELECT bucket, sum(number) FROM (SELECT unnest(map_keys({name}_histogram)) AS bucket,"
            f" unnest(map_values({name}_histogram)) AS number FROM {table}) GROUP BY bucket"
        ).fetchall()
    )
    assert sum(histogram.values()) == len(values)
    for share in (0.5, 0.9, 0.99):
        exact = numpy.quantile(values, share, method="inverted_cdf")
        assert percentile(histogram, share) == pytest.approx(exact, rel=0.03)


def test_rows_that_agree_are_one(database):
    assert database.execute("SELECT count(*) FROM minutes").fetchone() == (4 * 2,)
    assert database.execute("SELECT count(*) FROM shown").fetchone() == (ROWS,)
