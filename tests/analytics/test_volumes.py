import subprocess
import sys
import time

import pytest

from spectrum.analytics.database import Database
from spectrum.analytics.layout import HISTORY, catalog
from spectrum.analytics.store import AnalyticsError
from spectrum.analytics.volumes import Volumes
from spectrum.core.analytics.columns import EVENTS


class Opened:
    """The files of a folder, open; `said` is what an operator read."""

    def __init__(self, folder):
        self.said = []
        self.folder = folder
        self.database = Database(folder, 64 << 20, 1)
        self.volumes = Volumes(folder, self.database, self.said.append)
        self.open()

    def open(self):
        self.database.open()
        self.volumes.open()

    def add(self, app, number=None):
        name = self.volumes.last if number is None else catalog(number)
        with self.database.writing() as connection:
            connection.execute(
                f"INSERT INTO {name}.events BY NAME SELECT '{app}' AS app, TIMESTAMP '2026-11-26 12:00:10' AS time,"
                " 1 AS weight, 0 AS clients, 1 AS client_bytes, 0 AS origin_bytes, 0 AS client_packets,"
                " 0 AS origin_packets"
            )

    def roll_up(self, number, app):
        """As upkeep does it."""
        with self.database.writing() as connection:
            connection.execute(
                f"INSERT INTO {HISTORY}.minutes BY NAME SELECT {number} AS volume, '{app}' AS app, 1 AS weight,"
                " TIMESTAMP '2026-11-26 12:00:00' AS time, 1 AS records"
            )
            connection.execute(f"INSERT INTO {HISTORY}.marks VALUES ({number}, 'events', 1)")

    def apps(self, table="events"):
        with self.volumes.read(10.0) as reader:
            return sorted(app for (app,) in reader.execute(f"SELECT app FROM {table}"))

    def look_at_all(self):
        with self.volumes.read(10.0) as reader:
            reader.execute("SELECT bit_xor(hash(t)) FROM events t")

    def close(self):
        self.database.close()


@pytest.fixture
def opened(tmp_path):
    found = Opened(tmp_path)
    yield found
    found.close()


def test_questions_see_all_volumes_and_the_history(opened):
    opened.add("a")
    opened.volumes.begin()
    opened.add("b")
    assert opened.volumes.numbers == [1, 2]
    assert opened.apps() == opened.apps("minutes") == ["a", "b"]
    opened.roll_up(1, "a")
    assert opened.apps("minutes") == ["a", "b"], "each event is in it once"
    opened.close()
    opened.open()
    assert opened.volumes.numbers == [1, 2]
    assert opened.apps("minutes") == ["a", "b"]


def test_questions_of_a_time_see_its_volumes_alone(opened):
    noon = 1795694400.0  # of the rows
    for app in "abcd":
        opened.add(app)
        opened.volumes.begin()
    opened.add("e")
    opened.database.writer.execute("UPDATE v1.events SET time = TIMESTAMP '2026-11-25 12:00:00'")
    opened.close()
    opened.open()

    def apps(since, until):
        with opened.volumes.read(10.0, since, until) as reader:
            return sorted(app for (app,) in reader.execute("SELECT app FROM events"))

    assert apps(0, noon + 60) == ["a", "b", "c", "d", "e"]
    assert apps(noon - 60, noon + 60) == ["b", "c", "d", "e"]
    assert apps(noon - 86400, noon) == ["a", "d", "e"]
    assert apps(noon + 11, noon + 60) == ["d", "e"], "the last two have the newest row"


def test_a_new_volume_continues_where_the_one_before_is(opened):
    with opened.database.writing() as connection:
        connection.execute("INSERT INTO v1.progress VALUES (1, 2, 3)")
        connection.execute("INSERT INTO v1.sources VALUES ('edge1/0/1', 7)")
    opened.volumes.begin()
    assert opened.volumes.last == "v2"
    assert 0 < opened.volumes.last_size() < opened.volumes.size()
    assert time.time() - 60 < opened.volumes.begun_at(2) <= time.time()
    assert opened.database.one("FROM v2.progress") == (1, 2, 3)
    assert opened.database.one("FROM v2.sources") == ("edge1/0/1", 7)
    assert opened.volumes.size() > 0


def test_a_dropped_volume_is_there_for_who_reads_it(opened, tmp_path):
    opened.add("a")
    opened.volumes.begin()
    path = tmp_path / "events-00000001.duckdb"
    with opened.volumes.read(10.0) as reader:
        opened.volumes.drop(1, 5)
        assert reader.execute("SELECT app FROM events") == [("a",)]
        assert path.exists()
        opened.volumes.delete_unread()
        assert path.exists()
    opened.volumes.delete_unread()
    assert not path.exists()
    assert opened.volumes.numbers == [2]
    assert opened.apps() == []
    assert opened.database.one(f"FROM {HISTORY}.marks") == (0, "dropped", 5)


def test_a_volume_whose_file_is_still_there_after_a_kill_is_not_rolled_up_again(opened):
    opened.add("a")
    opened.roll_up(1, "a")
    opened.volumes.begin()
    with opened.volumes.read(10.0):
        opened.volumes.drop(1, 5)
        assert opened.apps("minutes") == ["a"]
    opened.close()
    opened.open()
    assert opened.volumes.numbers == [1, 2]
    assert opened.apps("minutes") == ["a"]
    opened.volumes.drop(1, 5)
    assert opened.apps() == []
    assert opened.apps("minutes") == ["a"]


@pytest.mark.parametrize("damage", [b"", b"no database" * 5000], ids=["empty", "other"])
def test_a_damaged_newest_volume_is_set_aside_and_its_roll_ups_forgotten(opened, tmp_path, damage):
    opened.add("a")
    opened.roll_up(1, "a")
    opened.volumes.begin()
    opened.add("b")
    opened.roll_up(2, "b")
    opened.close()
    path = tmp_path / "events-00000002.duckdb"
    path.write_bytes(damage or b"\0" * 20000)
    (tmp_path / "events-00000002.duckdb.wal").unlink(missing_ok=True)
    opened.open()
    (said,) = opened.said
    assert f"{path} is damaged, and set aside in {tmp_path}/damaged" in said
    assert opened.volumes.numbers == [1]
    assert opened.apps() == opened.apps("minutes") == ["a"], "the journal gives b again"
    assert [one.name for one in (tmp_path / "damaged").iterdir()] == ["events-00000002.duckdb.0"]


def test_a_damaged_older_volume_keeps_its_roll_ups(opened, tmp_path):
    opened.add("a")
    opened.roll_up(1, "a")
    opened.volumes.begin()
    opened.add("b")
    opened.close()
    (tmp_path / "events-00000001.duckdb").write_bytes(b"\1" * 20000)
    opened.open()
    assert opened.apps() == ["b"]
    assert opened.apps("minutes") == ["a", "b"]


def test_a_damaged_history_is_made_again_from_the_volumes(opened, tmp_path):
    opened.add("a")
    opened.roll_up(1, "a")
    opened.close()
    (tmp_path / "history.duckdb").write_bytes(b"\1" * 20000)
    opened.open()
    assert len(opened.said) == 1
    assert opened.apps("minutes") == ["a"]


def test_without_any_volume_a_new_one_begins(opened, tmp_path):
    opened.add("a")
    opened.roll_up(1, "a")
    opened.close()
    (tmp_path / "events-00000001.duckdb").unlink()
    (tmp_path / "events-00000001.duckdb.wal").unlink(missing_ok=True)
    opened.open()
    assert opened.volumes.numbers == [2]
    assert opened.apps("minutes") == []


def test_a_volume_that_was_being_made_is_deleted(opened, tmp_path):
    opened.database.writer.execute(f"ATTACH '{tmp_path}/events-00000002.duckdb' AS half")
    opened.close()
    opened.open()
    assert opened.volumes.numbers == [1]
    assert not (tmp_path / "events-00000002.duckdb").exists()


def test_damage_within_a_file_is_found_by_who_reads_it(opened, tmp_path):
    with opened.database.writing() as connection:
        connection.execute(
            "INSERT INTO v1.events BY NAME SELECT 'a' || range AS app, range AS client_bytes FROM range(100000)"
        )
    opened.database.writer.execute("CHECKPOINT v1")
    (block,) = opened.database.one(
        "SELECT block_id FROM pragma_storage_info('v1.events') WHERE column_name = 'client_bytes' AND block_id >= 0"
    )
    opened.close()
    path = tmp_path / "events-00000001.duckdb"
    data = bytearray(path.read_bytes())
    # Three headers are before the first block.
    begin = 3 * 4096 + block * 262144
    data[begin + 100 : begin + 4100] = b"\xa5" * 4000
    path.write_bytes(data)
    opened.open()
    with pytest.raises(AnalyticsError) as caught:
        opened.look_at_all()
    assert caught.value.reason == "corrupt"
    assert opened.database.is_damaged
    opened.volumes.look_for_damage()
    assert opened.database.is_broken, "it has to be opened anew"
    opened.close()
    opened.open()
    assert opened.apps() == []
    assert len(opened.said) == 1


def test_another_process_has_it(opened, tmp_path):
    opened.close()
    held = (
        f"import duckdb, sys; c = duckdb.connect('{tmp_path}/history.duckdb'); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(AnalyticsError) as caught:
            opened.open()
        assert caught.value.reason == "locked"
        opened.close()
        other.communicate()
    opened.open()


def test_columns_of_a_volume_are_those_of_its_file(opened):
    assert '"client_ip"' in opened.volumes.selection(1, EVENTS)
