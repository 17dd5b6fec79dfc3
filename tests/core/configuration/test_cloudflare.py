import pytest

from spectrum.control.configuration.loader import load_objects
from spectrum.core.balancing.objects import LoadBalancer, Monitor, Pool

APP = {"protocol": "tcp/22", "origin_direct": ["tcp://192.0.2.1:22"]}
POOL = {"origins": [{"name": "a", "address": "192.0.2.1", "flatten_cname": True}]}
BALANCER = {"default_pools": ["main"]}
WHOLE = {
    "apps": {"app": APP | {"traffic_type": "direct", "argo_smart_routing": False, "origin_port": 2222}},
    "monitors": {"web": {"probe_zone": ""}},
    "pools": {
        "main": POOL
        | {
            "check_regions": ["WEU", "ALL_REGIONS"],
            "notification_email": "",
            "notification_filter": {"origin": {"disable": True}, "pool": {"healthy": False}},
            "networks": ["cloudflare"],
        }
    },
    "load_balancers": {
        "lb": BALANCER
        | {
            "proxied": True,
            "ttl": 30,
            "networks": ["cloudflare"],
            "location_strategy": {"mode": "resolver_ip", "prefer_ecs": "never"},
            "rules": [],
            "session_affinity": "ip_cookie",
            "session_affinity_attributes": {
                "samesite": "Lax",
                "secure": "Never",
                "headers": [],
                "require_all_headers": True,
            },
        }
    },
}


def test_what_cloudflare_s_clients_send_is_taken():
    config, faults = load_objects(WHOLE)
    assert faults == []
    assert config.load_balancers["lb"].session_affinity == "ip"
    assert config.apps["app"].looked_up is None


def faults_of(section, value):
    return [(fault.path[2:], fault.message) for fault in load_objects({"apps": {"x": APP}, section: {"it": value}})[1]]


@pytest.mark.parametrize(
    ("section", "value", "place", "words"),
    [
        (
            "apps",
            APP | {"protocol": "tcp/1", "traffic_type": "http"},
            ("traffic_type",),
            "expected 'direct', found 'http'",
        ),
        ("apps", APP | {"protocol": "tcp/1", "argo_smart_routing": True}, ("argo_smart_routing",), "expected false"),
        ("apps", APP | {"protocol": "tcp/1", "argo_smart_routing": 0}, ("argo_smart_routing",), "found 0"),
        ("monitors", {"probe_zone": "example.com"}, ("probe_zone",), "the origin directly"),
        ("pools", POOL | {"notification_email": "me@example.com"}, ("notification_email",), "no mail is sent"),
        ("pools", POOL | {"check_regions": ["MARS"]}, ("check_regions", 0), "WNAM"),
        ("pools", POOL | {"networks": ["mars"]}, ("networks", 0), "no others"),
        (
            "pools",
            {"origins": [{"name": "a", "address": "192.0.2.1", "flatten_cname": False}]},
            ("origins", 0, "flatten_cname"),
            "expected true",
        ),
        ("load_balancers", {"default_pools": ["p"], "rules": ["r"]}, ("rules",), "at most 0"),
        (
            "load_balancers",
            {"default_pools": ["p"], "session_affinity_attributes": {"headers": ["x"]}},
            ("session_affinity_attributes", "headers"),
            "at most 0",
        ),
        ("load_balancers", {"default_pools": ["p"], "session_affinity": "cookie"}, ("session_affinity",), "ip_port"),
    ],
)
def test_what_would_ask_for_something_else_is_a_fault(section, value, place, words):
    found = dict(faults_of(section, value))
    assert words in found[place], found


def test_defaults_are_what_they_mean():
    assert Pool.model_validate(POOL).check_regions is None
    assert Monitor.model_validate({"expected_codes": ""}).expected_codes == ((200, 200),)
    assert LoadBalancer.model_validate(BALANCER).proxied is False


# What Terraform sends for a monitor of any type.
DEFAULTS = {
    "allow_insecure": False,
    "expected_body": "",
    "expected_codes": "",
    "follow_redirects": False,
    "method": "GET",
    "path": "/",
    "port": 0,
    "probe_zone": "",
}


@pytest.mark.parametrize("kind", ["http", "https", "tcp", "udp_icmp", "icmp_ping", "smtp"])
def test_a_monitor_s_setting_at_its_default_asks_for_nothing(kind):
    assert faults_of("monitors", DEFAULTS | {"type": kind}) == []


def test_a_load_balancer_may_be_named_as_cloudflare_names_it():
    pool = {"main": {"origins": [{"name": "a", "address": "192.0.2.1"}]}}

    def load(**app):
        value = {"apps": {"app": {"protocol": "tcp/22", "load_balancer": "lb"} | app}, "pools": pool}
        return load_objects(value | {"load_balancers": {"lb": {"default_pools": ["main"]}}})

    config, faults = load(origin_dns={"name": "lb"}, origin_port=22)
    assert faults == []
    assert config.apps["app"].looked_up is None
    assert [fault.path[2:] for fault in load(origin_dns={"name": "other"})[1]] == [("origin_dns", "name")]
    assert "omit it, or write 22" in load(origin_port=23)[1][0].message
