"""What differs between two snapshots, and what becomes of one that takes it."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core import difference as differences
from spectrum.core.configuration.config import Config
from spectrum.core.difference import ServedApps, difference
from spectrum.core.features import compile_snapshot
from spectrum.core.snapshot import Snapshot

NAMES = "abcdef"


def app(number, port=1, transport="tcp"):
    origin = f"{transport}://192.0.2.{number}:{port}"
    return {"protocol": f"{transport}/{port}", "edge_ips": [f"127.0.0.{number}"], "origin_direct": [origin]}


def snapshot(apps, generation=1, **more):
    return compile_snapshot(Config.model_validate({"apps": apps, **more}), generation)


@st.composite
def files(draw):
    """Some of a few apps, in any order, each with one of two settings."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
    transports = st.sampled_from(["tcp", "udp"])
    return {name: app(NAMES.index(name) + 1, draw(st.integers(1, 2)), draw(transports)) for name in names}


@given(st.lists(files(), min_size=2, max_size=5))
def test_any_sequence_of_differences_leads_to_the_last_snapshot(steps):
    first, *others = [snapshot(apps, number) for number, apps in enumerate(steps, 1)]
    served, before = ServedApps(first), first
    for after in others:
        change = difference(before, after)
        same = {one.name: one for one in before.apps} == {one.name: one for one in after.apps}
        assert (change is None) == same
        if change is None:
            served = ServedApps(after)
        else:
            assert {one.name for one in change.apps}.isdisjoint(change.removed())
            assert set(change.listeners()) >= set(before.listener_keys()) ^ set(after.listener_keys())
            served.take(change)
        whole = served.whole()
        assert len(whole.apps) == len(after.apps)
        assert set(whole.apps) == set(after.apps)
        assert msgspec.structs.replace(whole, apps=()) == msgspec.structs.replace(after, apps=())
        assert served.generation == after.generation
        assert served.transports() == {one.transport for one in after.apps}
        before = after


def test_nothing_else_differs():
    apps, other = {"a": app(1)}, {"a": app(1, 2)}
    assert difference(snapshot(apps), snapshot(apps)) is None
    assert difference(snapshot(apps), snapshot(other)) is not None
    for more in ({"busy_poll": "off"}, {"drain_timeout": "1s"}, {"limits": {"sessions": 5}}):
        assert difference(snapshot(apps), snapshot(other, **more)) is None


def test_many_are_told_as_a_whole(monkeypatch):
    monkeypatch.setattr(differences, "MAX_APPS", 3)
    before, after = ({name: app(number, port) for number, name in enumerate(NAMES, 1)} for port in (1, 2))
    assert difference(snapshot(before), snapshot(before | {"a": after["a"]})) is not None
    assert difference(snapshot(before), snapshot(before | {"a": after["a"], "b": after["b"]})) is None


def test_an_app_of_another_transport_is_not_removed():
    change = difference(snapshot({"a": app(1)}), snapshot({"a": app(1, 1, "udp")}))
    assert change.removed() == []
    assert [key.transport for key in change.listeners()] == ["tcp", "udp"]
    assert [key.transport for key in change.listeners("udp")] == ["udp"]
    assert change.involves(lambda one: one.transport == "tcp")
    assert change.transports() == {"tcp", "udp"}
    assert not change.involves(lambda one: one.tls)


def test_nothing_is_served_before_the_start():
    assert ServedApps(Snapshot(0, (), 0, True)).transports() == set()


def test_many_are_taken_and_forgotten_step_by_step(monkeypatch):
    monkeypatch.setattr(differences, "APPS_AT_ONCE", 2)
    pauses = []
    served = ServedApps(snapshot({f"app{number}": app(number + 1) for number in range(5)}), lambda: pauses.append(1))
    assert len(pauses) == 3
    served.let_go(lambda: pauses.append(len(served.whole().apps)))
    assert pauses[3:] == [3, 1, 0]
