from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from spectrum.control.balancing.health_metrics import health_metrics, read_health
from tests.control.keepers import Keeper, Origin, until


async def samples(health):
    readings = await read_health(health)

    class All(Collector):
        def collect(self):
            return health_metrics(readings)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(All())
    lines = generate_latest(registry).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


async def test_nothing_without_pools():
    assert await samples(Keeper().health) == {}


async def test_what_is_measured():
    keeper, up, down = Keeper(), Origin(), Origin()
    down.close()
    keeper.apply(f"""
monitors: {{m: {{type: tcp, interval: 0.1}}, n: {{type: tcp, interval: 0.1, port: {down.port}}}}}
monitor_groups: {{g: {{members: [{{monitor: m}}, {{monitor: n, monitoring_only: true}}]}}}}
pools:
  p:
    origins:
      - {{name: a, address: 127.0.0.1, port: {up.port}}}
      - {{name: b, address: 127.0.0.1, port: {down.port}}}
    monitor: m
  r: {{origins: [{{name: d, address: 127.0.0.1, port: {up.port}}}], monitor_group: g}}
  q: {{origins: [{{name: c, address: 127.0.0.1, port: {down.port}}}], monitor: m}}
load_balancers: {{lb: {{default_pools: [q], fallback_pool: p}}}}
apps: {{x: {{protocol: tcp/1, load_balancer: lb}}}}
""")
    await until(lambda: keeper.health.latency_of("p") and keeper.health.fallbacks["lb"])
    await until(lambda: keeper.health.pool_health.get("r"))
    keeper.health._health[next(iter(keeper.health._health))].certificate_expires = 4e9
    found = await samples(keeper.health)
    await keeper.health.stop()
    up.close()
    assert found['spectrum_origin_healthy{origin="a",pool="p"}'] == "1.0"
    assert found['spectrum_origin_healthy{origin="b",pool="p"}'] == "0.0"
    assert found['spectrum_origin_monitor_healthy{monitor="m",origin="d",pool="r"}'] == "1.0"
    assert found['spectrum_origin_monitor_healthy{monitor="n",origin="d",pool="r"}'] == "0.0"
    assert not [one for one in found if "monitor_healthy" in one and 'pool="p"' in one]
    assert found['spectrum_pool_healthy{pool="p"}'] == "1.0"
    assert found['spectrum_pool_origins_up{pool="q"}'] == "0.0"
    assert found['spectrum_load_balancer_fallback{load_balancer="lb"}'] == "1.0"
    assert float(found['spectrum_origin_rtt_seconds{origin="a",pool="p"}']) > 0
    assert float(found['spectrum_pool_rtt_seconds{pool="p"}']) > 0
    assert float(found['spectrum_probes_total{monitor="m",result="passed"}']) > 0
    assert float(found['spectrum_probes_total{monitor="m",result="failed"}']) > 0
    assert float(found['spectrum_origin_certificate_not_after_timestamp_seconds{origin="a",pool="p"}']) == 4e9
    assert found['spectrum_origin_ejections_total{origin="a",pool="p"}'] == "0.0"
    assert found['spectrum_origin_health_changes_total{origin="b",pool="p"}'] == "0.0"
