import threading
import time

import duckdb
import pytest

from spectrum.analytics.database import Database
from spectrum.analytics.store import AnalyticsError, QuestionTooLarge

LONG = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3"


@pytest.fixture
def database(tmp_path):
    found = Database(tmp_path, 64 << 20, 1)
    found.open()
    found.writer.execute(f"ATTACH '{tmp_path}/x.duckdb' AS x")
    found.writer.execute("CREATE TABLE x.t (i INT)")
    yield found
    found.close()


def test_a_transaction_is_all_or_nothing(database):
    def fail(connection):
        connection.execute("INSERT INTO x.t VALUES (1)")
        raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"), database.writing() as connection:
        fail(connection)
    assert database.one("SELECT count(*) FROM x.t") == (0,)
    with database.writing() as connection:
        connection.execute("INSERT INTO x.t VALUES (1)")
    assert database.one("SELECT i FROM x.t WHERE i = ?", [1]) == (1,)
    assert database.one("SELECT i FROM x.t WHERE i = 2") == ()
    assert not database.is_broken


def test_who_reads_sees_one_moment(database):
    with database.reading(10.0) as reader:
        assert reader.execute("SELECT count(*) FROM x.t") == [(0,)]
        with database.writing() as writer:
            writer.execute("INSERT INTO x.t VALUES (1)")
        assert reader.execute("SELECT count(*) FROM x.t") == [(0,)]


def test_what_takes_too_long_or_too_much(database):
    with pytest.raises(QuestionTooLarge, match="longer"), database.reading(0.05) as reader:
        reader.execute(LONG)
    with pytest.raises(QuestionTooLarge, match="memory"), database.reading(10.0) as reader:
        reader.execute("SELECT list(range) FROM range(100000000)")
    assert database.one("SELECT 1") == (1,)


def test_errors_say_where_and_why(database, tmp_path):
    with pytest.raises(AnalyticsError, match=f"{tmp_path}: Catalog Error") as caught:
        database.one("FROM nothing")
    assert caught.value.reason == "other"
    (tmp_path / "bad.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(AnalyticsError) as caught:
        database.one(f"ATTACH '{tmp_path}/bad.duckdb' AS bad")
    assert caught.value.reason == "corrupt"
    assert database.is_damaged
    with pytest.raises(AnalyticsError, match="permission denied"), database.explained():
        raise PermissionError(13, "Permission denied", "/x")


def test_a_full_disk_breaks_it(database):
    with pytest.raises(AnalyticsError) as caught, database.writing():
        raise duckdb.IOException("IO Error: Could not write file: No space left on device")
    assert caught.value.reason == "full"
    assert database.is_broken
    database.close()
    database.open()
    assert not database.is_broken


def test_questions_end_when_it_is_closed(database):
    began = threading.Event()
    failed = []

    def ask():
        try:
            with database.reading(60.0) as reader:
                began.set()
                reader.execute(LONG)
        except AnalyticsError as exc:
            failed.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    assert began.wait(10)
    time.sleep(0.2)
    database.close()
    with pytest.raises(AnalyticsError, match="closed"):
        assert database.writer
    with pytest.raises(AnalyticsError, match="closed"), database.reading(1.0):
        pass
    thread.join(20)
    assert len(failed) == 1
