from ipaddress import ip_address

import pytest

from spectrum.core.address import parse_socket_address
from spectrum.core.configuration.config import App, Metrics
from tests.core.configuration.checking import TCP, UDP, app, faults

LOCAL = [ip_address("127.0.0.1"), ip_address("192.0.2.10"), ip_address("2001:db8::10")]


def check_apps(apps, local, metrics=None):
    return faults(apps, local, metrics=Metrics.model_construct(listen=metrics) if metrics else None)


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        (app("tcp/80"), app("tcp/80"), True),
        (app("tcp/80"), app("tcp/81"), False),
        (app("tcp/80"), app("udp/80", "udp://203.0.113.1:80"), False),
        (app("udp/80", "udp://203.0.113.1:80"), app("udp/80", "udp://203.0.113.1:80"), True),
        (app("tcp/80", edge=["192.0.2.1"]), app("tcp/80", edge=["192.0.2.2"]), False),
        (app("tcp/80", edge=["192.0.2.1"]), app("tcp/80", edge=["192.0.2.2", "192.0.2.1"]), True),
        (app("tcp/80", edge=["192.0.2.1"]), app("tcp/80"), True),
        (app("tcp/80", edge=["192.0.2.1"]), app("tcp/80", edge=["0.0.0.0"]), True),
        (app("tcp/80", edge=["::1"]), app("tcp/80", edge=["0.0.0.0"]), False),
        (app("tcp/80", edge=["::"]), app("tcp/80", edge=["::1"]), True),
    ],
)
def test_overlaps(one, other, collide):
    found = check_apps({"one": one, "other": other}, [])
    assert bool(found) is collide
    if collide:
        assert found[0].path == ("apps", "other", "protocol")
        assert "taken by app one" in found[0].message
        assert found[0].taken_by == "one"


def test_overlapping_ranges_are_reported_once():
    ranges = [app(f"tcp/{first}-{first + 9}", f"tcp://203.0.113.1:{first}-{first + 9}") for first in (8000, 8005)]
    found = check_apps({"a": ranges[0], "b": ranges[1]}, [])
    assert [fault.message for fault in found] == ["[::]:8005 is taken by app a"]


def test_an_address_listed_twice():
    found = check_apps({"a": app("tcp/80", edge=["192.0.2.1", "192.0.2.1"])}, [])
    assert [fault.message for fault in found] == ["192.0.2.1:80 is listed twice"]


@pytest.mark.parametrize(
    ("listening", "origin", "loop"),
    [
        (None, "tcp://127.0.0.1:80", True),
        (None, "tcp://192.0.2.10:80", True),
        (None, "tcp://[2001:db8::10]:80", True),
        (None, "tcp://192.0.2.99:80", False),
        (None, "tcp://127.0.0.1:81", False),
        (["192.0.2.10"], "tcp://127.0.0.1:80", False),
        (["192.0.2.10"], "tcp://192.0.2.10:80", True),
        (["0.0.0.0"], "tcp://127.0.0.2:80", True),
        (["::"], "tcp://127.0.0.1:80", False),
    ],
)
def test_loops(listening, origin, loop):
    found = check_apps({"a": app("tcp/80", origin, edge=listening)}, LOCAL)
    assert bool(found) is loop
    if loop:
        assert found[0].path == ("apps", "a", "origin_direct", 0)
        assert "a loop" in found[0].message


def test_another_app_is_no_origin():
    found = check_apps({"a": app("tcp/80"), "b": app("tcp/81", "tcp://127.0.0.1:80")}, LOCAL)
    assert [fault.message for fault in found] == [
        "127.0.0.1:80 is the listener of app a; use the origin of that app instead"
    ]


def test_ranges_must_be_equal():
    found = check_apps({"a": app("tcp/8000-8009", "tcp://203.0.113.1:9000-9008")}, [])
    assert found[0].path == ("apps", "a", "origin_direct", 0)
    assert "write 9000-9009" in found[0].message
    named = App.model_validate({"protocol": "tcp/80-81", "origin_dns": {"name": "x"}, "origin_port": 80})
    assert check_apps({"a": named}, [])[0].path == ("apps", "a", "origin_port")


def test_a_service_has_one_port():
    origin_dns = {"name": "_x._tcp.example.org", "type": "SRV"}
    for protocol, count in (("tcp/80", 0), ("tcp/80-81", 1)):
        found = check_apps({"a": App.model_validate({"protocol": protocol, "origin_dns": origin_dns})}, [])
        assert [fault.path for fault in found] == [("apps", "a", "protocol")] * count
    assert found[0].message == "tcp/80-81 has 2 ports, an SRV record has one; write one app for each"


def test_thousands_may_share_a_port():
    """Each on an address of its own: checked in time that grows with their number, not with its square."""
    apps = {f"a{i}": app("tcp/443", "tcp://203.0.113.1:443", edge=[f"10.0.{i // 256}.{i % 256}"]) for i in range(5000)}
    assert check_apps(apps, LOCAL) == []
    apps["all"] = app("tcp/443", edge=["0.0.0.0"])
    assert [fault.message for fault in check_apps(apps, LOCAL)] == ["0.0.0.0:443 is taken by app a0"]


def test_transport_must_match():
    assert "is not tcp" in check_apps({"a": app("tcp/80", "udp://203.0.113.1:80")}, [])[0].message


def test_metrics_may_not_collide():
    where = parse_socket_address("127.0.0.1:80")
    assert check_apps({"a": app("tcp/80")}, LOCAL, where)[0].path == ("metrics", "listen")
    assert check_apps({"a": app("tcp/81")}, LOCAL, where) == []


@pytest.mark.parametrize(
    ("one", "path"),
    [
        (app(*UDP, proxy_protocol="v1"), ("proxy_protocol",)),
        (app(*TCP, proxy_protocol="simple"), ("proxy_protocol",)),
        (app(*UDP, proxy_protocol="simple"), None),
        (app(*UDP, proxy_protocol="v2", proxy_header_datagram="each"), None),
        (app(*TCP, proxy_protocol="v2", proxy_header_datagram="each"), ("proxy_header_datagram",)),
        (app(*UDP, proxy_protocol="simple", proxy_header_datagram="first"), ("proxy_header_datagram",)),
        (app(*UDP, spp_replies="lenient"), ("spp_replies",)),
        (app(*UDP, proxy_protocol="simple", spp_replies="lenient", origin_socket="shared"), ("origin_socket",)),
        (app(*UDP, proxy_protocol="simple", spp_replies="strict", origin_socket="shared"), None),
        (app(*UDP, origin_socket="shared"), ("origin_socket",)),
        (app(*UDP, keepalive={}), ("keepalive",)),
        (app(*UDP, timeouts={"connect": "1s"}), ("timeouts", "connect")),
        (app(*UDP, timeouts={"idle": "1s"}), None),
        (app(*UDP, accept_proxy_protocol={"from": ["127.0.0.0/8"]}), None),
        (app(*UDP, accept_proxy_protocol={"from": ["::/0"], "timeout": 1}), ("accept_proxy_protocol", "timeout")),
        (app(*TCP, source="client"), None),
        (app(*TCP, source="client", source_ips=["127.0.0.1"]), ("source_ips",)),
        (app(*UDP, source="client", proxy_protocol="simple", origin_socket="shared"), ("origin_socket",)),
        (app(*UDP, on_remove="close"), ("on_remove",)),
        (app(*TCP, on_remove="close"), None),
        (app(*UDP, drain_pace=100), ("drain_pace",)),
        (app(*TCP, fragments="drop"), ("fragments",)),
    ],
)
def test_what_a_transport_has_no_use_for(one, path):
    assert [fault.path for fault in check_apps({"a": one}, [])] == ([("apps", "a", *path)] if path else [])


def test_loops_are_of_one_transport():
    apps = {"a": app("udp/5300", "udp://127.0.0.1:53"), "b": app("tcp/53", "tcp://203.0.113.1:53")}
    assert check_apps(apps, LOCAL) == []
    apps["c"] = app("udp/53", "udp://203.0.113.1:53")
    (fault,) = check_apps(apps, LOCAL)
    assert "listener of app c" in fault.message
