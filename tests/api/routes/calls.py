"""Calls of the API as tests write them, in the account acme with the zone example.com."""

from typing import Any

import httpx

from spectrum.store.objects import file_id

ACCOUNT = f"/accounts/{file_id('accounts', 'acme')}"
ZONE = f"/zones/{file_id('zones', 'example.com')}"
OTHER_ACCOUNT = f"/accounts/{file_id('accounts', 'other')}"
OTHER_ZONE = f"/zones/{file_id('zones', 'example.net')}"
MONITORS = f"{ACCOUNT}/load_balancers/monitors"
POOLS = f"{ACCOUNT}/load_balancers/pools"
GROUPS = f"{ACCOUNT}/load_balancers/monitor_groups"
BALANCERS = f"{ZONE}/load_balancers"
APPS = f"{ZONE}/spectrum/apps"
LISTS = f"{ACCOUNT}/rules/lists"
RULES = "/firewall/access_rules/rules"
POOL = {"name": "eu", "origins": [{"name": "a", "address": "192.0.2.1"}]}


def app(name: str = "a.example.com", port: int = 22, **more: Any) -> dict[str, Any]:
    """Return the body of an app."""
    return {
        "protocol": f"tcp/{port}",
        "dns": {"type": "CNAME", "name": name},
        "origin_direct": ["tcp://192.0.2.1:22"],
    } | more


async def done(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    """Return the result of a call that succeeds."""
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def refused(
    client: httpx.AsyncClient, method: str, path: str, body: Any = None
) -> tuple[int, int, str, str | None]:
    """Return status, code, message and pointer of a call that fails."""
    answer = await client.request(method, path, json=body)
    told = answer.json()
    assert (told["success"], told["result"]) == (False, None), told
    error = told["errors"][0]
    return answer.status_code, error["code"], error["message"], error.get("source", {}).get("pointer")


async def balancing(client: httpx.AsyncClient) -> tuple[str, str, str]:
    """Make a monitor, a pool with it and a load balancer with that; return their ids."""
    monitor = (await done(client, "POST", MONITORS, {"type": "tcp", "port": 22}))["id"]
    pool = (await done(client, "POST", POOLS, POOL | {"monitor": monitor}))["id"]
    body = {"name": "lb.example.com", "default_pools": [pool], "fallback_pool": pool}
    return monitor, pool, (await done(client, "POST", BALANCERS, body))["id"]
