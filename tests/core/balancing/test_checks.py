import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.core.balancing.checks import probe_port
from spectrum.core.balancing.objects import Monitor

ONE = "{name: o, address: 192.0.2.1, port: 80}"


def faults(monitor="type: tcp", pool="monitor: m", balancer="default_pools: [p]", app="protocol: tcp/80", more=""):
    text = f"""
monitors: {{m: {{{monitor}}}}}
pools: {{p: {{origins: [{ONE}], {pool}}}}}
load_balancers: {{lb: {{{balancer}}}}}
apps: {{a: {{{app}, load_balancer: lb}}}}
{more}"""
    try:
        load_text(text, "f")
    except ConfigError as exc:
        return [f"{d.path}: {d.message}" for d in exc.diagnostics]
    return []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"monitor": "type: tcp, path: /x"}, ["monitors.m.path: it is valid for http and https, not for tcp"]),
        ({"monitor": "type: http, send: x"}, ["monitors.m.send: it is valid for tcp and udp_icmp, not for http"]),
        ({"monitor": "type: tcp, method: HEAD"}, ["monitors.m.method: tcp monitors have only connection_established"]),
        (
            {"monitor": "type: tcp, proxy_protocol: simple"},
            ["monitors.m.proxy_protocol: simple is for udp_icmp; over TCP use v1 or v2"],
        ),
        (
            {"monitor": "type: udp_icmp, proxy_protocol: v1"},
            ["monitors.m.proxy_protocol: v1 is for TCP; over UDP use simple or v2"],
        ),
        ({"pool": "monitor: n"}, ['pools.p.monitor: no monitor "n"; known here: m']),
        ({"pool": "monitor_group: g", "more": "monitor_groups: {g: {members: [{monitor: m}]}}"}, []),
        (
            {"pool": "monitor_group: g, monitor: m", "more": "monitor_groups: {g: {members: [{monitor: m}]}}"},
            ["pools.p.monitor_group: a pool has a monitor or a monitor_group, not both"],
        ),
        ({"pool": "monitor_group: g"}, ['pools.p.monitor_group: no monitor group "g"; the file has no monitor groups']),
        (
            {"more": "monitor_groups: {g: {members: [{monitor: n}, {monitor: m}, {monitor: m}]}}"},
            [
                'monitor_groups.g.members[0].monitor: no monitor "n"; known here: m',
                "monitor_groups.g.members[2].monitor: m is a member already",
            ],
        ),
        (
            {"more": "monitor_groups: {g: {members: [{monitor: m, monitoring_only: true, must_be_healthy: true}]}}"},
            [
                "monitor_groups.g.members[0].must_be_healthy: "
                "the verdict of a member with monitoring_only does not count"
            ],
        ),
        ({"pool": "monitor: other"}, ['pools.p.monitor: no monitor "other"; known here: m']),
        (
            {"pool": "minimum_origins: 2"},
            ["pools.p.minimum_origins: 2 of 1 origins can never be healthy"],
        ),
        ({"pool": "latitude: 5"}, ['pools.p: "longitude" is missing; a location needs both']),
        ({"balancer": "default_pools: [q]"}, ['load_balancers.lb.default_pools[0]: no pool "q"; known here: p']),
        (
            {"balancer": "default_pools: [p], country_pools: {DE: [p, nope]}"},
            ['load_balancers.lb.country_pools.DE[1]: no pool "nope"; known here: p'],
        ),
        (
            {"balancer": "default_pools: [p], random_steering: {pool_weights: {zz: 1}}"},
            ['load_balancers.lb.random_steering.pool_weights.zz: no pool "zz"; known here: p'],
        ),
        (
            {"balancer": "default_pools: [p], steering_policy: random, random_steering: {default_weight: 0}"},
            ["load_balancers.lb.random_steering: every pool has weight 0; no client could be sent anywhere"],
        ),
        (
            {"balancer": "default_pools: [p], steering_policy: proximity"},
            [
                "load_balancers.lb.steering_policy: proximity is measured from node: {latitude: ..., longitude: ...}",
                "load_balancers.lb.steering_policy: proximity needs latitude and longitude of pool p",
            ],
        ),
        (
            {"balancer": "default_pools: [p], session_affinity: ip_port"},
            [
                "load_balancers.lb.session_affinity: ip_port is for UDP; app a is TCP, "
                "where each connection has a port of its own: use ip"
            ],
        ),
        (
            {"app": "protocol: tcp/80-99, edge_ips: [192.0.2.9]", "pool": "origin_steering: {policy: hash}"},
            [],
        ),
    ],
)
def test_faults(given, expected):
    assert faults(**given) == expected


def test_no_such_load_balancer():
    text = "apps: {a: {protocol: tcp/80, load_balancer: lb}}"
    with pytest.raises(ConfigError, match='no load balancer "lb"; the file has no load balancers'):
        load_text(text, "f")


def test_origins_twice_and_without_a_port():
    text = """
monitors: {m: {type: tcp}, ping: {type: icmp_ping}, web: {type: http}}
pools:
  p: {origins: [{name: o, address: 192.0.2.1}, {name: o, address: 192.0.2.2, port: 1}], monitor: m}
  q: {origins: [{name: o, address: 192.0.2.1}], monitor: ping}
  r: {origins: [{name: o, address: 192.0.2.1}], monitor: web}
  s: {origins: [{name: o, address: 192.0.2.1}], monitor_group: g}
monitor_groups: {g: {members: [{monitor: m, monitoring_only: true}, {monitor: ping}, {monitor: web}]}}
load_balancers: {lb: {default_pools: [p, q, r, s]}}
apps: {a: {protocol: tcp/80, load_balancer: lb}}
"""
    with pytest.raises(ConfigError) as caught:
        load_text(text, "f")
    assert [d.message for d in caught.value.diagnostics] == [
        "no port to probe: give this origin or monitor m a port",
        "o is already the name of another origin",
        "no port to probe: give this origin or monitor m a port",
    ]


def test_ports_that_do_not_fit():
    text = """
pools: {p: {origins: [{name: o, address: 192.0.2.1, port: 65530}]}}
load_balancers: {lb: {default_pools: [p]}}
apps: {a: {protocol: tcp/8000-8009, load_balancer: lb}}
"""
    with pytest.raises(ConfigError, match="app a has 10 ports; from 65530 on there are fewer"):
        load_text(text, "f")


def test_an_origin_that_is_our_own_listener():
    text = """
pools: {p: {origins: [{name: o, address: 192.0.2.1}]}}
load_balancers: {lb: {default_pools: [p]}}
apps: {a: {protocol: tcp/80, edge_ips: [192.0.2.1], load_balancer: lb}}
"""
    with pytest.raises(ConfigError, match=r"for app a that is 192.0.2.1:80, the listener of app a: a loop"):
        load_text(text, "f")


@pytest.mark.parametrize("probed_by", ["monitor: m", "monitor_group: g"])
@pytest.mark.parametrize(("own", "fault"), [("auto", True), ("v2", False), ("off", False)])
def test_apps_that_send_different_headers(own, fault, probed_by):
    text = f"""
monitors: {{m: {{type: tcp, proxy_protocol: {own}}}}}
monitor_groups: {{g: {{members: [{{monitor: m}}]}}}}
pools: {{p: {{origins: [{ONE}], {probed_by}}}}}
load_balancers: {{lb: {{default_pools: [p]}}}}
apps:
  a: {{protocol: tcp/80, load_balancer: lb, proxy_protocol: v2}}
  b: {{protocol: tcp/81, load_balancer: lb}}
"""
    if fault:
        with pytest.raises(ConfigError, match=r"send different proxy_protocol \(off, v2\)"):
            load_text(text, "f")
    else:
        assert load_text(text, "f").apps
    # An app of the other transport has no say in it.
    assert load_text(text.replace("tcp/81", "udp/81"), "f").apps


@pytest.mark.parametrize(
    ("kind", "own", "origins", "port"),
    [("tcp", 0, 22, 22), ("tcp", 23, 22, 23), ("http", 0, 0, 80), ("https", 0, 0, 443)],
)
def test_the_port_that_is_probed(kind, own, origins, port):
    assert probe_port(Monitor(type=kind, port=own), origins) == port


def test_a_malformed_object_is_not_also_missing():
    text = """
monitors: {m: {type: tpc}}
pools: {p: {origins: [], monitor: m}}
load_balancers: {lb: {default_pools: [p], colour: 5}}
apps: {a: {protocol: tcp/80, load_balancer: lb}}
"""
    with pytest.raises(ConfigError) as caught:
        load_text(text, "f")
    assert [d.path for d in caught.value.diagnostics] == [
        "monitors.m.type",
        "pools.p.origins",
        "load_balancers.lb.colour",
    ]
