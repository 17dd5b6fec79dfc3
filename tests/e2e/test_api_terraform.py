"""What Terraform's provider sends, played: plan, apply, an empty second plan, import, change, destroy."""

import pytest

from tests.e2e import terraform
from tests.e2e.daemon import Daemon
from tests.e2e.operator_tools import local_api
from tests.e2e.terraform import Resource


@pytest.fixture
def api(tmp_path, free_port):
    """The API of a daemon with a zone and one app."""
    text = (
        f"zones: {{example.com: {{}}}}\napi: {{listen: 127.0.0.1:{free_port()}, user: nobody}}\n"
        f"apps: {{base: {{protocol: tcp/{free_port()}, ip_firewall: true, origin_direct: ['tcp://192.0.2.1:7']}}}}"
    )
    with Daemon(tmp_path, text) as daemon:
        api = local_api(daemon)
        yield api
        api.close()


def play(resource, *configs):
    """Create a resource as in the first configuration, and change it to each other one."""
    for config in configs:
        assert resource.plan(config)
        resource.apply(config)
        assert resource.plan(config) == []
        assert resource.imported().plan(config) == []
    return resource


def test_a_configuration_is_applied_once(api, free_port):
    (account,), (zone,) = api.result("GET", "/accounts"), api.result("GET", "/zones?name=example.com")
    account, zone = f"/accounts/{account['id']}", f"/zones/{zone['id']}"
    balancing = f"{account}/load_balancers"

    monitor = play(
        Resource(api.call, f"{balancing}/monitors", terraform.MONITOR),
        {"type": "tcp", "port": 22, "description": "ssh"},
        {"type": "tcp", "port": 2222, "interval": 90, "timeout": 3, "method": "connection_established"},
        {"type": "https", "expected_codes": "2xx", "path": "/health", "header": {"Host": ["a.example"]}, "retries": 0},
        {"type": "icmp_ping", "consecutive_up": 2},
        {"type": "tcp", "port": 22},
    )
    origin = {"name": "one", "address": "192.0.2.1"}
    pool = play(
        Resource(api.call, f"{balancing}/pools", terraform.POOL),
        {"name": "main", "origins": [origin]},
        {
            "name": "main",
            "origins": [
                {"name": "z", "address": "192.0.2.9", "weight": 0.5, "enabled": False},
                origin | {"header": {"Host": ["a.example"]}},
            ],
            "monitor": monitor.id,
            "check_regions": ["WEU", "ENAM"],
            "description": "two",
            "latitude": 52,
            "longitude": 13.5,
            "minimum_origins": 1,
            "origin_steering": {"policy": "hash"},
            "notification_filter": {"pool": {"disable": True, "healthy": None}},
        },
        {"name": "renamed", "origins": [origin], "enabled": False},
        {"name": "main", "origins": [origin], "monitor": monitor.id},
    )
    balancer = play(
        Resource(api.call, f"{zone}/load_balancers", terraform.LOAD_BALANCER),
        {"name": "lb.example.com", "default_pools": [pool.id], "fallback_pool": pool.id},
        {
            "name": "lb.example.com",
            "default_pools": [pool.id],
            "fallback_pool": pool.id,
            "description": "by place",
            "steering_policy": "geo",
            "country_pools": {"DE": [pool.id]},
            "region_pools": {"WEU": [pool.id]},
            "pop_pools": {"FRA": [pool.id]},
            "session_affinity": "ip_cookie",
            "session_affinity_ttl": 3600,
            "session_affinity_attributes": {"drain_duration": 60, "zero_downtime_failover": "sticky"},
            "random_steering": {"default_weight": 0.3, "pool_weights": {pool.id: 0.7}},
            "adaptive_routing": {"failover_across_pools": True},
            "location_strategy": {"mode": "resolver_ip", "prefer_ecs": "never"},
            "proxied": True,
            "networks": ["cloudflare"],
        },
        {"name": "lb.example.com", "default_pools": [pool.id], "fallback_pool": pool.id, "ttl": 30},
    )
    port = free_port()
    dns = {"type": "CNAME", "name": "ssh.example.com"}
    app = play(
        Resource(api.call, f"{zone}/spectrum/apps", terraform.APP),
        {"protocol": f"tcp/{port}", "dns": dns, "origin_direct": ["tcp://128.66.0.4:23"], "origin_port": 22},
        {
            "protocol": f"tcp/{port}",
            "dns": dns,
            "origin_dns": {"name": "o.invalid", "ttl": 1200, "type": "A"},
            "origin_port": 22,
            "ip_firewall": True,
            "proxy_protocol": "v2",
            "edge_ips": {"type": "dynamic", "connectivity": "ipv4"},
        },
        {"protocol": f"tcp/{port}", "dns": dns, "origin_dns": {"name": "o.invalid"}, "origin_port": "22"},
        {
            "protocol": f"tcp/{port}",
            "dns": dns,
            "origin_dns": {"name": "lb.example.com", "ttl": 600},
            "origin_port": port,
        },
    )
    static = play(
        Resource(api.call, f"{zone}/spectrum/apps", terraform.APP),
        {
            "protocol": f"tcp/{port + 1 if port < 65535 else 1024}",
            "dns": {"type": "ADDRESS", "name": "static.example.com"},
            "origin_direct": ["tcp://128.66.0.4:23"],
            "edge_ips": {"type": "static", "ips": ["127.0.0.7"]},
        },
    )
    rules = [
        play(
            Resource(api.call, f"{where}/firewall/access_rules/rules", terraform.ACCESS_RULE, "PATCH"),
            {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.1"}},
            {"mode": "whitelist", "configuration": {"target": "ip_range", "value": "192.0.2.0/24"}, "notes": "a & b"},
        )
        for where in (account, zone)
    ]
    addresses = play(
        Resource(api.call, f"{account}/rules/lists", terraform.LIST),
        {"kind": "ip", "name": "banned"},
        {"kind": "ip", "name": "banned", "description": "who attacks"},
    )
    items(api, f"{account}/rules/lists", addresses.id)

    overrides = play(Resource(api.call, f"{account}/rulesets", terraform.RULESET), *rulesets())
    # What refers to another resource goes before it, as Terraform has it.
    for resource in (*rules, addresses, overrides, app, static, balancer, pool, monitor):
        resource.destroy()


def rulesets():
    """Yield entry points as Cloudflare's documentation has them, and more."""
    entry = {"name": "Network-layer DDoS Attack Protection entry point ruleset", "kind": "root", "phase": "ddos_l4"}
    managed, flood = "3b64149bfa6e4220bbbc2bd6db589552", "599dab0942ff4898ac1b7797e954e98b"

    def rule(overrides, **more):
        return {
            "action": "execute",
            "expression": "true",
            "action_parameters": {"id": managed, "overrides": overrides},
        } | more

    low = rule({"rules": [{"id": flood, "sensitivity_level": "low"}]}, expression="ip.dst in { 192.0.2.0/24 }")
    yield entry | {"description": "", "rules": [low | {"description": "Override", "enabled": True}]}
    yield entry | {
        "description": "more",
        "rules": [
            rule(
                {"sensitivity_level": "medium", "action": "log", "categories": [{"category": "dns", "action": "block"}]}
            ),
            low | {"enabled": False, "ref": "flood"},
        ],
    }
    yield entry | {"name": "default", "rules": [low]}


def items(api, path, list_id):
    """Play `cloudflare_list` with items, and `cloudflare_list_item`: what they do is not of the usual form."""
    put = api.result(
        "PUT", f"{path}/{list_id}/items", [{"ip": "10.0.0.0/8"}, {"ip": "2001:db8::/48", "comment": "six"}]
    )
    assert api.result("GET", f"{path}/bulk_operations/{put['operation_id']}")["status"] == "completed"
    added = api.result("POST", f"{path}/{list_id}/items", [{"ip": "192.0.2.7", "comment": "one"}])
    assert api.result("GET", f"{path}/bulk_operations/{added['operation_id']}")["completed"]
    (found,) = api.result("GET", f"{path}/{list_id}/items?search=192.0.2.7")
    assert api.result("GET", f"{path}/{list_id}/items/{found['id']}") == found
    seen, cursor = [], ""
    while True:
        status, page = api.call("GET", f"{path}/{list_id}/items?per_page=2&cursor={cursor}")
        assert status == 200
        seen += [item["ip"] for item in page["result"]]
        if not (cursor := page["result_info"]["cursors"].get("after")):
            break
    assert seen == ["10.0.0.0/8", "2001:db8::/48", "192.0.2.7"]
    api.result("DELETE", f"{path}/{list_id}/items", {"items": [{"id": found["id"]}]})
    assert api.result("GET", f"{path}/{list_id}")["num_items"] == 2
    assert api.result("PUT", f"{path}/{list_id}/items", [])["operation_id"]
