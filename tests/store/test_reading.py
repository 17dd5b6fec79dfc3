import os
import sqlite3

import pytest

from spectrum.store.errors import StoreCorrupt, StoreError, StoreNewer
from spectrum.store.objects import ObjectChange
from spectrum.store.reading import FILE_NAME, StoreContent, read_objects, read_revision
from spectrum.store.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.open()
    yield store
    store.close()


def put(store, section, name, value):
    store.commit([ObjectChange(section, f"{section}-{name}", name, value)], [], 1.0)


def test_no_store_has_no_objects(tmp_path):
    assert read_objects(tmp_path / "none") == StoreContent(0, {})
    assert read_revision(tmp_path / "none") == 0
    (tmp_path / FILE_NAME).touch()
    assert read_objects(tmp_path) == StoreContent(0, {})


def test_what_is_committed_is_read_beside_the_writer(store, tmp_path):
    put(store, "apps", "z", {"protocol": "tcp/1"})
    put(store, "apps", "a", {"protocol": "tcp/2"})
    put(store, "pools", "p", {"origins": []})
    found = read_objects(tmp_path)
    assert found.objects == {
        "apps": {"z": {"protocol": "tcp/1"}, "a": {"protocol": "tcp/2"}},
        "pools": {"p": {"origins": []}},
    }
    assert list(found.objects["apps"]) == ["z", "a"]
    assert found.revision == read_revision(tmp_path) == 3


def test_what_is_read_after_the_writer_ended(store, tmp_path):
    put(store, "apps", "a", {})
    store.close()
    assert read_objects(tmp_path).revision == 1


def test_an_open_transaction_is_not_seen(store, tmp_path):
    put(store, "apps", "a", {})
    with store._transaction() as connection:
        connection.execute("DELETE FROM objects")
        assert read_objects(tmp_path).objects == {"apps": {"a": {}}}


def test_a_reader_cannot_write_and_makes_no_file(store, tmp_path):
    put(store, "apps", "a", {})
    store.close()
    before = sorted(os.listdir(tmp_path))
    read_objects(tmp_path)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    assert set(before) >= {FILE_NAME, "store.lock"}


def test_a_damaged_file(store, tmp_path):
    put(store, "apps", "a", {})
    store.close()
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    (tmp_path / f"{FILE_NAME}.before-2").touch()
    with pytest.raises(StoreCorrupt, match=r"is damaged: .*the last copy is .*before-2"):
        read_objects(tmp_path)


def test_a_damaged_value(store, tmp_path):
    put(store, "apps", "a", {})
    with store._transaction() as connection:
        connection.execute("UPDATE objects SET value = '{'")
    with pytest.raises(StoreCorrupt, match="spectrum import"):
        read_objects(tmp_path)


def test_a_later_versions_file(store, tmp_path):
    with store._transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreNewer):
        read_objects(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StoreError, match=r"I/O error|unable to open"):
        read_objects(tmp_path)


def test_sqlite_says_when_a_file_is_held_up(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.store.reading.BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        read_objects(tmp_path)
    other.close()
