import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration.actor import Change, ConfigDifference, RolloutError
from spectrum.control.configuration.loader import KnownObjects, load_text
from spectrum.control.configuration.plan import Planner
from spectrum.core import features
from spectrum.core.configuration.config import App, Config
from spectrum.core.difference import difference
from spectrum.core.snapshot import MAX_NUMBERS
from spectrum.core.tenants.objects import Zone
from tests.certificates import Authority

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80'], ip_firewall: true}}\n"


def pools(*names):
    each = ", ".join(f"{name}: {{origins: [{{name: o, address: 192.0.2.1, port: 1}}]}}" for name in names)
    return load_text(f"{APPS}pools: {{{each}}}", "f")


async def test_origins_that_stay_keep_their_numbers():
    planner = Planner(lambda paths: None, lambda number: False)
    nothing = planner.plan(load_text(APPS, "f"), 1)
    one = planner.plan(pools("a", "b"), 1)
    await planner.commit(Change(nothing, one))
    other = planner.plan(pools("b", "c"), 2)
    assert other.snapshot.generation == 2
    shared = one.numbers.keys() & other.numbers.keys()
    assert shared and all(one.numbers[label] == other.numbers[label] for label in shared)
    await planner.commit(Change(one, other))
    await planner.abort(Change(one, other))
    assert planner.plan(pools("a", "b"), 2).numbers == one.numbers


def test_numbers_that_sessions_are_counted_by_are_not_given_again():
    planner = Planner(lambda paths: None, lambda number: True)
    planner._numbers.keep({"gone": MAX_NUMBERS})
    with pytest.raises(RolloutError, match="too many origins were replaced"):
        planner.plan(pools("a"), 1)


def test_more_origins_than_numbers(monkeypatch):
    planner = Planner(lambda paths: None, lambda number: False)
    planner._numbers._limit = 1
    config = pools("a")
    monkeypatch.setattr(features, "MAX_NUMBERS", 1)
    with pytest.raises(RolloutError, match=r"pools, origins in pools, .*; at most 1$"):
        planner.plan(config, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("access_rules: {bad: {target: ip_range, file: FILE, action: block}}", "access rule bad: FILE: cannot be"),
        ("certificates: {c: {certificate: FILE, key: FILE}}", "certificates.c.certificate: FILE: cannot be read"),
    ],
)
def test_what_a_configuration_names_may_be_gone(tmp_path, text, says):
    chain, key = Authority().issue("a.example").write(tmp_path, "a")
    listed = tmp_path / "list"
    listed.write_text("192.0.2.1\n")
    place = chain if "certificates" in text else listed
    given = text.replace("FILE", str(place), 1).replace("FILE", str(key))
    config, read = load_text(APPS + given, "f"), []
    planner = Planner(read.extend, lambda number: False)
    planner.plan(config, 1)
    assert place in read
    place.unlink()
    with pytest.raises(RolloutError) as caught:
        planner.plan(config, 1)
    assert str(caught.value).startswith(says.replace("FILE", str(place)))


def test_an_app_that_is_the_same_object_is_compiled_once():
    planner = Planner(lambda paths: None, lambda number: False)
    known = KnownObjects()
    text = "apps: {{a: {{protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:{}']}}, b: {{protocol: tcp/2, {}}}}}"
    where = "origin_direct: ['tcp://192.0.2.1:1']"
    first = planner.plan(load_text(text.format(1, where), "x", known=known), 1).snapshot
    second = planner.plan(load_text(text.format(2, where), "x", known=known), 2).snapshot
    assert second.apps[1] is first.apps[1]
    assert [app.origins for app in (first.apps[0], second.apps[0])] == [(("192.0.2.1", 1),), (("192.0.2.1", 2),)]


RULES = "access_rules: {r: {target: ip, file: LISTED, action: block}}\n"


@pytest.fixture
def planned(tmp_path):
    """A planner that has a plan, what it has read since, and the plan."""
    (tmp_path / "listed").write_text("192.0.2.1\n")
    read = []
    planner = Planner(read.extend, lambda number: False)
    text = f"{APPS}{RULES}pools: {{a: {{origins: [{{name: o, address: 192.0.2.1, port: 1}}]}}}}"
    plan = planner.plan(load_text(text.replace("LISTED", str(tmp_path / "listed")), "f"), 1)
    read.clear()
    return planner, read, plan


def test_where_only_apps_differ_nothing_else_is_planned_again(planned):
    planner, read, before = planned
    config = before.config.changed({"apps": {"y": before.config.apps["x"]}})
    after = planner.change(before, config)
    change = Change(before, after)
    assert (read, change.names) == ([], {"apps": ["y"]})
    assert [app.name for app in after.snapshot.apps] == ["x", "y"]
    assert after.snapshot.apps[0] is before.snapshot.apps[0]
    assert after.snapshot.generation == 2
    assert (after.numbers, after.prefixes) == (before.numbers, before.prefixes)
    assert [app.name for app in change.difference.apps] == ["y"]
    gone = planner.change(after, before.config)
    assert [app.name for app in gone.snapshot.apps] == ["x"]
    assert Change(before, gone).names is None, "it was planned from another one"


def test_other_objects_are_planned_without_files(planned):
    planner, read, before = planned
    after = planner.change(before, before.config.changed({"pools": {"b": before.config.pools["a"]}}))
    assert (read, Change(before, after).names) == ([], {"pools": ["b"]})
    assert [pool.name for pool in after.snapshot.pools] == ["a", "b"]
    assert len(set(after.numbers.values())) == 4
    assert after.prefixes is before.prefixes
    assert after.snapshot.pools[0] is before.snapshot.pools[0]
    assert [pool.name for pool in Change(before, after).difference.pools] == ["b"]


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.changed({"access_rules": {"s": config.access_rules["r"]}}),
        lambda config: config.model_copy(update={"workers": 3}),
    ],
)
def test_what_may_name_other_files_is_planned_again(planned, change):
    planner, read, before = planned
    after = planner.change(before, change(before.config))
    assert read
    assert Change(before, after).names is None


def test_the_files_of_apps_are_read(planned):
    planner, _, before = planned
    edge = before.config.apps["x"].edge_tls.model_copy(update={"client_ca": "/nowhere"})
    app = before.config.apps["x"].model_copy(update={"tls": "flexible", "edge_tls": edge})
    with pytest.raises(RolloutError, match="/nowhere: cannot be read"):
        planner.change(before, before.config.changed({"apps": {"x": app}}))
    # What was refused has left nothing.
    after = planner.change(before, before.config.changed({"apps": {"y": before.config.apps["x"]}}))
    assert [one.tls for one in after.snapshot.apps] == [None, None]


def test_the_same_again_with_what_features_have(planned):
    planner, read, before = planned
    assert (Change(before, planner.again(before)).names, read) == ({}, [])


def test_an_app_that_moves_with_its_zone(planned):
    planner, _, before = planned
    config = before.config.model_copy(update={"zones": {"example.com": Zone()}})
    assert planner.plan(config, 2).snapshot.apps[0].scopes == ("zone example.com", "account default")


def test_an_app_whose_origins_are_counted_has_numbers(planned):
    planner, read, before = planned
    app = before.config.apps["x"].model_copy(update={"origin_max_sessions": 5})
    after = planner.change(before, before.config.changed({"apps": {"x": app}}))
    assert (read, len(after.numbers)) == ([], len(before.numbers) + 1)
    assert list(after.snapshot.origin_places) == ["x"]
    assert Change(before, after).difference is None


@pytest.mark.parametrize(
    "keys",
    [
        {"load_balancer": "lb", "origin_direct": None},
        {"origin_max_sessions": 5, "queue": {"size": 9}},
        {"retry_budget": {}, "origin_preconnect": 2},
        {"ip_firewall": True, "limits": {"sessions": 5}},
        {"bindings": [{"prefix": "203.0.113.0/28"}]},
        {"tproxy": {"port": 5, "prefixes": ["127.0.0.0/28"]}},
        {"sni": ["a.example"], "tcp": {"client": {"fast_open": False}}},
        {"dns": {"name": "a.example.com"}},
        {"protocol": "udp/5", "origin_direct": ["udp://192.0.2.1:5"]},
    ],
)
def test_a_change_leads_to_the_plan_of_the_whole(keys):
    """Whatever an app has: what is kept of a plan must not depend on apps."""
    others = {
        "pools": {"p": {"origins": [{"name": "o", "address": "192.0.2.1", "port": 1}]}},
        "zones": {"example.com": {}},
    }
    app = {"protocol": "tcp/5", "origin_direct": ["tcp://192.0.2.1:5"], **keys}
    both = {"x": app, "y": {"protocol": "tcp/6", "origin_direct": ["tcp://192.0.2.1:6"]}}
    both = {name: {key: value for key, value in body.items() if value is not None} for name, body in both.items()}
    config = Config.model_validate({"apps": both, "load_balancers": {"lb": {"default_pools": ["p"]}}, **others})
    planner = Planner(lambda paths: None, lambda number: False)
    for before, after in (
        (config.changed({"apps": {"x": None}}), config),
        (config, config.changed({"apps": {"x": None}})),
    ):
        planned = planner.plan(before, 1)
        assert planner.change(planned, after).snapshot == planner.plan(after, 2).snapshot


PLACED = {"latitude": 50, "longitude": 8}
NEARBY = {"steering_policy": "proximity", "default_pools": ["p", "q"]}


@pytest.mark.parametrize(
    "changed",
    [
        {"pools": {"p": {"minimum_origins": 2, **PLACED}}},
        {"pools": {"p": {"latitude": -50, "longitude": 8}}},
        {"pools": {"r": {"monitor": "m"}}, "load_balancers": {"lb": {"default_pools": ["r", "p"]}}},
        {"load_balancers": {"near": None}, "pools": {"q": None}},
        {"load_balancers": {"lb": {"default_pools": ["q"], "session_affinity": "ip"}}},
        {"monitor_groups": {"g": {"members": [{"monitor": "m", "monitoring_only": True}]}}},
        {"monitors": {"m": {"type": "tcp", "interval": 7}}},
        {"pools": {"p": {"monitor_group": "g", **PLACED}}, "apps": {"x": None}},
    ],
)
def test_a_change_of_load_balancing_leads_to_the_plan_of_the_whole(changed):
    def placed(pool):
        return {"origins": [{"name": "o", "address": "192.0.2.1", "port": 1}], **pool}

    objects = {
        "apps": {"x": {"protocol": "tcp/5", "load_balancer": "lb"}},
        "pools": {"p": placed(PLACED), "q": placed({"monitor_group": "g", "latitude": 0, "longitude": 0})},
        "load_balancers": {"lb": {"default_pools": ["p"]}, "near": NEARBY},
        "monitors": {"m": {"type": "tcp"}},
        "monitor_groups": {"g": {"members": [{"monitor": "m"}]}},
    }
    changed = changed | {"pools": {name: one and placed(one) for name, one in changed.get("pools", {}).items()}}
    after = {
        key: {name: one for name, one in (of | changed.get(key, {})).items() if one} for key, of in objects.items()
    }
    node = {"node": {"latitude": 51, "longitude": 7}}
    before, wanted = (Config.model_validate({**each, **node}) for each in (objects, after))
    found = before.changed({key: {name: getattr(wanted, key).get(name) for name in of} for key, of in changed.items()})
    planner = Planner(lambda paths: None, lambda number: False)
    one = planner.plan(before, 1)
    two = planner.change(one, found)
    assert two.snapshot == planner.plan(found, 2).snapshot
    kept = {pool.name: pool for pool in one.snapshot.pools}
    assert all(pool is kept[pool.name] for pool in two.snapshot.pools if pool == kept.get(pool.name))
    assert Change(one, two).difference is not None


_NAMES = st.sampled_from("abcdef")
# What each app becomes: its idle timeout, or nothing.
_CHANGES = st.dictionaries(_NAMES, st.none() | st.integers(1, 3), max_size=3)


@given(st.lists(st.tuples(_CHANGES, st.sets(_NAMES, max_size=2), st.booleans()), max_size=8))
def test_a_known_difference_is_the_one_that_a_comparison_finds(steps):
    """Also if the plan before it was refused, and if objects are named that do not differ."""
    planner = Planner(lambda paths: None, lambda number: False)
    served = planner.plan(Config(), 1)
    for changed, more, is_refused in steps:
        found = {name: idle_s and idle_app(name, idle_s) for name, idle_s in changed.items()}
        config = served.config.changed({"apps": found})
        since = ConfigDifference(served.config, {"apps": changed.keys() | more})
        after = planner.change(served, config, since)
        assert (
            after.snapshot
            == Planner(lambda paths: None, lambda number: False).plan(config, served.snapshot.generation + 1).snapshot
        )
        change, expected = Change(served, after), difference(served.snapshot, after.snapshot)
        assert set(map(in_any_order, changes_of(change.difference))) == set(map(in_any_order, changes_of(expected)))
        if not is_refused:
            served = after


def idle_app(name, idle_s):
    return App.model_validate(
        {
            "protocol": f"tcp/{ord(name)}",
            "origin_direct": ["tcp://192.0.2.1:5"],
            "timeouts": {"idle": idle_s},
        }
    )


def changes_of(found):
    """Return what differs; nothing where there is no difference at all."""
    return [("former", found.former), ("apps", found.apps)] if found is not None else [("former", ()), ("apps", ())]


def in_any_order(part):
    return part[0], frozenset(app.name for app in part[1]), frozenset(map(repr, part[1]))
