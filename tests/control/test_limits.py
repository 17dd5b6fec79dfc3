import time

from spectrum.control.configuration.served import Served
from spectrum.control.limits import LimitsActor
from spectrum.control.usage import Usage
from spectrum.core.limits.rules import NODE_GROUPS, group_of
from spectrum.plane.memory import SharedMemory
from tests.control.plans import change

PLAIN = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}"
BUSY = """
limits: {sessions: 100, flows: 200, memory: 1MiB}
max_flows: 50
max_affinities: 4096
pools: {p: {origins: [{name: o, address: 192.0.2.1, port: 1, max_sessions: 30}]}}
load_balancers: {b: {default_pools: [p], session_affinity: ip}}
apps:
  web: {protocol: tcp/80, load_balancer: b, limits: {sessions: 10}}
  dns: {protocol: udp/53, origin_direct: ['udp://192.0.2.1:53'], limits: {flows: 20}, origin_max_sessions: 40}
"""
CLIENT = bytes((192, 0, 2, 9))


async def used(text, memory):
    served = Served(change(text, text).after.config)
    served.plan = change(text, text).after
    return list(await LimitsActor(served, memory, lambda: 7).usage())


async def test_only_limited_resources_are_reported():
    memory = SharedMemory(2, 100)
    assert await used(PLAIN, memory) == [Usage("memory", "node", 7, 512 * 2**20, "limits.memory")]
    memory.close()


async def test_what_workers_count():
    memory = SharedMemory(2, 4096, max_flows=50)
    for _ in range(3):
        memory.census.add(NODE_GROUPS["tcp"], group_of("web", "tcp"), CLIENT, 1)
    memory.census.add(NODE_GROUPS["udp"], group_of("dns", "udp"), CLIENT, 1)
    for key in range(2048):
        memory.affinities.remember(key * 0x9E3779B97F4A7C15 % 2**64, 7, time.monotonic_ns() // 1_000_000_000)
    found = {(one.limit, one.of): (one.used, one.maximum, one.setting) for one in await used(BUSY, memory)}
    affinities = found.pop(("affinities", "node"))
    assert 1900 < affinities[0] <= 2048 and affinities[1:] == (4096, "max_affinities")
    assert found == {
        ("memory", "node"): (7, 2**20, "limits.memory"),
        ("sessions", "node"): (3, 100, "limits.sessions"),
        ("flows", "node"): (1, 200, "limits.flows"),
        ("flows", "worker-0"): (1, 50, "max_flows"),
        ("flows", "worker-1"): (0, 50, "max_flows"),
        ("sessions", "web"): (3, 10, "apps.web.limits.sessions"),
        ("flows", "dns"): (1, 20, "apps.dns.limits.flows"),
        ("origin_sessions", "p/o"): (0, 30, "max_sessions of o in pools.p"),
        ("origin_sessions", "dns"): (0, 40, "apps.dns.origin_max_sessions"),
    }
    memory.close()
