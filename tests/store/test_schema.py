import hashlib
import sqlite3

import pytest

from spectrum.store.errors import StoreCorrupt, StoreError, StoreNewer
from spectrum.store.schema import STEPS, VERSION, migrate, sync_folder, version_of

LATER = (*STEPS, ("ALTER TABLE objects ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite3"


@pytest.fixture
def connection(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    yield connection
    connection.close()


def fill(connection):
    connection.execute("INSERT INTO objects VALUES (1, 'apps', 'i', 'n', '{}', 0, 0, 1)")


def test_a_new_file_gets_all_tables_and_no_copy(connection, path):
    assert version_of(connection, path) == 0
    migrate(connection, path)
    assert version_of(connection, path) == VERSION
    migrate(connection, path)
    assert list(path.parent.glob("*.before-*")) == []


def test_a_step_is_taken_after_a_copy(connection, path):
    migrate(connection, path)
    fill(connection)
    migrate(connection, path, LATER)
    assert connection.execute("SELECT name, colour FROM objects").fetchall() == [("n", "red")]
    copy = path.with_name(f"store.sqlite3.before-{len(LATER)}")
    assert copy.stat().st_mode & 0o077 == 0
    with sqlite3.connect(copy) as before:
        assert before.execute("SELECT * FROM objects").fetchall() == [(1, "apps", "i", "n", "{}", 0, 0, 1)]
        assert version_of(before, copy) == VERSION
    before.close()


def test_a_step_that_fails_leaves_the_file_before_it(connection, path):
    migrate(connection, path)
    fill(connection)
    broken = (*STEPS, ("CREATE TABLE colours (name TEXT)", "no SQL"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, path, broken)
    assert version_of(connection, path) == VERSION
    assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'colours'").fetchall() == []
    migrate(connection, path, LATER)


def test_a_later_versions_file_is_refused(connection, path):
    migrate(connection, path, LATER)
    fill_again = connection.execute("SELECT count(*) FROM objects").fetchone()
    with pytest.raises(StoreNewer, match=r"later version of spectrum .*before-2"):
        migrate(connection, path)
    assert connection.execute("SELECT count(*) FROM objects").fetchone() == fill_again


def test_another_programs_file_is_refused(connection, path):
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreCorrupt, match="another program"):
        migrate(connection, path)


def test_without_a_copy_nothing_is_changed(connection, path):
    migrate(connection, path)
    (path.parent / f"{path.name}.before-2.part").mkdir()
    with pytest.raises(StoreError, match="no copy could be made"):
        migrate(connection, path, LATER)
    assert version_of(connection, path) == VERSION


def test_a_folder_is_synced(tmp_path):
    sync_folder(tmp_path)
    with pytest.raises(OSError):
        sync_folder(tmp_path / "none")


def test_a_step_that_was_released_stays_what_it_is():
    """Stores have had it: what else is wanted is another step."""
    digests = [hashlib.sha256("".join("".join(step).split()).encode()).hexdigest()[:16] for step in STEPS]
    assert digests == ["64eec4734b44b1a1"]
