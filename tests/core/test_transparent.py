from ipaddress import ip_address

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.core.transparent import exposed_origins, is_shown, requirements

LOCAL = [ip_address("127.0.0.1"), ip_address("10.0.0.1")]


def config(*origins, more="source: client", port="tcp/7000"):
    listed = ", ".join(f"'{origin}'" for origin in origins)
    return load_text(f"apps: {{x: {{protocol: {port}, origin_direct: [{listed}], {more}}}}}", "f")


def commands(*origins, **options):
    return [" ".join(need.make) for need in requirements(config(*origins, **options), LOCAL)]


ROUTE4 = "ip route replace local default dev lo table 5350"
ROUTE6 = "ip -6 route replace local default dev lo table 5350"


@pytest.mark.parametrize(
    ("origins", "port", "expected"),
    [
        (
            ["tcp://127.0.0.1:22"],
            "tcp/7000",
            [ROUTE4, "ip rule add from 127.0.0.1 iif lo ipproto tcp sport 22 lookup 5350 priority 5350"],
        ),
        (
            ["udp://[::1]:53-54"],
            "udp/7000-7001",
            [ROUTE6, "ip -6 rule add from ::1 iif lo ipproto udp sport 53-54 lookup 5350 priority 5350"],
        ),
        (
            ["tcp://192.0.2.9:22", "tcp://192.0.2.8:22"],
            "tcp/7000",
            [ROUTE4, "ip rule add fwmark 0x5350 lookup 5350 priority 5350", "nft -f -"],
        ),
        (["tcp://10.0.0.1:22"], "tcp/7000", [ROUTE4]),
    ],
)
def test_what_is_needed(origins, port, expected):
    assert commands(*origins, port=port) == expected


def test_nothing_is_needed_without_it():
    assert commands("tcp://127.0.0.1:22", more="source: edge") == []


def test_names_and_pools_may_be_of_both_families():
    text = """
pools: {p: {origins: [{name: a, address: 127.0.0.1, port: 22}, {name: b, address: b.example}]}}
load_balancers: {lb: {default_pools: [p]}}
apps:
  x: {protocol: tcp/7000, load_balancer: lb, source: client}
  y: {protocol: tcp/7001, origin_dns: {name: y.example}, origin_port: 22, source: client}
"""
    made = [" ".join(need.make) for need in requirements(load_text(text, "f"), LOCAL)]
    assert made == [
        ROUTE4,
        "ip rule add from 127.0.0.1 iif lo ipproto tcp sport 22 lookup 5350 priority 5350",
        "ip rule add fwmark 0x5350 lookup 5350 priority 5350",
        "nft -f -",
        ROUTE6,
        "ip -6 rule add fwmark 0x5350 lookup 5350 priority 5350",
    ]


def test_origins_that_others_reach_too():
    assert exposed_origins(config("tcp://10.0.0.1:22", "tcp://127.0.0.1:22", "tcp://192.0.2.1:22"), LOCAL) == [
        "10.0.0.1"
    ]
    assert exposed_origins(config("tcp://10.0.0.1:22", more="source: edge"), LOCAL) == []


def test_how_it_is_seen():
    route, rule = requirements(config("tcp://127.0.0.1:22"), LOCAL)
    assert is_shown(route, "local default dev lo scope host \n")
    assert not is_shown(route, "")
    assert is_shown(rule, "0:\tfrom all lookup local\n5350:\tfrom 127.0.0.1 iif lo ipproto tcp sport 22 lookup 5350\n")
    assert not is_shown(rule, "5350:\tfrom 127.0.0.1 iif lo ipproto tcp sport 2222 lookup 5350\n")


def test_what_tproxy_needs_comes_before_the_rest():
    app = "tproxy: {port: 15000, prefixes: [198.51.100.0/24, 198.51.101.1/32, '2001:db8::/64']}, source: client"
    needs = requirements(config("tcp://192.0.2.9:7000-7009", more=app, port="tcp/7000-7009"), LOCAL)
    rules = [need.expected for need in needs if need.make[0] == "nft"]
    to = "socket transparent 1 meta mark set 0x00005350 accept"
    assert rules == [
        "ip daddr 198.51.100.0/24 tcp dport 7000-7009 tproxy ip to :15000 meta mark set 0x00005350 accept",
        "ip daddr 198.51.101.1 tcp dport 7000-7009 tproxy ip to :15000 meta mark set 0x00005350 accept",
        "ip6 daddr 2001:db8::/64 tcp dport 7000-7009 tproxy ip6 to :15000 meta mark set 0x00005350 accept",
        f"meta l4proto {{ tcp, udp }} {to}",
    ]
    assert [" ".join(need.make) for need in needs if need.make[0] == "ip"] == [
        ROUTE4,
        "ip rule add fwmark 0x5350 lookup 5350 priority 5350",
        ROUTE6,
        "ip -6 rule add fwmark 0x5350 lookup 5350 priority 5350",
    ]


def test_bound_prefixes_are_made_local():
    bindings = "[{prefix: 192.0.2.0/24}, {prefix: '2001:db8::/32'}, {prefix: 198.51.100.7/32}, {prefix: 127.1.0.0/16}]"
    text = f"apps: {{a: {{protocol: tcp/22, origin_direct: [tcp://192.0.2.9:22], bindings: {bindings}}}}}"
    needs = requirements(load_text(text, "f"), LOCAL)
    assert [" ".join(need.make) for need in needs] == [
        "ip route replace local 192.0.2.0/24 dev lo",
        "ip -6 route replace local 2001:db8::/32 dev lo",
        "ip route replace local 198.51.100.7/32 dev lo",
    ]
    # As ip(8) prints them: a host without its length.
    for need, line in zip(needs, ("192.0.2.0/24", "2001:db8::/32", "198.51.100.7"), strict=True):
        assert is_shown(need, f"local {line} dev lo scope host \n")
        assert not is_shown(need, "")
