import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.store.audit import AuditEntry, AuditFilter, Author
from spectrum.store.errors import NameTaken, StoreCorrupt, StoreError, StoreInUse
from spectrum.store.objects import ObjectChange, StoredObject
from spectrum.store.reading import FILE_NAME, read_objects
from spectrum.store.store import Store
from spectrum.store.tokens import StoredToken, digest
from tests.store.earlier import ROWS, first_store

ADMIN = Author("token", "t1", "deploy", "192.0.2.1", "curl/8")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    yield store
    store.close()


@pytest.fixture(scope="module")
def one_store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("one"))
    store.open()
    yield store
    store.close()


def put(name, value=None, object_id=None, section="apps"):
    return ObjectChange(section, object_id or f"{section}/{name}", name, {} if value is None else value)


def line(name, **changes):
    return replace(AuditEntry(ADMIN, "create", "apps", f"apps/{name}", name, after={"n": 1}), **changes)


def test_objects_are_kept_in_the_order_in_which_they_were_made(store):
    made = store.commit([put("b", {"a": [1, None, "ü"]}), put("a")], [], 5.0)
    assert made == [
        StoredObject("apps", "apps/b", "b", {"a": [1, None, "ü"]}, 5.0, 5.0, 1),
        StoredObject("apps", "apps/a", "a", {}, 5.0, 5.0, 2),
    ]
    changed = store.commit([put("b", {"a": 2})], [], 9.0)
    assert changed == [StoredObject("apps", "apps/b", "b", {"a": 2}, 5.0, 9.0, 3)]
    assert list(store.objects()) == [changed[0], made[1]]
    assert store.revision == 3


def test_an_object_is_deleted_and_its_name_is_free(store):
    store.commit([put("a"), put("b")], [], 1.0)
    assert store.commit([replace(put("a"), value=None), put("a", object_id="other")], [], 2.0)[0].id == "other"
    assert [one.id for one in store.objects()] == ["apps/b", "other"]
    assert store.commit([replace(put("none"), value=None)], [], 3.0) == []
    assert store.revision == 5


def test_an_object_gets_another_name(store):
    store.commit([put("a")], [], 1.0)
    assert store.commit([put("z", object_id="apps/a")], [], 2.0)[0].name == "z"
    assert [one.name for one in store.objects()] == ["z"]


def test_a_name_is_taken_once_in_a_section(store):
    store.commit([put("a"), put("a", section="pools")], [], 1.0)
    with pytest.raises(NameTaken, match="apps: another object has the name a"):
        store.commit([put("b"), put("a", object_id="x")], [line("b")], 2.0)
    assert [one.name for one in store.objects()] == ["a", "a"]
    assert store.revision == 2
    assert store.audit(AuditFilter(), 10) == []


def test_the_revision_orders_where_the_clock_is_set_back(store):
    store.commit([put("a")], [line("a")], 1000.0)
    changed = store.commit([put("a", {"n": 2}), put("b")], [line("a"), line("b")], 10.0)
    assert [one.revision for one in changed] == [2, 3]
    assert changed[0].modified_on == 1000.0  # never before it was made
    assert [one.name for one in store.objects()] == ["a", "b"]
    assert [one.at for one in store.audit(AuditFilter(), 10)] == [10.0, 10.0, 1000.0]
    assert [one.number for one in store.audit(AuditFilter(), 10)] == [3, 2, 1]


def test_values_without_a_json_form_are_refused(store):
    with pytest.raises(ValueError):
        store.commit([put("a"), put("b", {"n": float("nan")})], [], 1.0)
    assert list(store.objects()) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), VALUES, max_size=5))
def test_every_value_comes_back(one_store, value):
    one_store.commit([put("a", value)], [replace(line("a", before=value), name="\ud800")], 1.0)
    assert next(one_store.objects()).value == value


def test_tokens(store):
    token = StoredToken("1", "deploy", digest("a" * 40), {"policies": []}, 1.0, 1.0)
    store.put_token(token, [line("t", section="tokens", action="create")], 1.0)
    store.put_token(replace(token, id="2", digest=digest("b" * 40)), [], 2.0)
    rolled = replace(token, digest=digest("c" * 40), modified_on=3.0)
    store.put_token(rolled, [], 3.0)
    assert [one.digest for one in store.tokens()] == [rolled.digest, digest("b" * 40)]
    store.delete_token("1", [line("t", section="tokens", action="delete")], 4.0)
    assert [one.id for one in store.tokens()] == ["2"]
    assert [one.action for one in store.audit(AuditFilter(sections=("tokens",)), 10)] == ["delete", "create"]


def test_last_uses_of_tokens(store):
    """Those of the file have no row of their own but this one."""
    store.put_token(StoredToken("1", "deploy", digest("a" * 40), {}, 1.0, 1.0), [], 1.0)
    store.write_token_uses({"1": 5.0, "of-file": 6.0, "gone": None})
    store.write_token_uses({"1": 7.0})
    assert store.token_uses() == {"1": 7.0, "of-file": 6.0}
    assert (store.revision, store.tokens()[0].modified_on, store.count_audit(AuditFilter())) == (0, 1.0, 0)
    store.close()
    store.open()
    store.write_token_uses({"of-file": None})
    assert store.token_uses() == {"1": 7.0}
    store.delete_token("1", [], 2.0)
    assert store.token_uses() == {}


def test_a_store_of_the_first_version_continues(tmp_path):
    first_store(tmp_path / FILE_NAME)
    store = Store(tmp_path)
    store.open()
    assert [(one.id, one.name, one.value) for one in store.objects()] == [
        ("a" * 32, "ssh", {"protocol": "tcp/22"}),
        ("b" * 32, "eu", {"origins": []}),
    ]
    assert [(one.id, one.name, one.digest) for one in store.tokens()] == [row[1:4] for row in ROWS["tokens"]]
    assert [(one.number, one.before, one.after) for one in store.audit(AuditFilter(), 9)] == [
        (number, {"n": 1}, None) for number in (5, 2, 1)
    ]
    assert store.token_uses() == {}
    (made,) = store.commit([put("c")], [line("c")], 9.0)
    assert (made.revision, store.audit(AuditFilter(), 1)[0].number) == (8, 6)
    store.close()


def test_no_text_of_a_token_is_in_the_store(store, tmp_path):
    text = "sp_" + "x" * 43
    store.put_token(StoredToken("1", "deploy", digest(text), {}, 1.0, 1.0), [], 1.0)
    store.close()
    assert text.encode() not in (tmp_path / "store" / FILE_NAME).read_bytes()


def test_the_audit_log_hides_secrets(store):
    value = {"header": {"Authorization": ["Bearer x"]}}
    store.commit([put("a", value)], [line("a", before=value, after=value)], 1.0)
    entry = store.audit(AuditFilter(), 1)[0]
    assert entry.before == entry.after == {"header": {"Authorization": ["(hidden)"]}}
    assert (entry.author, entry.is_done, len(entry.id)) == (ADMIN, True, 32)


def test_of_a_value_that_is_too_long_the_audit_log_has_the_length(store):
    store.commit([], [line("a", after={"text": "x" * 100_000})], 1.0)
    assert store.audit(AuditFilter(), 1)[0].after == {"(left out)": "100011 characters"}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (AuditFilter(), "edcba"),
        (AuditFilter(since=2.0, before=4.0), "cb"),
        (AuditFilter(accounts=("acme",)), "ba"),
        (AuditFilter(accounts=()), ""),
        (AuditFilter(zones=("example.com",)), "b"),
        (AuditFilter(accounts=("other",), zones=("example.com",)), "cb"),
        (AuditFilter(actions=("delete", "roll")), "e"),
        (AuditFilter(sections=("pools",)), "d"),
        (AuditFilter(object_id="apps/a"), "a"),
        (AuditFilter(author_id="other"), "c"),
        (AuditFilter(address="192.0.2.9"), "c"),
        (AuditFilter(id="5" * 32), "e"),
    ],
)
def test_the_audit_log_is_searched(store, wanted, names):
    entries = [
        line("a", account="acme"),
        line("b", account="acme", zone="example.com"),
        line("c", account="other", author=replace(ADMIN, id="other", address="192.0.2.9")),
        line("d", section="pools"),
        line("e", action="delete", id="5" * 32, is_done=False),
    ]
    for number, entry in enumerate(entries, 1):
        store.write_audit([entry], float(number))
    assert "".join(one.name for one in store.audit(wanted, 10)) == names
    assert store.count_audit(wanted) == len(names)


def test_the_audit_log_is_read_page_by_page(store):
    store.write_audit([line(str(number)) for number in range(7)], 1.0)
    for newest_first in (True, False):
        seen, after = [], 0
        while page := store.audit(AuditFilter(), 3, after, newest_first):
            seen += [one.name for one in page]
            after = page[-1].number
        assert seen == sorted("0123456", reverse=newest_first)


def test_the_oldest_lines_of_the_audit_log_go(store, monkeypatch):
    monkeypatch.setattr("spectrum.store.store.MAX_AUDIT_ENTRIES", 3)
    for number in range(5):
        store.write_audit([line(str(number))], 1.0)
    assert [one.name for one in store.audit(AuditFilter(), 10)] == ["4", "3", "2"]


def test_one_process_writes(store, tmp_path):
    other = Store(tmp_path / "store")
    with pytest.raises(StoreInUse, match="another process writes"):
        other.open()
    threading.Timer(0.1, store.close).start()
    other.open(timeout_s=20.0)
    other.commit([put("a")], [], 1.0)
    other.close()


def test_a_store_that_is_closed(store):
    store.close()
    store.close()
    for call in (lambda: store.revision, store.objects, store.tokens, lambda: store.commit([put("a")], [], 1.0)):
        with pytest.raises(StoreError, match="is not open"):
            call()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="not a directory"):
        Store(tmp_path / "file" / "store").open()


def test_a_damaged_store_is_left_as_it_is(store, tmp_path):
    store.commit([put(str(number), {"text": "x" * 500}) for number in range(500)], [], 1.0)
    store.close()
    path = tmp_path / "store" / FILE_NAME
    data = bytearray(path.read_bytes())
    data[8192:90_000] = os.urandom(90_000 - 8192)
    path.write_bytes(data)
    again = Store(tmp_path / "store")
    with pytest.raises(StoreCorrupt, match="Nothing in it was changed; move"):
        again.open()
    assert path.read_bytes() == bytes(data)
    path.rename(tmp_path / "aside")
    again.open()  # the lock was given back
    assert list(again.objects()) == []
    again.close()


def test_its_files_are_for_its_user_alone(store, tmp_path):
    store.commit([put("a")], [], 1.0)
    folder = tmp_path / "store"
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.iterdir() if path.stat().st_mode & 0o077] == []


def test_commits_of_many_threads_are_whole(store):
    def work(number):
        for count in range(20):
            store.commit([put(f"{number}-{count}"), put(f"{number}", {"n": count})], [line("x")], 1.0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(store.objects())) == 4 * 21
    assert store.revision == 4 * 40
    assert store.count_audit(AuditFilter()) == 80


def test_whatever_sqlite_refuses_changes_nothing(store):
    store.commit([put("a")], [], 1.0)
    with store._transaction() as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StoreError, match="no"):
        store.commit([put("a", {"n": 1}), put("b")], [line("a")], 2.0)
    assert [(one.name, one.value) for one in store.objects()] == [("a", {})]
    store.commit([put("b")], [], 3.0)


# What a process that is killed does: each change is three objects and a line, each acknowledgement eight bytes.
def write_until_killed(folder, acknowledge, first):
    store = Store(folder)
    store.open(timeout_s=20.0)
    for number in range(first, 1 << 62):
        value = {"n": number, "text": "x" * random.randrange(5000)}
        changes = [put(name, value) for name in "abc"]
        if number % 3 == 0:
            changes.insert(0, replace(put("a"), value=None))
        store.commit(changes, [line("a", after={"n": number})], 1.0)
        os.write(acknowledge, struct.pack("=q", number))


def kill_while_it_writes(folder, first, count, after_s):
    """Kill it after so many acknowledgements and a while; return the last one, or `first` - 1."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write_until_killed(folder, writing, first)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, "rb", buffering=0) as acknowledged:
        data = b"".join(acknowledged.read(8) for _ in range(count))
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        data += acknowledged.readall()
    return struct.unpack("=q", data[-8:])[0] if data else first - 1


def test_what_was_acknowledged_outlives_any_kill(tmp_path):
    chance = random.Random(1)
    for attempt in range(120):
        folder = tmp_path / str(attempt // 20)  # also while the file is made
        if attempt % 20 == 0:
            last = 0
        count = chance.choice([0, 0, 1, 3])
        last = max(last, kill_while_it_writes(folder, last + 1, count, chance.uniform(0.0, 0.005 if count else 0.03)))
        found = read_objects(folder).objects.get("apps", {})  # as a supervisor does after the end of the process
        numbers = {one["n"] for one in found.values()}
        assert len(numbers) == (1 if found else 0), "half of a change"
        assert len(found) in (0, 3)
        now = next(iter(numbers), 0)
        assert now in (last, last + 1), "an acknowledged change is missing"  # the last one may lack its answer
        last = now
    store = Store(folder)
    store.open()
    lines = [one.after["n"] for one in store.audit(AuditFilter(), 1_000_000, newest_first=False)]
    store.close()
    assert lines == list(range(1, last + 1))
    assert last > 10


FULL_DISK = """
import os, sys
from pathlib import Path
from spectrum.store.errors import StoreFull
from spectrum.store.objects import ObjectChange
from spectrum.store.reading import read_objects
from spectrum.store.store import Store

folder = Path(sys.argv[1])
ballast = folder / "ballast"
ballast.write_bytes(bytes(300_000))
store = Store(folder / "store")
store.open()


def put(number, size=3000):
    names = [f"{number}-{part}" for part in "ab"]
    store.commit([ObjectChange("apps", name, name, {"text": "x" * size}) for name in names], [], 1.0)


def fill(number):
    while True:
        try:
            put(number)
        except StoreFull as exc:
            assert "no room" in str(exc), exc
            return number
        number += 1


def check(number):
    names = [f"{n}-{part}" for n in range(number) for part in "ab"]
    assert [one.name for one in store.objects()] == names
    assert list(read_objects(folder / "store").objects["apps"]) == names
    assert store.revision == len(names)


number = fill(0)
assert number > 5, number
check(number)
for _ in range(3):
    assert fill(number) == number
check(number)
ballast.unlink()
number = fill(number)
check(number)
store.close()
store.open()
check(number)
print("ok", number)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root mounts a file system")
def test_a_full_disk_loses_nothing(tmp_path):
    script = f'mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    ran = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, FULL_DISK], capture_output=True, text=True
    )
    assert ran.stdout.startswith("ok"), ran.stderr


def test_an_old_sqlite_is_not_met():
    assert sqlite3.sqlite_version_info >= (3, 37), "STRICT tables"


CONFINED = """
import sys
from pathlib import Path
from spectrum.kernel.landlock import limit_files
from spectrum.kernel.privileges import confine
from spectrum.store.objects import ObjectChange
from spectrum.store.store import Store

folder = Path(sys.argv[1])
confine(())
if not limit_files([Path("/")], (), [folder]):
    sys.exit(77)
store = Store(folder)
store.open()
for turn in range(2):
    value = {"items": [f"192.0.2.{turn}/{i}" for i in range(200_000)]}
    store.commit([ObjectChange("lists", "l", "l", value)], [], 1.0)
print(len(list(store.objects())), store.revision)
"""


def test_a_large_value_is_changed_by_a_process_that_may_write_in_its_folder_alone(tmp_path):
    (tmp_path / "store").mkdir()
    done = subprocess.run([sys.executable, "-c", CONFINED, str(tmp_path / "store")], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("needs Landlock")
    assert done.stdout == "1 2\n", done.stderr
