import time

import pytest

from spectrum.control.configuration.loader import load_objects
from spectrum.core.configuration.checks import ListenerIndex
from spectrum.core.configuration.feature import CheckContext
from spectrum.core.tenants.checks import check_tenants

ORIGINS = [{"name": "a", "address": "192.0.2.9", "port": 22}]


def app(protocol, **more):
    return {"protocol": protocol, "origin_direct": [f"{protocol.split('/')[0]}://192.0.2.9:22"], **more}


def ssh(name="ssh.example.com", **more):
    return app("tcp/22", dns={"name": name}, **more)


def faults(**sections):
    found = load_objects({"apps": {"z": app("tcp/9")}, **sections})[1]
    return [(".".join(map(str, fault.path)), fault.message) for fault in found]


TENANTS = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {}, "example.org": {"account": "other"}},
}


def test_valid_configurations():
    assert (
        faults(
            **TENANTS,
            apps={
                "a": ssh(ip_firewall=True),
                "b": app("tcp/23", dns={"name": "ssh.example.com"}, load_balancer="l", origin_direct=None),
                "c": app("udp/22", dns={"name": "ssh.example.com"}),
                "d": app("tcp/24", dns={"name": "d.example.org", "type": "ADDRESS"}, edge_ips=["192.0.2.1"]),
                "e": app("tcp/25", zone="example.org"),
                "f": app("tcp/26", dns={"name": "f.example.org"}, edge_ips=["192.0.2.1"]),
            },
            monitors={"m": {"type": "tcp"}, "n": {"type": "tcp", "account": "other"}},
            monitor_groups={"g": {"members": [{"monitor": "n"}], "account": "other"}},
            pools={"p": {"origins": ORIGINS, "monitor": "m", "account": "acme"}},
            load_balancers={"l": {"default_pools": ["p"], "zone": "example.com"}},
            lists={"bad": {"kind": "ip", "items": [{"ip": "192.0.2.0/24", "comment": "x"}]}},
            access_rules={
                "all": {"target": "ip", "value": "192.0.2.1", "action": "block", "apps": ["a"]},
                "zone": {"target": "ip_range", "list": "bad", "action": "block", "zone": "example.com", "apps": ["a"]},
                "later": {"target": "ip", "value": "192.0.2.1", "action": "block", "zone": "example.org"},
            },
            tokens={
                "t": {
                    "hash": "sha256:" + "0" * 64,
                    "account": "acme",
                    "policies": [{"permissions": ["apps:edit"], "accounts": ["acme"], "zones": ["example.org"]}],
                }
            },
        )
        == []
    )


CERTIFICATE = {"certificate": "/none.pem", "key": "/none.pem"}
CROSSING = "an object can refer only to objects of its own account"


@pytest.mark.parametrize(
    ("sections", "place", "message"),
    [
        ({"apps": {"a": app("tcp/1", zone="none")}}, "apps.a.zone", 'no zone "none"'),
        ({"apps": {"a": ssh(zone="example.org")}}, "apps.a.dns.name", "ssh.example.com is not in zone example.org"),
        (
            {
                "apps": {
                    "a": ssh(edge_ips=["192.0.2.1"]),
                    "b": app(
                        "tcp/20-22",
                        origin_direct=["tcp://192.0.2.9:20-22"],
                        dns={"name": "SSH.example.com"},
                        edge_ips=["192.0.2.2"],
                    ),
                }
            },
            "apps.b.dns.name",
            "ssh.example.com with tcp/20-22 is already app a",
        ),
        (
            {
                "apps": {
                    "a": app("tcp/1", dns={"name": "a.of.example.com"}, zone="example.com"),
                    "b": app("udp/2", dns={"name": "a.of.example.com"}, zone="z", origin_direct=["udp://192.0.2.9:2"]),
                },
                "zones": {"example.com": {}, "z": {"name": "of.example.com", "account": "other"}},
            },
            "apps.b.dns.name",
            "a.of.example.com is the name of app a, which is in another zone",
        ),
        (
            {"apps": {"a": app("tcp/1", dns={"name": "a.example.com", "type": "ADDRESS"})}},
            "apps.a.dns.type",
            "ADDRESS needs addresses in edge_ips",
        ),
        (
            {"apps": {"a": app("tcp/1", dns={"name": "a.example.com", "type": "CNAME"}, edge_ips=["192.0.2.1"])}},
            "apps.a.dns.type",
            "with addresses of its own use ADDRESS",
        ),
        ({"zones": {"example.com": {"account": "nobody"}}}, "zones.example.com.account", 'no account "nobody"'),
        ({"zones": {"example": {}}}, "zones.example", "is not a domain; write example.com"),
        (
            {"zones": {"example.com": {}, "x": {"name": "Example.com"}}},
            "zones.x",
            "example.com is the domain of zone example.com already",
        ),
        ({"monitors": {"m": {"type": "tcp", "account": "x"}}}, "monitors.m.account", 'no account "x"'),
        (
            {
                "load_balancers": {"l": {"default_pools": ["p"], "zone": "example.com", "account": "acme"}},
                "pools": {"p": {"origins": ORIGINS}},
            },
            "load_balancers.l.account",
            "it belongs to the account of its zone",
        ),
        (
            {
                "pools": {"p": {"origins": ORIGINS, "monitor": "m", "account": "other"}},
                "monitors": {"m": {"type": "tcp"}},
            },
            "pools.p.monitor",
            f"monitor m belongs to account acme, this pool to other; {CROSSING}",
        ),
        (
            {
                "pools": {"p": {"origins": ORIGINS, "monitor_group": "g", "account": "other"}},
                "monitor_groups": {"g": {"members": [{"monitor": "m"}]}},
                "monitors": {"m": {"type": "tcp"}},
            },
            "pools.p.monitor_group",
            f"monitor group g belongs to account acme, this pool to other; {CROSSING}",
        ),
        (
            {
                "monitor_groups": {"g": {"members": [{"monitor": "m"}], "account": "other"}},
                "monitors": {"m": {"type": "tcp"}},
            },
            "monitor_groups.g.members.0.monitor",
            CROSSING,
        ),
        (
            {
                "apps": {"a": app("tcp/1", load_balancer="l", origin_direct=None, zone="example.org")},
                "pools": {"p": {"origins": ORIGINS}},
                "load_balancers": {"l": {"default_pools": ["p"]}},
            },
            "apps.a.load_balancer",
            "load balancer l belongs to account acme, this app to other",
        ),
        (
            {
                "pools": {"p": {"origins": ORIGINS}, "q": {"origins": ORIGINS, "account": "other"}},
                "load_balancers": {"l": {"default_pools": ["p"], "country_pools": {"DE": ["q"]}, "fallback_pool": "p"}},
            },
            "load_balancers.l.country_pools.DE.0",
            CROSSING,
        ),
        (
            {
                "lists": {"bad": {"kind": "ip", "account": "other"}},
                "access_rules": {"r": {"target": "ip", "list": "bad", "action": "block", "account": "acme"}},
            },
            "access_rules.r.list",
            CROSSING,
        ),
        (
            {
                "apps": {"a": app("tcp/1", ip_firewall=True)},
                "access_rules": {
                    "r": {"target": "ip", "value": "192.0.2.1", "action": "block", "account": "other", "apps": ["a"]}
                },
            },
            "access_rules.r.apps.0",
            CROSSING,
        ),
        (
            {
                "apps": {"a": app("tcp/1", ip_firewall=True, zone="example.com")},
                "accounts": {},
                "zones": {"example.com": {}, "example.net": {}},
                "access_rules": {
                    "r": {"target": "ip", "value": "192.0.2.1", "action": "block", "zone": "example.net", "apps": ["a"]}
                },
            },
            "access_rules.r.apps.0",
            "app a is not in zone example.net",
        ),
        (
            {
                "tokens": {
                    "t": {"hash": "sha256:" + "0" * 64, "policies": [{"permissions": ["apps:read"], "zones": ["x.y"]}]}
                }
            },
            "tokens.t.policies.0.zones.0",
            'no zone "x.y"',
        ),
        (
            {
                "tokens": {
                    "t": {"hash": "sha256:" + "0" * 64, "account": "x", "policies": [{"permissions": ["apps:read"]}]}
                }
            },
            "tokens.t.account",
            'no account "x"',
        ),
    ],
)
def test_faults(sections, place, message):
    found = faults(**(TENANTS | sections))
    assert [where for where, _ in found] == [place]
    assert message in found[0][1]


def test_without_tenants_nobody_has_to_name_one():
    assert faults(apps={"a": ssh()}) == []
    assert faults(monitors={"m": {"type": "tcp", "account": "x"}}) == [
        ("monitors.m.account", 'no account "x"; known here: default')
    ]


def test_many_apps_in_many_zones_are_quick():
    zones = {f"z{number}.example": {"account": ("acme", "other")[number % 2]} for number in range(100)}
    apps = {f"a{number}": ssh(f"a{number}.z{number % 100}.example", edge_ips=["192.0.2.1"]) for number in range(2000)}
    apps = {name: {**one, "protocol": f"tcp/{number + 1}"} for number, (name, one) in enumerate(apps.items())}
    config, found = load_objects({"accounts": {"acme": {}, "other": {}}, "zones": zones, "apps": apps})
    assert found == []
    names = {"accounts": ["acme", "other"], "zones": list(zones)}
    surroundings = CheckContext(names, ListenerIndex({}, ()), config)
    began = time.perf_counter()
    assert list(check_tenants(config, surroundings)) == []
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    ("one", "owners", "place", "message"),
    [
        (
            {"edge_tls": {"certificates": ["c"]}, "zone": "example.org"},
            {"c": "acme"},
            "edge_tls.certificates.0",
            CROSSING,
        ),
        ({"origin_tls": {"certificate": "c"}}, {"c": "other", "d": "acme"}, "origin_tls.certificate", CROSSING),
        (
            {},
            {"c": "acme", "d": "other"},
            "edge_tls.certificates",
            "omitted it means all, and one belongs to account other",
        ),
    ],
)
def test_certificates_are_those_of_the_account(one, owners, place, message):
    certificates = {name: CERTIFICATE | {"account": owner} for name, owner in owners.items()}
    found = dict(faults(**TENANTS, apps={"a": app("tcp/1", tls="full", **one)}, certificates=certificates))
    assert message in found[f"apps.a.{place}"]
