"""A change that is checked in part has faults where the whole has any, at what changed, and it is checked in part."""

import time
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spectrum.core.configuration import fitting as module
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.fitting import Fitting, with_only
from spectrum.core.features import SECTIONS, check
from tests.properties import examples

LOCAL = [ip_address("127.0.0.1"), ip_address("192.0.2.200")]
MODELS = {section.key: section.model for section in SECTIONS}
SETTINGS = {
    "metrics": {"listen": "127.0.1.1:5"},
    "acme": {"http": "127.0.0.1:6"},
    "node": {"latitude": 1, "longitude": 1},
    "geoip": {"database": "x.mmdb"},
}


def whole_faults(config):
    return list(check(config, {key: list(getattr(config, key)) for key in MODELS}, LOCAL))


def with_objects(config, section, objects):
    """Return a configuration with other objects of a section, and what changed; None takes one away."""
    made = {name: MODELS[section].model_validate(body) for name, body in objects.items() if body is not None}
    kept = {name: one for name, one in getattr(config, section).items() if name not in objects or name in made}
    return config.model_copy(update={section: kept | made}), {section: list(objects)}


# --- any change ---------------------------------------------------------------------------------------------------

HOSTS = st.sampled_from(["127.0.0.1", "127.0.0.5", "192.0.2.200", "198.51.100.1"])
POOLS, BALANCERS = st.sampled_from(["p", "q"]), st.sampled_from(["lb", "other"])
MORE = st.sampled_from(
    [
        {},
        {},
        {"edge_ips": ["0.0.0.0"]},
        {"edge_ips": None},
        {"sni": ["a.example"]},
        {"sni": ["b.example"]},
        {"tls": "flexible"},
        {"tls": "flexible", "edge_tls": {"certificates": ["c"]}},
        {"proxy_protocol": "v2"},
        {"ip_firewall": True},
        {"edge_ips": None, "tproxy": {"port": 5, "prefixes": ["127.0.0.0/28"]}},
        {"edge_ips": None, "bindings": [{"prefix": "203.0.113.0/28"}]},
        {"accept_proxy_protocol": {"from": ["10.0.0.0/8"]}},
    ]
)


@st.composite
def apps(draw):
    transport = draw(st.sampled_from(["tcp", "tcp", "tcp", "udp"]))
    port, to, width = draw(st.integers(4, 6)), draw(st.integers(4, 6)), draw(st.sampled_from([0, 0, 0, 1]))
    last = (f"-{port + width}", f"-{to + width}") if width else ("", "")
    origins = [{"origin_direct": [f"{transport}://{draw(HOSTS)}:{to}{last[1]}"]}, {"load_balancer": draw(BALANCERS)}]
    at = [f"127.0.{draw(st.integers(0, 1))}.{draw(st.integers(1, 5))}"]
    body = {"protocol": f"{transport}/{port}{last[0]}", "edge_ips": at, **draw(st.sampled_from(origins)), **draw(MORE)}
    return {key: value for key, value in body.items() if key != "edge_ips" or value is not None}


def origins(host, port):
    return [{"name": "o", "address": host, "port": port}]


PLACED = {"latitude": 1, "longitude": 2}
OBJECTS = {
    "apps": apps(),
    "monitors": st.builds(
        lambda kind, header, port: {"type": kind, "proxy_protocol": header, **port},
        st.sampled_from(["tcp", "udp_icmp", "icmp_ping"]),
        st.sampled_from(["auto", "v2"]),
        st.sampled_from([{}, {"port": 7}]),
    ),
    "pools": st.builds(
        lambda host, port, more: {"origins": origins(host, port), **more},
        HOSTS,
        st.sampled_from([0, 4, 5, 5, 65535]),
        st.sampled_from([{}, {"monitor": "m"}, {"monitor": "m"}, {"monitor_group": "g"}, PLACED]),
    ),
    "monitor_groups": st.builds(
        lambda members: {"members": members},
        st.lists(st.sampled_from([{"monitor": "m"}, {"monitor": "m", "enabled": False}]), min_size=1, max_size=2),
    ),
    "load_balancers": st.builds(
        lambda pools, more: {"default_pools": pools, **more},
        st.lists(POOLS, min_size=1, max_size=2, unique=True),
        st.sampled_from([{}, {}, {"session_affinity": "ip_port"}, {"steering_policy": "proximity"}]),
    ),
    "access_rules": st.builds(
        lambda apps, target: {**target, "action": "block", **({"apps": apps} if apps else {})},
        st.lists(st.sampled_from("abc"), max_size=2),
        st.sampled_from([{"target": "ip", "value": "192.0.2.1"}, {"target": "asn", "value": 1}]),
    ),
    "certificates": st.sampled_from(
        [
            {"certificate": "x", "key": "y"},
            {"acme": {"names": ["a.example"], "accept_terms": True}},
            {"acme": {"names": ["a.example"], "accept_terms": True, "challenge": "http-01"}},
        ]
    ),
}
NAMES = {
    "apps": "abcd",
    "monitors": ["m"],
    "monitor_groups": ["g"],
    "pools": ["p", "q"],
    "load_balancers": ["lb", "other"],
    "access_rules": "rs",
    "certificates": "cd",
}


@st.composite
def changes(draw, objects=OBJECTS, names=NAMES):
    """One to three objects that change together; most of them are apps."""
    found = {}
    for _ in range(draw(st.integers(1, 3))):
        section = draw(st.sampled_from([*objects, "apps", "apps", "apps"]))
        body = draw(objects[section]) if draw(st.integers(0, 4)) else None
        found.setdefault(section, {})[draw(st.sampled_from(names[section]))] = body
    return found


ACCOUNTS, ZONES = st.sampled_from(["one", "two"]), st.sampled_from(["a.example", "b.a.example"])
OWNERS = st.just({}) | st.builds(lambda name: {"account": name}, ACCOUNTS)
PLACES = OWNERS | st.builds(lambda name: {"zone": name}, ZONES)
DNS_NAMES = st.sampled_from(["x.a.example", "x.b.a.example", "x.example"])


def owned(body, places):
    return st.builds(lambda body, place: body | place, st.just(body) if isinstance(body, dict) else body, places)


OWNED = {
    "accounts": st.just({}),
    "zones": owned({}, OWNERS | st.just({"name": "c.example"})),
    "apps": st.builds(
        lambda host, port, origin, name, zone: {
            "protocol": f"tcp/{port}",
            "edge_ips": [f"127.0.0.{host}"],
            "ip_firewall": True,
            **origin,
            **({"dns": {"name": name}} if name else {}),
            **({"zone": zone} if zone else {}),
        },
        st.integers(1, 9),
        st.integers(4, 5),
        st.sampled_from([{"origin_direct": ["tcp://198.51.100.1:1"]}, {"load_balancer": "lb"}]),
        st.none() | DNS_NAMES,
        st.none() | ZONES,
    ),
    "monitors": owned({"type": "tcp"}, OWNERS),
    "monitor_groups": owned({"members": [{"monitor": "m"}]}, OWNERS),
    "pools": owned(
        st.sampled_from([{"monitor": "m"}, {"monitor_group": "g"}]).map(
            lambda probed_by: {"origins": origins("198.51.100.1", 5), **probed_by}
        ),
        OWNERS,
    ),
    "load_balancers": owned({"default_pools": ["p"]}, PLACES),
    "lists": owned(st.sampled_from([{"kind": "ip"}, {"kind": "asn"}]), OWNERS),
    "access_rules": owned(
        st.builds(
            lambda apps: {"target": "ip", "list": "l", "action": "block", **({"apps": apps} if apps else {})},
            st.lists(st.sampled_from("ab"), max_size=1),
        ),
        PLACES,
    ),
    "tokens": st.builds(
        lambda place: {"hash": f"sha256:{'0' * 64}", "policies": [{"permissions": ["apps:read"], **place}]},
        st.sampled_from([{}, {"accounts": ["one"]}, {"zones": ["a.example"]}]),
    ),
}
OWNED_NAMES = {
    "accounts": ["one", "two"],
    "zones": ["a.example", "b.a.example"],
    "apps": "abc",
    "monitors": "m",
    "monitor_groups": "g",
    "pools": "p",
    "load_balancers": ["lb"],
    "lists": "l",
    "access_rules": "rs",
    "tokens": "t",
}


# From where two thirds of the changes above lead to something that fits.
OWNED_BEFORE = {
    "accounts": {"one": {}, "two": {}},
    "zones": {"a.example": {}},
    "apps": {
        "a": {"protocol": "tcp/4", "edge_ips": ["127.0.0.1"], "load_balancer": "lb", "ip_firewall": True},
        "b": {"protocol": "tcp/5", "edge_ips": ["127.0.0.1"], "load_balancer": "lb", "dns": {"name": "x.b.a.example"}},
    },
    "monitors": {"m": {"type": "tcp"}},
    "monitor_groups": {"g": {"members": [{"monitor": "m"}]}},
    "pools": {"p": {"origins": origins("198.51.100.1", 5), "monitor": "m"}},
    "load_balancers": {"lb": {"default_pools": ["p"]}},
    "lists": {"l": {"kind": "ip"}},
    "access_rules": {"r": {"target": "ip", "list": "l", "action": "block", "zone": "a.example", "apps": ["a"]}},
}


@examples(200)
@given(st.lists(changes(), min_size=1, max_size=15))
def test_the_part_has_faults_where_the_whole_has(steps):
    compare({}, steps)


@examples(200)
@given(st.lists(changes(OWNED, OWNED_NAMES), min_size=1, max_size=15))
def test_the_part_has_faults_where_the_whole_has_of_accounts_and_zones(steps):
    compare(OWNED_BEFORE, steps)


def compare(objects, steps):
    fitting = Fitting(Config.model_validate(SETTINGS | objects), LOCAL)
    for step in steps:
        after, changed = fitting.config, {}
        try:
            for section, objects in step.items():
                after, names = with_objects(after, section, objects)
                changed |= names
        except ValidationError:
            continue
        before = fitting.config
        expected, found = whole_faults(after), fitting.faults(after, changed)
        assert bool(found) == bool(expected), (found, expected)
        assert fitting.config is (before if found else after)
        # Of two that are at odds the whole tells of the later one, the part of the changed one.
        told = {fault.path[:2] for fault in expected} | {
            (key, name) for key, names in changed.items() for name in names
        }
        assert {fault.path[:2] for fault in found} <= told


# --- what is looked at --------------------------------------------------------------------------------------------

COUNT = 200
APP = {"protocol": "tcp/80", "origin_direct": ["tcp://198.51.100.1:1"]}
BALANCED = {"protocol": "tcp/80", "load_balancer": "lb"}


def many(body=APP):
    return {
        f"app{number}": {**body, "edge_ips": [f"127.1.{number // 100}.{number % 100 + 1}"]} for number in range(COUNT)
    }


@pytest.fixture
def checked(monkeypatch):
    """How many objects were checked, by section, each time."""
    found = []

    def counting(part, names, local, whole):
        found.append({key: len(getattr(part, key)) for key in MODELS if getattr(part, key)})
        return check(part, names, local, whole)

    monkeypatch.setattr(module, "check", counting)
    return found


def fitting_to(apps, **more):
    config = Config.model_validate({"apps": apps, **more})
    assert whole_faults(config) == []
    return Fitting(config, LOCAL)


def test_one_app_among_many(checked):
    fitting = fitting_to(many())
    after, changed = with_objects(fitting.config, "apps", {"app7": {**APP, "edge_ips": ["127.2.0.1"]}})
    assert fitting.faults(after, changed) == []
    taken, changed = with_objects(fitting.config, "apps", {"app3": {**APP, "edge_ips": ["127.1.0.10"]}})
    (fault,) = fitting.faults(taken, changed)
    # Of the two at odds it is told of the one that changed, though it stands first in the file.
    assert (fault.path, fault.message) == (("apps", "app3", "protocol"), "127.1.0.10:80 is taken by app app9")
    assert fitting.config is after
    assert checked == [{"apps": 1}, {"apps": 2}]


BALANCING = {
    "monitors": {"m": {"type": "tcp"}},
    "pools": {"p": {"origins": origins("198.51.100.1", 5), "monitor": "m"}, "q": {"origins": origins("x.example", 5)}},
    "load_balancers": {"lb": {"default_pools": ["p"]}, "other": {"default_pools": ["q"]}},
}


def test_a_load_balancer_that_all_have(checked):
    fitting = fitting_to(many(BALANCED), **BALANCING)
    one = {**BALANCED, "edge_ips": ["127.2.0.1"]}
    after, changed = with_objects(fitting.config, "apps", {"app7": one})
    assert fitting.faults(after, changed) == []
    after, changed = with_objects(fitting.config, "apps", {"app7": one | {"proxy_protocol": "v2"}})
    (fault,) = fitting.faults(after, changed)
    assert fault.path == ("pools", "p", "monitor")
    # What apps do not see of a pool is not checked with them.
    weighed = [{**BALANCING["pools"]["p"]["origins"][0], "weight": 0.5}]
    after, changed = with_objects(fitting.config, "pools", {"p": {"origins": weighed, "monitor": "m"}})
    assert fitting.faults(after, changed) == []
    assert [found.get("apps") for found in checked] == [2, 2, 1]
    # And a pool that leads elsewhere is.
    after, changed = with_objects(fitting.config, "pools", {"p": {"origins": origins("127.1.1.5", 80)}})
    assert {fault.path for fault in fitting.faults(after, changed)} == {("pools", "p", "origins", 0, "address")}
    assert checked[-1] == {"apps": COUNT, "pools": 1, "load_balancers": 1}


def test_what_refers_to_an_object(checked):
    rules = {f"r{n}": {"target": "ip", "value": "192.0.2.1", "action": "block", "apps": [f"app{n}"]} for n in range(9)}
    fitting = fitting_to(many({**APP, "ip_firewall": True}), access_rules=rules, **BALANCING)
    after, changed = with_objects(fitting.config, "apps", {"app3": {**APP, "edge_ips": ["127.1.0.4"]}})
    assert [fault.path for fault in fitting.faults(after, changed)] == [("access_rules", "r3", "apps", 0)]
    after, changed = with_objects(fitting.config, "pools", {"q": None})
    assert [fault.path for fault in fitting.faults(after, changed)] == [("load_balancers", "other", "default_pools", 0)]
    after, changed = with_objects(fitting.config, "monitors", {"m": {"type": "tcp", "port": 9}})
    assert fitting.faults(after, changed) == []
    assert checked == [{"access_rules": 1, "apps": 1}, {"load_balancers": 1}, {"monitors": 1, "pools": 1}]


def test_a_setting_is_checked_with_everything(checked):
    fitting = fitting_to(many())
    after = fitting.config.model_copy(update={"metrics": Config(metrics={"listen": "127.1.0.8:80"}).metrics})
    assert [fault.path for fault in fitting.faults(after, {})] == [("metrics", "listen")]
    assert checked == [{"apps": COUNT}]


def test_only_some_objects():
    config = Config.model_validate({"apps": many(), **SETTINGS})
    part = with_only(config, {"apps": ["app1", "nobody knows"], "pools": ["p"]})
    assert part.apps == {"app1": config.apps["app1"]}
    assert (part.pools, part.metrics) == ({}, config.metrics)
    assert len(config.apps) == COUNT


def test_thousands_of_apps_that_share_a_port_are_each_looked_at_once():
    """They came to 25 million names, and minutes, before."""
    apps = {
        f"a{i}": {"protocol": "tcp/443", "sni": [f"a{i}.example.com"], "origin_direct": ["tcp://192.0.2.1:443"]}
        for i in range(5000)
    }
    before, after = Config.model_validate({"apps": {}, "zones": {}}), Config.model_validate({"apps": apps})
    began = time.process_time()
    assert Fitting(before, ()).faults(after, {"apps": list(apps)}) == []
    assert time.process_time() - began < 10
