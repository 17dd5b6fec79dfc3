import pytest

from tests.core.configuration.checking import TCP, UDP, app, faults

TAKES = {"port": 15000, "prefixes": ["192.0.2.0/24"]}


@pytest.mark.parametrize(
    ("one", "path"),
    [
        (app(*TCP, edge=["192.0.2.1"], tproxy={"port": 1, "prefixes": ["192.0.2.0/24"]}), ("edge_ips",)),
        (app(*TCP, tproxy=TAKES, accept_proxy_protocol={"from": ["::/0"]}), None),
        (app(*UDP, tproxy=TAKES, accept_proxy_protocol={"from": ["::/0"]}), ("accept_proxy_protocol",)),
        (app(*TCP, tproxy=TAKES, bindings=[{"prefix": "192.0.2.0/24"}]), ("bindings",)),
    ],
)
def test_faults_of_an_app(one, path):
    assert [fault.path for fault in faults({"a": one})] == ([("apps", "a", *path)] if path else [])


def takes(ports, *prefixes, port=15000):
    return app(f"tcp/{ports}", f"tcp://203.0.113.1:{ports}", tproxy={"port": port, "prefixes": list(prefixes)})


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        (takes("1-9", "192.0.2.0/24"), takes("10-19", "192.0.2.0/24", port=15001), None),
        (takes("1-9", "192.0.2.0/24"), takes("9", "192.0.3.0/24", port=15001), None),
        (takes("1-9", "192.0.2.0/24"), takes("9", "192.0.2.7/32", port=15001), ("b", "tproxy", "prefixes", 0)),
        (takes("1-9", "192.0.2.0/24"), takes("9", "::/0", "192.0.0.0/8", port=15001), ("b", "tproxy", "prefixes", 1)),
        (takes("1-9", "192.0.2.0/24"), takes("10", "192.0.3.0/24"), ("b", "protocol")),
        (
            takes("1-9", "192.0.2.0/24"),
            app("tcp/5", "tcp://203.0.113.1:5", edge=["192.0.2.1"]),
            ("a", "tproxy", "prefixes", 0),
        ),
        (takes("1-9", "192.0.2.0/24"), app("tcp/5", "tcp://203.0.113.1:5", edge=["192.0.3.1"]), None),
        (takes("1-9", "192.0.2.0/24"), app("tcp/15000", "tcp://203.0.113.1:5-5"), ("b", "protocol")),
    ],
)
def test_what_tproxy_takes_is_one_apps(one, other, path):
    found = [fault.path for fault in faults({"a": one, "b": other}) if fault.path[-2:] != ("origin_direct", 0)]
    assert found == ([("apps", *path)] if path else [])
