import hashlib
import itertools
import os
import signal
import sqlite3
import sys
from contextlib import closing

import pytest

from spectrum.store.errors import StoreCorrupt, StoreError, StoreNewer
from spectrum.store.schema import STEPS, VERSION, migrate, sync_folder, version_of
from tests.store.earlier import ROWS, first_store, rows_of

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
    with pytest.raises(StoreNewer, match=rf"later version of spectrum .*before-{len(LATER)}"):
        migrate(connection, path)
    assert connection.execute("SELECT count(*) FROM objects").fetchone() == fill_again


def test_another_programs_file_is_refused(connection, path):
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreCorrupt, match="another program"):
        migrate(connection, path)


def test_without_a_copy_nothing_is_changed(connection, path):
    migrate(connection, path)
    (path.parent / f"{path.name}.before-{len(LATER)}.part").mkdir()
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
    assert digests == ["64eec4734b44b1a1", "dfe74fd49a63d03f"]


# --- from the first version of the tables -----------------------------------------------------------------------------


def opened(path):
    return closing(sqlite3.connect(path, isolation_level=None))


def version(path):
    with opened(path) as connection:
        return version_of(connection, path)


def test_a_store_of_the_first_version_is_upgraded(path):
    first_store(path)
    with opened(path) as connection:
        migrate(connection, path)
        migrate(connection, path)
    assert (version(path), rows_of(path)) == (VERSION, ROWS)
    copy = path.with_name("store.sqlite3.before-2")
    assert (version(copy), rows_of(copy)) == (1, ROWS)
    assert sorted(one.name for one in path.parent.iterdir()) == ["store.sqlite3", copy.name]


def test_a_program_of_the_first_version_refuses_it_and_takes_the_copy(path):
    first_store(path)
    with opened(path) as connection:
        migrate(connection, path)
        with pytest.raises(StoreNewer) as refused:
            migrate(connection, path, STEPS[:1])
    assert str(refused.value) == (
        f"{path} was written by a later version of spectrum (its tables have version {VERSION}, this program knows 1); "
        "start that version, or move store.sqlite3 and store.sqlite3-wal to another folder, "
        "and rename store.sqlite3.before-2 to store.sqlite3"
    )
    path.with_name("store.sqlite3.before-2").rename(path)
    with opened(path) as connection:
        migrate(connection, path, STEPS[:1])
    assert rows_of(path) == ROWS


# What Python tells of the work on files before it is done; the rest are statements of SQL.
EVENTS = ("open", "os.rename", "os.remove", "sqlite3.connect")


def is_killed(path, count):
    """Upgrade in a process that is killed after so many steps of that; return whether there are as many."""
    child = os.fork()
    if child == 0:
        try:
            left, ours = iter(range(count)), str(path.parent)

            def step():
                if next(left, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)

            connection = sqlite3.connect(path, isolation_level=None)
            connection.set_trace_callback(lambda _: step())
            # Of the store's own files: who measures coverage opens others.
            sys.addaudithook(lambda event, told: step() if event in EVENTS and ours in str(told[0]) else None)
            migrate(connection, path)
            step()
            os._exit(0)
        finally:
            os._exit(1)
    how = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert how in (0, -signal.SIGKILL)
    return how != 0


def finish(path):
    """Check that an upgrade that was cut off left the store before it or after it; return which. Then upgrade it."""
    left = version(path)
    assert rows_of(path) == ROWS
    copy = path.with_name("store.sqlite3.before-2")
    if copy.exists():
        assert (version(copy), rows_of(copy)) == (1, ROWS)
    else:
        assert left == 1
    with opened(path) as connection:
        migrate(connection, path)
    assert (version(path), rows_of(path)) == (VERSION, ROWS)
    return left


def test_a_kill_leaves_the_store_before_the_step_or_after_it(tmp_path):
    versions = []
    for count in itertools.count():
        path = tmp_path / str(count) / "store.sqlite3"
        first_store(path)
        if not is_killed(path, count):
            break
        versions.append(finish(path))
    assert versions == [1] * (len(versions) - 1) + [VERSION]
    assert len(versions) > 10


def test_what_a_power_failure_leaves_of_a_step(tmp_path):
    """The step is in the WAL, of which any part may be on disk; the copy was there before."""
    whole = tmp_path / "whole" / "store.sqlite3"
    first_store(whole)
    with opened(whole) as connection:
        migrate(connection, whole)
        files = {one.name: one.read_bytes() for one in whole.parent.iterdir() if not one.name.endswith("-shm")}
    log = files["store.sqlite3-wal"]
    versions = []
    for length in (*range(0, len(log), 1500), len(log)):
        path = tmp_path / str(length) / "store.sqlite3"
        path.parent.mkdir()
        for name, data in {**files, "store.sqlite3-wal": log[:length]}.items():
            path.with_name(name).write_bytes(data)
        versions.append(finish(path))
    assert versions == sorted(versions)
    assert set(versions) == {1, VERSION}
