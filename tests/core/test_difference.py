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
    return compiled({"apps": apps, **more}, generation)


def compiled(file, generation=1):
    return compile_snapshot(Config.model_validate(file), generation)


@st.composite
def files(draw):
    """Some of a few apps, in any order, each with one of two settings."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
    transports = st.sampled_from(["tcp", "udp"])
    apps = {name: app(NAMES.index(name) + 1, draw(st.integers(1, 2)), draw(transports)) for name in names}
    return {"apps": apps, **draw(balancing())}


@st.composite
def balancing(draw):
    """Some of a few pools, and load balancers that have some of these."""
    names = draw(st.permutations("pqr"))[: draw(st.integers(1, 3))]
    pools = {name: pool(1, draw(st.integers(1, 2))) for name in names}
    balancers = draw(st.permutations(["l", "m"]))[: draw(st.integers(0, 2))]
    return {
        "pools": pools,
        "load_balancers": {name: {"default_pools": [draw(st.sampled_from(names))]} for name in balancers},
    }


def pool(number, weight=1, address="192.0.2.{}"):
    return {"origins": [{"name": "o", "address": address.format(number), "port": 1, "weight": weight / 2}]}


def name_of(one):
    return one.name


@given(st.lists(files(), min_size=2, max_size=5))
def test_any_sequence_of_differences_leads_to_the_last_snapshot(steps):
    first, *others = [compiled(file, number) for number, file in enumerate(steps, 1)]
    served, before = ServedApps(first), first
    for after in others:
        change = difference(before, after)
        same = {one.name: one for one in before.apps} == {one.name: one for one in after.apps}
        assert (not change.former and not change.apps) == same
        assert {one.name for one in change.apps}.isdisjoint(change.removed())
        assert set(change.listeners()) >= set(before.listener_keys()) ^ set(after.listener_keys())
        served.take(change)
        whole = served.whole()
        for part in ("apps", "pools", "balancers"):
            assert sorted(getattr(whole, part), key=name_of) == sorted(getattr(after, part), key=name_of)
        without = {"apps": (), "pools": (), "balancers": ()}
        assert msgspec.structs.replace(whole, **without) == msgspec.structs.replace(after, **without)
        assert served.generation == after.generation
        assert served.transports() == {one.transport for one in after.apps}
        before = after


def test_nothing_else_differs():
    apps, other = {"a": app(1)}, {"a": app(1, 2)}
    assert difference(snapshot(apps), snapshot(apps)).count == 0
    assert difference(snapshot(apps), snapshot(other)).count == 2
    for more in ({"busy_poll": "off"}, {"drain_timeout": "1s"}, {"limits": {"sessions": 5}}):
        assert difference(snapshot(apps), snapshot(other, **more)) is None


def test_many_are_told_as_a_whole(monkeypatch):
    monkeypatch.setattr(differences, "MAX_DIFFERING", 3)
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


def test_names_and_origins_of_what_differs():
    by_name = {"protocol": "tcp/1", "origin_dns": {"name": "a.example"}, "origin_port": 1}
    before = snapshot({"a": by_name, "b": app(2)}, pools={"p": pool(1), "r": pool(3), "q": pool(2, 1, "b.example")})
    after = snapshot({"b": app(2)}, 2, pools={"p": pool(1, 2), "r": pool(3)})
    change = difference(before, after)
    assert {name.name for name in change.names()} == {"a.example", "b.example"}
    assert [origin.weight for origin in change.origins()] == [0.5, 0.5, 1.0]
    assert (change.count, change.transports()) == (4, {"tcp", "udp"})
