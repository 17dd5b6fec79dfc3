import pytest

from spectrum.analytics.database import Database
from spectrum.analytics.volumes import Volumes
from spectrum.core.analytics.dialects import Statement


@pytest.fixture
def opened(tmp_path):
    """Two volumes of two events each, of which the first event is in the history."""
    database = Database(tmp_path, 64 << 20, 1)
    volumes = Volumes(tmp_path, database, lambda text: None)
    database.open()
    volumes.open()
    volumes.begin()
    for number in (1, 2):
        with database.writing() as connection:
            connection.execute(
                f"INSERT INTO v{number}.events BY NAME SELECT 'app' || range AS app, 'edge1' AS node, 1 AS client,"
                f" TIMESTAMP '2026-11-26 12:00:0{number}' AS time, 1 AS weight, 0 AS clients, 3 AS client_bytes,"
                " 4 AS origin_bytes, 0 AS client_packets, 0 AS origin_packets, 5000 AS duration FROM range(2)"
            )
            connection.execute(f"INSERT INTO v{number}.clients VALUES (1, '203.0.113.7', '203.0.113.0/24')")
    volumes._firsts = {1: 1, 2: 1}
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO history.minutes BY NAME SELECT 1 AS volume, 'app0' AS app, 1 AS weight, 3 AS client_bytes,"
            " TIMESTAMP '2026-11-26 12:00:00' AS time, 1 AS records"
        )
        connection.execute("INSERT INTO history.marks VALUES (1, 'events', 1), (0, 'dropped', 9), (0, 'dropped', 5)")
    yield volumes
    database.close()


@pytest.mark.parametrize("table", ["events", "minutes"])
def test_a_statement_sees_each_row_once(opened, table):
    text = f"SELECT app, sum(weight), sum(client_bytes) FROM {table} GROUP BY app ORDER BY app"
    with opened.read(10.0) as tables:
        assert tables.ask(Statement(text)) == tables.execute(text) == [("app0", 2, 6), ("app1", 2, 6)]


def test_roll_ups_have_what_is_computed_of_other_columns(opened):
    text = "SELECT sum(duration_sum), sum(duration_count) FROM minutes"
    with opened.read(10.0) as tables:
        assert tables.ask(Statement(text)) == [(15000, 3)]


def test_parameters_are_no_part_of_the_text(opened):
    with opened.read(10.0) as tables:
        statement = Statement("SELECT count(*) FROM events WHERE app = $p0", {"p0": "minutes"})
        assert tables.ask(statement) == [(0,)]


def test_a_query_may_read_all_columns(opened):
    with opened.read(10.0) as tables:
        assert len(tables.execute("SELECT * FROM events")[0]) > 40
        assert tables.execute("SELECT 1") == [(1,)]


def test_an_address_that_two_volumes_have_is_there_once(opened):
    with opened.read(10.0) as tables:
        assert tables.ask(Statement("SELECT client, client_ip FROM clients")) == [(1, "203.0.113.7")]


def test_the_newest_event_and_the_newest_that_was_dropped(opened):
    with opened.read(10.0) as tables:
        assert tables.newest() == 1795694402.0
        assert tables.dropped_us == 9


def test_without_events_there_is_no_newest(tmp_path):
    database = Database(tmp_path, 64 << 20, 1)
    volumes = Volumes(tmp_path, database, lambda text: None)
    database.open()
    volumes.open()
    with volumes.read(10.0) as tables:
        assert (tables.newest(), tables.dropped_us) == (0.0, 0)
    database.close()
