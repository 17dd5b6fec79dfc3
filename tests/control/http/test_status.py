import time

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.control.http.status import apps_status, balancers_status, names_status, pools_status
from spectrum.control.names.name_watch import NameWatch, Watched
from spectrum.control.records.totals import Totals
from spectrum.core.balancing.outliers import Signs
from spectrum.core.features import compile_snapshot
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.plane.memory import SharedMemory
from tests.control.keepers import Keeper, Origin, until

TEXT = """
apps:
  direct: {protocol: tcp/1, edge_ips: ["::1"], origin_direct: ["tcp://[2001:db8::1]:22"]}
  named: {protocol: tcp/2, origin_dns: {name: x.example}, origin_port: 80}
  range: {protocol: tcp/3-4, origin_direct: ["tcp://192.0.2.1:3-4"]}
  service: {protocol: tcp/5, origin_dns: {name: _s._tcp.example, type: SRV}}
"""


def test_apps():
    totals = Totals()
    measures = AppMeasures(started=2)
    measures.end(1)
    measures.origin("192.0.2.9:22").connected = 2
    totals.add(0, {"direct": measures}, WorkerMeasures())
    snapshot = compile_snapshot(load_text(TEXT, "x"), 1)
    addresses = {"ANY x.example tcp 80-80": ("192.0.2.1",), "SRV _s._tcp.example tcp 0-0": ("10 1 99 2001:db8::1",)}
    direct, named, ranged, service = apps_status(snapshot, totals.view(), addresses, {"ANY x.example tcp 80-80": "why"})
    assert (direct["listens_on"], direct["listeners"], direct["sessions"]) == ("[::1]", 1, 1)
    assert direct["ended"] == {"client_closed": 1}
    assert [(o["address"], o["configured"]) for o in direct["origins"]] == [
        ("[2001:db8::1]:22", True),
        ("192.0.2.9:22", False),
    ]
    assert (named["origin_name"], named["origin_name_failure"]) == ("x.example", "why")
    assert named["origins"][0]["address"] == "192.0.2.1:80"
    assert (ranged["listens_on"], ranged["listeners"], ranged["origins"]) == ("every address", 2, [])
    assert [origin["address"] for origin in service["origins"]] == ["[2001:db8::1]:99"]


def test_names():
    watch = NameWatch(lambda _: None, lambda *_: None)
    for name, result, failure, addresses, answered_at in (
        ("a", "", "", (), None),
        ("b", "ok", "", ("192.0.2.1",), time.monotonic() - 5),
        ("c", "no_answer", "no answer", ("192.0.2.2",), time.monotonic() - 500),
        ("d", "no_name", "no such name", (), None),
    ):
        watch._watched[name, "A"] = Watched(
            name, "A", result=result, failure=failure, addresses=addresses, answered_at=answered_at
        )
    found = names_status(watch)
    assert [one["state"] for one in found] == ["unknown", "answered", "stale", "failed"]
    assert found[2] == {
        "name": "c",
        "type": "A",
        "state": "stale",
        "reason": "no answer",
        "age_s": pytest.approx(500, abs=5),
        "addresses": ["192.0.2.2"],
    }


async def test_pools():
    keeper, up, down = Keeper(), Origin(), Origin()
    down.close()
    keeper.apply(f"""
monitors: {{m: {{type: tcp, interval: 0.1}}}}
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
load_balancers: {{lb: {{default_pools: [r], fallback_pool: q, steering_policy: random}}}}
apps: {{x: {{protocol: tcp/1, load_balancer: lb}}}}
""")
    health, memory = keeper.health, SharedMemory(1, 64)
    await until(lambda: health.fallbacks["lb"] and health.latency_of("p") and health.pool_health.get("p"))
    health.met({keeper.number("p/d"): Signs(connect_failures=9)})
    health._detectors["p"].records[keeper.number("p/d")].ejected_until = time.monotonic() + 30
    health._health[next(iter(health._health))].certificate_expires = time.time() + 86400 * 9
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
    }
    a, b, c, d = pools["p"]["origins"]
    assert [origin["health"] for origin in (a, b, c, d)] == ["healthy", "down", "disabled", "ejected"]
    assert (b["reason"], c["address"], pools["q"]["origins"][0]["health"]) == (
        "connection refused",
        "c.example",
        "not monitored",
    )
    assert d["reason"] == "for 30 s more"
    assert (a["certificate_expires_in_days"], a["sessions"], pools["p"]["monitor"]) == (9.0, 0, "m")
    assert a["rtt_ms"] > 0
    assert pools["t"]["origins"][0]["reason"] == "its name has no address"
    (balancer,) = balancers_status(keeper.snapshot, health)
    assert (balancer["steering_policy"], balancer["fallback_in_use"]) == ("random", True)
