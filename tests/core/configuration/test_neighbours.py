from ipaddress import ip_address

import pytest

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.neighbours import Neighbours

LOCAL = [ip_address("192.0.2.200")]


def app(ports="tcp/5", at="127.0.0.1", to="tcp://198.51.100.1:1", **more):
    transport, _, port = ports.partition("/")
    width = int(port.split("-")[-1]) - int(port.split("-")[0])
    last = int(to.rpartition(":")[2])
    origin = to.replace("tcp:", f"{transport}:") + (f"-{last + width}" if width else "")
    return {"protocol": ports, "edge_ips": [at], "origin_direct": [origin], **more}


TPROXY = {name: value for name, value in app("tcp/9").items() if name != "edge_ips"}
TPROXY["tproxy"] = {"port": 8, "prefixes": ["192.0.2.0/24"]}
WIDE = {"protocol": "tcp/4-6", "origin_direct": ["tcp://198.51.100.1:1-3"]}
BOUND = {**TPROXY, "tproxy": None, "bindings": [{"prefix": "203.0.113.0/28"}]}
BALANCED = {"protocol": "tcp/5", "edge_ips": ["127.0.0.2"], "load_balancer": "lb"}
POOLS = {"p": {"origins": [{"name": "o", "address": "127.0.0.9", "port": 5}, {"name": "n", "address": "x.example"}]}}


def configured(one, other):
    apps = {"one": one, "other": other, "third": app("udp/99")}
    return Config.model_validate({"apps": apps, "pools": POOLS, "load_balancers": {"lb": {"default_pools": ["p"]}}})


def known(config):
    neighbours = Neighbours(LOCAL)
    for name, one in config.apps.items():
        neighbours.add(name, one, config)
    for name, pool in config.pools.items():
        neighbours.add_pool(name, pool)
    return neighbours


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        (app(), app(), True),
        (app(), app(at="127.0.0.2"), False),
        (app(), app("udp/5"), False),
        (app("tcp/4-6"), app(), True),
        (app(), app(at="0.0.0.0"), True),
        (app(at="0.0.0.0"), app(at="::"), True),
        # Where one of them leads.
        (app(at="127.0.0.2", to="tcp://127.0.0.1:5"), app(), True),
        (app(at="127.0.0.2", to="tcp://127.0.0.1:5"), app("udp/5"), False),
        (app(at="127.0.0.2", to="tcp://127.0.0.3:5"), app(at="0.0.0.0"), True),
        (app(at="127.0.0.2", to="tcp://192.0.2.200:7"), app("tcp/7", at="0.0.0.0"), True),
        (app(at="127.0.0.2", to="tcp://192.0.2.201:7"), app("tcp/7", at="0.0.0.0"), False),
        # By a load balancer: of a pool whose port is given, and of a range of apps.
        (BALANCED, app(at="127.0.0.9"), True),
        (BALANCED, app("udp/5", at="127.0.0.9"), False),
        (BALANCED, app("tcp/6", at="127.0.0.9"), False),
        (BALANCED | {"protocol": "tcp/7-8"}, app("tcp/6", at="127.0.0.9"), True),
        (BALANCED, app(at="0.0.0.0"), True),
        (BALANCED, BALANCED | {"protocol": "tcp/50", "proxy_protocol": "v2"}, True),
        # What they take from elsewhere.
        (TPROXY, TPROXY, True),
        (WIDE | {"tproxy": {"port": 99, "prefixes": ["192.0.2.0/24"]}}, app(at="192.0.2.7"), True),
        (BOUND, BOUND, True),
        (BOUND, app("tcp/9"), False),
    ],
)
def test_neighbours(one, other, are):
    config = configured(one, other)
    neighbours = known(config)
    apps = config.apps
    assert ("one" in neighbours.neighbours_of(apps["other"], config)) == are
    assert ("other" in neighbours.neighbours_of(apps["one"], config)) == are
    assert "third" not in neighbours.neighbours_of(apps["one"], config)
    neighbours.remove("one", apps["one"], config)
    assert "one" not in neighbours.neighbours_of(apps["other"], config)
    neighbours.add("one", apps["one"], config)
    assert ("one" in neighbours.neighbours_of(apps["other"], config)) == are


def test_who_sends_to_a_pool():
    config = configured(BALANCED, BALANCED | {"protocol": "tcp/6"})
    neighbours = known(config)
    assert list(neighbours.senders("p")) == ["one"]
    neighbours.remove("one", config.apps["one"], config)
    assert list(neighbours.senders("p")) == ["other"]
    assert not neighbours.senders("q")


def test_nothing_is_left():
    config = configured(BALANCED | {"protocol": "tcp/6-7"}, BOUND)
    neighbours = known(config)
    for name, one in config.apps.items():
        neighbours.remove(name, one, config)
    neighbours.remove_pool("p", config.pools["p"])
    assert not neighbours._marked
