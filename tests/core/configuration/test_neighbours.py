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
        (TPROXY, app(), True),
    ],
)
def test_neighbours(one, other, are):
    config = Config.model_validate({"apps": {"one": one, "other": other}})
    neighbours = Neighbours(config, LOCAL)
    apps = config.apps
    assert ("one" in neighbours.of(apps["other"])) == are
    if apps["one"].tproxy is None:  # who changes one of these has all apps looked at
        assert ("other" in neighbours.of(apps["one"])) == are
    neighbours.remove("one", apps["one"], config)
    assert "one" not in neighbours.of(apps["other"])
    neighbours.add("one", apps["one"], config)
    assert ("one" in neighbours.of(apps["other"])) == are


def test_origins_of_load_balancers():
    origin = {"name": "o", "address": "127.0.0.9"}
    balanced = {"protocol": "tcp/5", "edge_ips": ["127.0.0.2"], "load_balancer": "lb"}
    config = Config.model_validate(
        {
            "apps": {"one": balanced, "other": app(at="127.0.0.9")},
            "pools": {"p": {"origins": [origin, {"name": "n", "address": "x.example"}]}},
            "load_balancers": {"lb": {"default_pools": ["p"]}},
        }
    )
    neighbours = Neighbours(config, LOCAL)
    assert "one" in neighbours.of(config.apps["other"])
    neighbours.remove("one", config.apps["one"], config)
    neighbours.remove("other", config.apps["other"], config)
    assert not neighbours._marked
