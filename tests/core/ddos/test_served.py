from ipaddress import ip_address, ip_network

import pytest

from spectrum.core.ddos.served import (
    MAX_PLACES,
    ServedError,
    ServedPlace,
    ServedTable,
    app_numbers,
    served_alike,
    served_places,
)
from tests.core.configuration.checking import app

ORIGIN = {"origin_direct": ["tcp://192.0.2.100:80"]}


def served(**apps):
    return served_places(apps)


def places(protocol, number, *wanted):
    return [ServedPlace(protocol, ip_network(prefix), port, number) for prefix, port in wanted]


def one(protocol, **more):
    transport, _, ports = protocol.partition("/")
    first = ports.partition("-")[0]
    origin = f"{transport}://192.0.2.100:{ports if '-' in ports else first}"
    return app(protocol, origin, **more)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (one("tcp/443"), places(6, 0, ("0.0.0.0/0", 443), ("::/0", 443))),
        (one("udp/53", edge_ips=["192.0.2.1"]), places(17, 0, ("192.0.2.1/32", 53))),
        (one("udp/53", edge_ips=["0.0.0.0"]), places(17, 0, ("0.0.0.0/0", 53))),
        (one("udp/53", edge_ips=["::", "192.0.2.1"]), places(17, 0, ("::/0", 53), ("192.0.2.1/32", 53))),
        (one("udp/53-55", edge_ips=["2001:db8::1"]), places(17, 0, *(("2001:db8::1/128", n) for n in (53, 54, 55)))),
        (one("tcp/80", bindings=[{"prefix": "192.0.2.0/24"}]), places(6, 0, ("192.0.2.0/24", 80))),
        (one("tcp/80", bindings=[{"prefix": "192.0.2.0/24", "port": 0}]), places(6, 0, ("192.0.2.0/24", 0))),
        (
            one("tcp/80", edge_ips=["192.0.2.1"], bindings=[{"prefix": "2001:db8::/64", "port": 7}]),
            places(6, 0, ("192.0.2.1/32", 80), ("2001:db8::/64", 7)),
        ),
        (
            one("tcp/80-81", tproxy={"port": 9000, "prefixes": ["198.51.100.0/24"]}),
            places(6, 0, ("198.51.100.0/24", 80), ("198.51.100.0/24", 81)),
        ),
        (one("udp/1-65535", edge_ips=["192.0.2.1"]), places(17, 0, ("192.0.2.1/32", 0))),
    ],
)
def test_where_an_app_is_served(given, wanted):
    assert served(a=given) == wanted


def test_apps_have_numbers_and_a_shared_place_is_the_first_ones():
    apps = {
        "b": one("tcp/443", sni=["b.example"]),
        "a": one("tcp/443", sni=["a.example"]),
        "c": one("udp/443", edge_ips=["192.0.2.1"]),
    }
    assert app_numbers(apps) == {"b": 0, "a": 1, "c": 2}
    assert served(**apps) == [
        *places(6, 0, ("0.0.0.0/0", 443), ("::/0", 443)),
        *places(17, 2, ("192.0.2.1/32", 443)),
    ]


def test_more_places_than_there_is_room_for():
    full = one("udp/1-60000", edge_ips=["192.0.2.1"])
    assert len(served(a=full)) == 60000 < MAX_PLACES
    with pytest.raises(ServedError, match=r"served at 120,001 .* most by b 60,000, a 60,000, c 1; .* 65,536 at most"):
        served(c=one("tcp/1", edge_ips=["192.0.2.1"]), b=one("udp/1-60000", edge_ips=["192.0.2.2"]), a=full)


@pytest.mark.parametrize(
    ("protocol", "address", "port", "wanted"),
    [
        (6, "192.0.2.7", 443, "everywhere"),
        (6, "2001:db8::1", 443, "everywhere"),
        (6, "192.0.2.1", 443, "one"),
        (6, "198.51.100.9", 443, "whole"),  # the longer prefix, of any port
        (6, "198.51.100.1", 443, "whole"),
        (6, "198.51.100.9", 0, "whole"),
        (17, "192.0.2.1", 443, ""),
        (6, "192.0.2.7", 80, ""),
        (1, "192.0.2.1", 0, ""),
    ],
)
def test_the_app_of_a_packet(protocol, address, port, wanted):
    table = ServedTable(
        {
            "everywhere": one("tcp/443"),
            "one": one("tcp/443", edge_ips=["192.0.2.1"]),
            "whole": one("tcp/80", bindings=[{"prefix": "198.51.100.0/24", "port": 0}]),
        }
    )
    assert table.app_at(protocol, ip_address(address), port) == wanted


@pytest.mark.parametrize(
    ("after", "same"),
    [
        ({"a": one("tcp/443", timeouts={"idle": 5}), "b": one("udp/53")}, True),
        ({"a": one("tcp/444"), "b": one("udp/53")}, False),
        ({"a": one("tcp/443", edge_ips=["192.0.2.1"]), "b": one("udp/53")}, False),
        ({"b": one("udp/53")}, False),
        ({"a": one("tcp/443"), "b": one("udp/53"), "c": one("udp/54")}, False),
        ({"b": one("udp/53"), "a": one("tcp/443")}, False),
    ],
)
def test_whether_apps_are_served_where_they_were(after, same):
    before = {"a": one("tcp/443"), "b": one("udp/53")}
    assert served_alike(before, after, {"a", *after.keys() ^ before.keys()}) is same
