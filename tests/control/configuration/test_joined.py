import json
import logging

import pytest

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.joined import JoinedSource, StoredChange
from spectrum.control.configuration.loader import load_file
from spectrum.control.configuration.source import FileSource, NothingNew
from spectrum.core.configuration.changes import differing
from spectrum.store.errors import StoreError
from tests.control.api.conftest import without_libraries
from tests.control.api.parts import put

__all__ = ["without_libraries"]


def app(port, to="tcp://192.0.2.1:80"):
    return {"protocol": f"tcp/{port}", "origin_direct": [to]}


POOL = {"origins": [{"name": "o", "address": "192.0.2.1", "port": 1}]}
BALANCED = {"protocol": "tcp/9000", "load_balancer": "b"}


class Daemon:
    """What a daemon does with a source."""

    def __init__(self, folder, apps, api=True):
        self.path, self.store = folder / "f.json", folder / "store"
        self.write(apps, api)
        self.source = JoinedSource(FileSource(self.path), lambda config: self.store)
        self.news = []
        self.source.changed = lambda: self.news.append(self.aside())

    def write(self, apps, api=True):
        self.path.write_text(json.dumps({"api": {}, "apps": apps} if api else {"apps": apps}))

    def start(self):
        self.config = self.source.start(load_file(self.path))
        self.source.took(self.config, was_read=True)
        return self

    def reload(self):
        revision = self.source.read()
        if revision.config is not None:
            self.take(revision.config)
        return list(revision.faults)

    def take(self, config):
        self.config = config
        self.source.took(config, was_read=False)

    def change(self, *groups):
        served = self.source.served.config
        revision, faults = self.source.propose([[StoredChange(*one) for one in group] for group in groups])
        assert revision.since.config is served
        found, expected = differing(served, revision.config, revision.since.names), differing(served, revision.config)
        assert {key: sorted(names) for key, names in found.items()} == {
            k: sorted(names) for k, names in expected.items()
        }
        self.take(revision.config)
        return [[fault.message for fault in some] for some in faults]

    def refused(self, *changes):
        with pytest.raises(NothingNew) as raised:
            self.source.propose([[StoredChange(*one) for one in changes]])
        return [(".".join(map(str, fault.path)), fault.message) for fault in raised.value.args[0][0]]

    def aside(self):
        return [(one.name, one.message) for one in self.source.served.aside]

    @property
    def apps(self):
        return sorted(self.config.apps)


def test_a_file_without_an_api_is_a_file(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}, api=False).start()
    put(daemon.store, {"apps": {"y": app(2)}})
    assert (daemon.apps, daemon.reload(), daemon.apps) == (["x"], [], ["x"])
    assert daemon.source.view()["path"] == str(daemon.path)
    assert daemon.source.view()["modified_on"] == daemon.path.stat().st_mtime
    daemon.write({"x": app(1)})
    assert (daemon.reload(), daemon.apps) == ([], ["x", "y"])
    daemon.write({"x": app(1)}, api=False)
    assert (daemon.reload(), daemon.apps) == ([], ["x"])


def test_both_are_served_and_the_file_comes_first(tmp_path, caplog):
    daemon = Daemon(tmp_path, {"x": app(1)})
    put(
        daemon.store,
        {
            "pools": {"p": POOL},
            "load_balancers": {"b": {"default_pools": ["p"]}},
            "apps": {"x": app(2), "y": app(1), "z": app(3), "b": BALANCED, "w": {"protocol": "udp"}, "-": app(5)},
        },
    )
    caplog.set_level(logging.WARNING)
    daemon.start()
    assert daemon.apps == ["b", "x", "z"]
    assert daemon.config.apps["x"].protocol.ports.first == 1
    aside = dict(daemon.aside())
    assert aside["x"] == "the file has an app of this name"
    assert aside["y"] == "[::]:1 is taken by app x"
    assert "a protocol and its ports" in aside["w"] or "udp" in aside["w"]
    assert "is not a name for an app" in aside["-"]
    assert "stored app y is set aside: [::]:1 is taken by app x" in caplog.text
    shown = daemon.source.view()
    assert shown["file"]["apps"] == {"x": app(1)}
    assert {one["name"] for one in shown["set_aside"]} == {"x", "y", "w", "-"}


def test_a_file_may_have_no_apps_of_its_own(tmp_path):
    daemon = Daemon(tmp_path, {})
    put(daemon.store, {"apps": {"y": app(2)}})
    assert daemon.start().apps == ["y"]


def test_a_store_that_cannot_be_read(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)})
    put(daemon.store, {"apps": {"y": app(2)}})
    daemon.start()
    (daemon.store / "store.sqlite3").write_bytes(b"nothing of ours" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        daemon.source.start(daemon.config)
    assert "damaged" in daemon.reload()[0]
    with pytest.raises(RolloutError, match="damaged"):
        daemon.source.restored()
    assert daemon.apps == ["x", "y"]


def test_a_reload_of_the_file_keeps_what_is_stored(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)})
    put(daemon.store, {"apps": {"y": app(2), "z": app(3)}})
    daemon.start()
    before = daemon.config.apps["y"]
    daemon.write({"x": app(4), "n": app(5)})
    assert (daemon.reload(), daemon.apps) == ([], ["n", "x", "y", "z"])
    assert daemon.config.apps["y"] is before, "it is compiled once"
    # Only what is served already may refuse a file, and says so.
    daemon.source.has_writer = lambda: True
    daemon.write({"x": app(2), "n": {"protocol": "tcp/6", "origin_direct": ["tcp://127.0.0.1:3"]}})
    assert daemon.reload() == [
        "stored app y: protocol: [::]:2 is taken by app x",
        "apps.n.origin_direct.0: 127.0.0.1:3 is the listener of app z; use the origin of that app instead",
    ]
    daemon.write({"y": app(2)})
    assert (daemon.reload(), daemon.apps) == ([], ["y", "z"])
    assert daemon.aside() == [("y", "the file has an app of this name")]
    daemon.write({"x": app(7)})
    assert (daemon.reload(), daemon.apps, daemon.aside()) == ([], ["x", "y", "z"], [])
    assert daemon.news[-2:] == [[("y", "the file has an app of this name")], []]
    daemon.path.write_text("{")
    assert daemon.reload() != []


def test_changes_are_served_with_the_next_reload_of_the_file_too(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    daemon.source.has_writer = lambda: True
    assert daemon.change([("apps", "y", app(2))], [("apps", "z", app(3)), ("pools", "p", POOL)]) == [[], []]
    assert (daemon.apps, list(daemon.config.pools)) == (["x", "y", "z"], ["p"])
    assert (daemon.reload(), daemon.apps) == ([], ["x", "y", "z"])
    assert daemon.change([("apps", "y", None)], [("apps", "z", app(4))]) == [[], []]
    assert daemon.config.apps["z"].protocol.ports.first == 4
    assert daemon.apps == ["x", "z"]
    # The API's process has ended, and of all that only this was written:
    put(daemon.store, {"apps": {"q": app(9)}})
    daemon.take(daemon.source.restored().config)
    assert daemon.apps == ["q", "x"]
    with pytest.raises(NothingNew):
        daemon.source.restored()
    daemon.source.has_writer = lambda: False
    put(daemon.store, {"apps": {"r": app(10)}})  # by somebody, while no API runs
    assert (daemon.reload(), daemon.apps) == ([], ["q", "r", "x"])


def test_a_group_is_served_as_a_whole_or_not(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    taken = "[::]:1 is taken by app x"
    assert daemon.change(
        [("apps", "y", app(2)), ("apps", "z", app(1))], [("apps", "y", app(3))], [("apps", "w", app(3))]
    ) == [[taken], [], ["[::]:3 is taken by app y"]]
    assert daemon.apps == ["x", "y"]


def test_groups_without_faults_are_checked_together(tmp_path, monkeypatch):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    checked, changed = [], daemon.source._changed
    monkeypatch.setattr(daemon.source, "_changed", lambda *given: checked.append(len(given[1])) or changed(*given))
    groups = [[("apps", f"a{number}", app(number))] for number in range(2, 5)]
    assert daemon.change(*groups) == [[], [], []]
    assert (daemon.apps, checked) == (["a2", "a3", "a4", "x"], [3])
    # One with faults does not keep the others from being served.
    assert daemon.change([("apps", "b", app(5))], [("apps", "c", app(2))]) == [[], ["[::]:2 is taken by app a2"]]
    assert (daemon.apps, checked) == (["a2", "a3", "a4", "b", "x"], [3, 2, 1, 1])
    # Each of two changes of one object is checked: one is not served because another one follows it.
    assert daemon.change([("apps", "b", app(1))], [("apps", "b", app(6))]) == [["[::]:1 is taken by app x"], []]
    assert (daemon.config.apps["b"].protocol.ports.first, checked[4:]) == (6, [1, 1])


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (("apps", "x", app(5)), "apps.x", "app x stands in {path}: it is changed there"),
        (("apps", "x", None), "apps.x", "app x stands in {path}: it is changed there"),
        (("apps", "q", None), "apps.q", "there is no stored app q"),
        (("appz", "q", {}), "appz", 'there are no appz; did you mean "apps"?'),
        (("apps", "a b", app(5)), "apps.a b", "is not a name for an app"),
        (("apps", "q", {"protocol": "tcp/5", "origin_direct": ["x"]}), "apps.q.origin_direct.0", "'x'"),
        (("apps", "q", BALANCED), "apps.q.load_balancer", 'no load balancer "b"'),
        (("apps", "q", app(5) | {"preset": "nothing"}), "apps.q.preset", "nothing"),
        (("pools", "p", None), "load_balancers.b.default_pools.0", 'no pool "p"'),
    ],
)
def test_what_cannot_be_changed(tmp_path, change, place, message):
    daemon = Daemon(tmp_path, {"x": app(1)})
    if change[0] == "pools":
        put(daemon.store, {"pools": {"p": POOL}, "load_balancers": {"b": {"default_pools": ["p"]}}})
    daemon.start()
    found = daemon.refused(change)
    assert found[0][0] == place
    assert message.format(path=daemon.path) in found[0][1]


def test_what_was_set_aside_may_be_mended(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)})
    put(daemon.store, {"apps": {"y": app(1), "z": app(1)}})
    daemon.start()
    assert sorted(name for name, _ in daemon.aside()) == ["y", "z"]
    daemon.change([("apps", "y", app(2))])
    assert (daemon.apps, [name for name, _ in daemon.aside()]) == (["x", "y"], ["z"])
    daemon.change([("apps", "z", None)])
    assert daemon.aside() == []


def test_a_preset_fills_in_what_is_stored(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    daemon.change([("apps", "s", {"preset": "ssh", "origin_direct": ["tcp://192.0.2.1:22"]})])
    assert daemon.config.apps["s"].protocol.ports.first == 22


def test_a_file_that_names_a_stored_one_is_refused(tmp_path):
    daemon = Daemon(tmp_path, {"x": BALANCED})
    with pytest.raises(Exception, match='no load balancer "b"'):
        load_file(daemon.path)


async def test_it_watches_the_file(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    seen = []
    daemon.source._file.watch = lambda served, reload: seen.append((served, reload)) or _nothing()
    await daemon.source.watch(print, print)
    daemon.source.reading([daemon.path])
    assert seen == [(print, print)]


async def _nothing():
    pass


def test_a_fault_at_the_files_object_is_assigned_to_the_stored_one(tmp_path):
    """`api.listen` has port 8787."""
    daemon = Daemon(tmp_path, {"x": app(1)})
    put(daemon.store, {"apps": {f"a{port}": app(port) for port in range(8780, 8795)}})
    daemon.start()
    assert daemon.aside() == [("a8787", "api.listen: 127.0.0.1:8787 is taken by app a8787")]
    assert len(daemon.apps) == 15


def test_what_a_change_names_on_this_machine(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    found = daemon.refused(("certificates", "c", {"certificate": "/nowhere", "key": "/nowhere"}))
    assert found[0] == ("certificates.c.certificate", "/nowhere: cannot be read: no such file or directory")


def test_changes_are_checked_and_nothing_changes(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    groups = [[("apps", "y", app(2))], [("apps", "z", app(1))], [("apps", "x", None)], [("apps", "y", app(3))]]
    checked = [[StoredChange(*one) for one in group] for group in groups]
    for _ in range(2):
        found = [[fault.message for fault in some] for some in daemon.source.check(checked)]
        assert (found[0], found[1], found[3]) == ([], ["[::]:1 is taken by app x"], [])
        assert "stands in" in found[2][0]
    assert daemon.change([("apps", "y", app(2))]) == [[]]
    assert daemon.source.check([[StoredChange("apps", "w", app(2))]])[0][0].message == "[::]:2 is taken by app y"
    assert daemon.apps == ["x", "y"]


def test_where_an_object_of_the_file_stands(tmp_path):
    daemon = Daemon(tmp_path, {"x": app(1)}).start()
    assert daemon.source.standing("apps", "x") == (str(daemon.path), None)  # JSON is no block style
    daemon.path.write_text("api: {}\napps:\n  x: {protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:80']}\n")
    assert daemon.source.standing("apps", "x") == (str(daemon.path), 3)
