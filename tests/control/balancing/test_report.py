import time

from spectrum.control.balancing.report import balancers_status, balancing_troubles, pools_status
from spectrum.core.balancing.outliers import OriginOutcomes
from spectrum.plane.memory import SharedMemory
from tests.control.keepers import Keeper, Origin, until


async def test_pools():
    keeper, up, down = Keeper(), Origin(), Origin()
    down.close()
    keeper.apply(f"""
monitors: {{m: {{type: tcp, interval: 0.1}}, n: {{type: tcp, interval: 0.1, port: {down.port}}}}}
pools:
  p:
    origins:
      - {{name: a, address: 127.0.0.1, port: {up.port}}}
      - {{name: b, address: 127.0.0.1, port: {down.port}}}
      - {{name: c, address: c.example, port: 9, enabled: false}}
      - {{name: d, address: 127.0.0.1, port: {up.port}, weight: 0.5}}
    monitor: m
  q: {{origins: [{{name: e, address: 203.0.113.1}}]}}
  r: {{origins: [{{name: f, address: 127.0.0.1, port: {down.port}}}], monitor: m}}
  s: {{origins: [{{name: g, address: 203.0.113.1}}], enabled: false}}
  t: {{origins: [{{name: h, address: t.example, port: 9}}], monitor: m}}
  u: {{origins: [{{name: i, address: 127.0.0.1, port: {up.port}}}], monitor_group: g}}
monitor_groups: {{g: {{members: [{{monitor: m, must_be_healthy: true}}, {{monitor: n, monitoring_only: true}}]}}}}
load_balancers: {{lb: {{default_pools: [r], fallback_pool: q, steering_policy: random}}}}
apps: {{x: {{protocol: tcp/1, load_balancer: lb}}}}
""")
    health, memory = keeper.health, SharedMemory(1, 64)
    await until(lambda: health.fallbacks["lb"] and health.latency_of("p") and health.pool_health.get("p"))
    await until(lambda: health.pool_health.get("u") and health.probes["n", False])
    health.count_outcomes({keeper.number("p/d"): OriginOutcomes(connect_failures=9)})
    health._detectors["p"].records[keeper.number("p/d")].ejected_until = time.monotonic() + 30
    health._health[next(iter(health._health))].certificate_expires = time.time() + 86400 * 9
    troubles = {
        (one.kind, one.name, one.facts.get("origin", "")): one for one in balancing_troubles(keeper.snapshot, health)
    }
    pools = {pool["name"]: pool for pool in pools_status(keeper.snapshot, keeper.config, health, memory.loads)}
    await health.stop()
    memory.close()
    up.close()
    assert {name: pool["health"] for name, pool in pools.items()} == {
        "p": "degraded",
        "q": "healthy",
        "r": "critical",
        "s": "disabled",
        "t": "critical",
        "u": "healthy",
    }
    a, b, c, d = pools["p"]["origins"]
    assert [origin["health"] for origin in (a, b, c, d)] == ["healthy", "down", "disabled", "ejected"]
    assert (b["reason"], c["address"], pools["q"]["origins"][0]["health"]) == (
        "connection refused",
        "c.example",
        "not monitored",
    )
    assert d["reason"] == "for 30 s more"
    assert set(a["probes"]) == {"1"}
    assert set(b["probes"]) == {"0"}
    assert (c["probes"], pools["q"]["origins"][0]["probes"]) == ("", "")
    assert {key: one.severity for key, one in troubles.items()} == {
        ("origin_down", "p", "b"): "failed",
        ("origin_ejected", "p", "d"): "degraded",
        ("pool_down", "r", ""): "failed",
        ("pool_down", "t", ""): "failed",
        ("on_fallback", "lb", ""): "degraded",
    }
    lost, poor = troubles["origin_down", "p", "b"], troubles["pool_down", "r", ""]
    assert (lost.facts["why"], lost.facts["port"], lost.facts["up"], lost.facts["of"]) == (
        "connection refused",
        down.port,
        2,
        3,
    )
    assert poor.facts["origins"] == [{"name": "f", "why": "connection refused"}] and poor.facts["up"] == 0
    assert poor.apps == ("x",) and poor.since > time.time() - 60 and not lost.apps
    assert troubles["on_fallback", "lb", ""].facts == {"pool": "q", "serves": True, "pools": ["r"]}
    assert (a["certificate_expires_in_days"], a["sessions"], pools["p"]["monitor"]) == (9.0, 0, "m")
    assert a["rtt_ms"] > 0
    assert a["response_code"] is None  # TCP has none
    assert pools["t"]["origins"][0]["reason"] == "its name has no address"
    assert (pools["u"]["monitor"], pools["u"]["monitor_group"], a["monitors"]) == (None, "g", [])
    m, n = pools["u"]["origins"][0]["monitors"]
    assert m.pop("rtt_ms") > 0
    assert m == {"monitor": "m", "counts": "must_be_healthy", "health": "healthy", "reason": None}
    assert n == {
        "monitor": "n",
        "counts": "monitoring_only",
        "health": "down",
        "reason": "connection refused",
        "rtt_ms": None,
    }
    (balancer,) = balancers_status(keeper.snapshot, health)
    assert (balancer["steering_policy"], balancer["fallback_in_use"]) == ("random", True)
