import time
from ipaddress import ip_address

import msgspec
import pytest

from spectrum.control.balancing.explain import explain
from spectrum.core.balancing.clients import client_key
from spectrum.core.balancing.overrides import Override
from spectrum.core.balancing.pools import Standing
from spectrum.core.filter_verdict import FilterVerdict
from spectrum.core.limits.rules import NODE_GROUPS, group_of
from spectrum.plane.memory import SharedMemory
from tests.control.keepers import Keeper
from tests.core.balancing.build import Counts
from tests.plane.access.test_geoip import database

POOLS = """
pools:
  eu:
    origins: [{name: a, address: 192.0.2.1, port: 80, weight: 0.7}, {name: b, address: 192.0.2.2, weight: 0.3}%s]
    minimum_origins: 1
  us: {origins: [{name: c, address: 192.0.2.3}]}
"""


class World:
    def __init__(self, balancer, third="", more="", app="load_balancer: lb"):
        self.keeper = Keeper()
        text = (POOLS % third).replace("minimum_origins: 1", more or "minimum_origins: 1")
        self.keeper.apply(f"{text}\nload_balancers: {{lb: {{{balancer}}}}}\napps: {{x: {{protocol: tcp/81, {app}}}}}")
        self.memory = SharedMemory(1, 64)
        self.memory.close()

    def stand(self, name, usable):
        self.keeper.health.standings[self.keeper.number(name)] = Standing(usable)
        self.keeper.health._look_at(name.split("/")[0], "")

    def explain(self, client="203.0.113.7", snapshot=None, **more):
        return explain(snapshot or self.keeper.snapshot, b"", self.keeper.health, self.memory, "x", client, **more)


@pytest.fixture
async def make():
    made = []

    def build(*arguments, **more):
        made.append(World(*arguments, **more))
        return made[-1]

    yield build
    for world in made:
        await world.keeper.health.stop()


async def test_step_by_step(make):
    steps = make("default_pools: [eu, us]").explain()
    assert steps[:6] == [
        "client 203.0.113.7 of app x (tcp/81): load balancer lb",
        "no session affinity",
        "pool eu is healthy (2 of 2 origins up, 1 needed)",
        "pool us is healthy (1 of 1 origins up, 1 needed)",
        "healthy pools, in this order: eu, us",
        "in pool eu chance decides among a 70%, b 30%",
    ]
    assert steps[6].startswith("it goes to eu/")
    assert steps[6].endswith("if it came now; another draw may differ")
    assert steps[7] == "where that cannot be reached, another one follows"


async def test_health_and_fallback(make):
    world = make("default_pools: [eu], fallback_pool: us", third=", {name: d, address: 192.0.2.4, enabled: false}")
    world.stand("eu/a", False)
    world.keeper.health.members[world.keeper.number("eu/a")].reason = "connection refused"
    steps = world.explain()
    assert steps[2] == "pool eu is healthy (1 of 3 origins up, 1 needed); not used: a: connection refused, d: disabled"
    assert steps[-1] == "it goes to eu/b (192.0.2.2)"
    world.stand("eu/b", False)
    steps = world.explain()
    assert "no pool is healthy: fallback pool us serves, its health ignored" in steps
    assert steps[-1] == "it goes to us/c (192.0.2.3)"


async def test_affinity(make):
    world = make("default_pools: [eu], session_affinity: ip")
    steps = world.explain()
    assert steps[1] == "session affinity by address: nothing is stored for it"
    assert "in pool eu its address decides among a 70%, b 30%" in steps
    first = next(step for step in steps if step.startswith("it goes to"))
    assert "another draw" not in first
    other = "b" if "eu/a" in first else "a"
    origin = world.keeper.health.members[world.keeper.number(f"eu/{other}")].settings
    key = client_key(b"lb", ip_address("203.0.113.7").packed)
    world.memory.affinities.remember(key, origin.tag, int(time.monotonic()))
    steps = world.explain()
    assert steps[1] == f"session affinity by address: it went to eu/{other} before"
    assert any(step.startswith(f"it goes to eu/{other} again (192.0.2.") for step in steps)


@pytest.mark.parametrize(
    ("balancer", "more", "expected"),
    [
        ("default_pools: [eu, us], steering_policy: random", "", "healthy pools, drawn by weight: eu, us"),
        (
            "default_pools: [eu, us], steering_policy: dynamic_latency",
            "",
            "healthy pools, by the latency of their probes: eu, us",
        ),
        (
            "default_pools: [eu], steering_policy: least_connections",
            "",
            "healthy pools, the one with fewer open sessions for its weight, of two that are drawn: eu",
        ),
        ("default_pools: [eu]", "origin_steering: {policy: hash}", "in pool eu its address decides among a 70%, b 30%"),
        (
            "default_pools: [eu]",
            "origin_steering: {policy: least_connections}",
            "in pool eu the less loaded of two: a 0 open, b 0 open",
        ),
        (
            "default_pools: [eu]",
            "origin_steering: {policy: least_outstanding_requests}",
            "in pool eu the less loaded of two: a 0 waiting, b 0 waiting",
        ),
        (
            "default_pools: [eu]",
            "load_shedding: {default_percent: 20}",
            "pool eu is healthy (2 of 2 origins up, 1 needed, sheds 20 % by chance)",
        ),
        ("default_pools: [eu]", "enabled: false", "pool eu is disabled (2 of 2 origins up, 1 needed)"),
        ("default_pools: [eu], enabled: false", "", "the load balancer is disabled: the client is refused"),
        ("default_pools: [eu], fallback_pool: eu", "enabled: false", "there is no origin: the client is refused"),
    ],
)
async def test_policies(make, balancer, more, expected):
    assert expected in make(balancer, more=more).explain()


async def test_shedding_by_hash(make):
    world = make(
        "default_pools: [eu]", more="load_shedding: {default_percent: 50, default_policy: hash, session_percent: 5}"
    )
    steps = [world.explain(f"203.0.113.{n}") for n in range(20)]
    pools = [next(step for step in each if step.startswith("pool eu")) for each in steps]
    assert any("% and stays" in pool for pool in pools)
    assert any("% and is shed" in pool for pool in pools)
    assert all("sheds 5 % of those with affinity" in pool for pool in pools)


async def test_countries(make, tmp_path):
    world = make("default_pools: [eu], country_pools: {JP: [us]}")
    assert world.explain()[1] == "its country is not known, without own pools"
    path = database(tmp_path / "x.mmdb", [(["203.0.113.0/24"], {"country": "JP"})])
    snapshot = type(world.keeper.snapshot)(
        **{f: getattr(world.keeper.snapshot, f) for f in world.keeper.snapshot.__struct_fields__} | {"geoip": str(path)}
    )
    steps = world.explain(snapshot=snapshot)
    assert steps[1] == "it comes from JP, which has pools of its own"
    assert steps[-1] == "it goes to us/c (192.0.2.3)"
    path.unlink()
    assert world.explain(snapshot=snapshot)[1] == "its country is not known, without own pools"


async def test_other_apps(make):
    world = make("default_pools: [eu]", app="origin_direct: ['tcp://192.0.2.9:22']")
    assert world.explain() == [
        "client 203.0.113.7 of app x (tcp/81): no load balancer",
        "its origins are taken in turn: 192.0.2.9 port 22",
    ]
    named = make("default_pools: [eu]", app="origin_dns: {name: x.example}, origin_port: 22")
    assert named.explain()[1] == "its origins are taken in turn: the addresses of x.example"


async def test_questions_that_cannot_be_answered(make):
    world = make("default_pools: [eu]")
    with pytest.raises(ValueError, match="no app 'y'; known here: x"):
        explain(world.keeper.snapshot, b"", world.keeper.health, world.memory, "y", "203.0.113.7")
    with pytest.raises(ValueError, match="'nobody' is not an IP address"):
        world.explain("nobody")


async def test_what_operators_set_is_reported(make):
    world = make("default_pools: [eu, us]", third=", {name: d, address: 192.0.2.4}")
    world.keeper.health.override(
        {("eu", "a"): Override(0.0, 7, "drain"), ("eu", "b"): Override(0.0, 8, "", 0.5), ("x", "y"): Override(0.0, 9)}
    )
    step = world.explain()[2]
    assert "b: weight 0.5 by hand since 1970-01-01T00:00:00+00:00, by uid 8" in step
    assert step.endswith("; not used: a: drained by hand since 1970-01-01T00:00:00+00:00, by uid 7")


CLIENT = ip_address("203.0.113.7").packed


@pytest.mark.parametrize(
    ("limits", "open_here", "others", "steps"),
    [
        ("client: {sessions: 2}", 1, 5, ["limit of the app, client_sessions 2: 1 open"]),
        (
            "client: {sessions: 2}",
            2,
            0,
            ["limit of the app, client_sessions 2: 2 open", "the client is refused (client_limit)"],
        ),
        ("sessions: 4", 1, 3, ["limit of the app, sessions 4: 4 open", "the client is refused (app_limit)"]),
        ("new_per_second: 100", 0, 0, ["limit of the app, new_per_second 100: it is within the rate"]),
    ],
)
async def test_limits(make, limits, open_here, others, steps):
    world = make("default_pools: [eu, us]", app=f"load_balancer: lb, limits: {{{limits}}}")
    group = group_of("x", "tcp")
    for client, count in ((CLIENT, open_here), (ip_address("198.51.100.1").packed, others)):
        world.memory.census.add(NODE_GROUPS["tcp"], group, client, count)
    told = world.explain()
    assert told[1 : 1 + len(steps)] == steps
    assert len(told) > len(steps) + 1 or "refused" in told[-1]


async def test_a_client_that_comes_too_fast(make):
    world = make("default_pools: [eu, us]", app="load_balancer: lb, limits: {new_per_second: 1}")
    now = time.monotonic_ns()
    while not world.memory.rates.wait_ns(group_of("x", "tcp"), 1, now):
        world.memory.rates.charge(group_of("x", "tcp"), 1, now)
    assert world.explain()[1:] == [
        "limit of the app, new_per_second 1: its turn would come later",
        "the client is refused (app_rate)",
    ]


async def test_a_paused_app(make):
    world = make("default_pools: [eu, us]")
    (app,) = world.keeper.snapshot.apps
    snapshot = msgspec.structs.replace(world.keeper.snapshot, apps=(msgspec.structs.replace(app, paused=True),))
    assert world.explain(snapshot=snapshot)[1:] == ["the app is paused by hand: the client is refused (app_paused)"]


async def test_origins_that_are_full(make):
    world = make("default_pools: [eu]", ", {name: d, address: 192.0.2.4, max_sessions: 2}")
    world.memory.loads = Counts({world.keeper.number("eu/d"): 2})
    assert "eu/d is full (max_sessions 2) and passed over" in world.explain()
    pool = "minimum_origins: 1\n  q: {origins: [{name: e, address: 192.0.2.5, max_sessions: 1}]}"
    for queue, end in (("", "it waits up to 5 s in a queue"), (", queue: {size: 0}", "it is refused")):
        world = make(f"default_pools: [q]{queue}", more=pool)
        world.memory.loads = Counts({world.keeper.number("q/e"): 1})
        assert world.explain()[-2:] == [
            "q/e is full (max_sessions 1) and passed over",
            f"every origin that it could go to is full: {end}",
        ]


async def test_what_the_filter_does_comes_first(make):
    world = make("default_pools: [eu, us]")
    assert world.explain(filtered=FilterVerdict(False, ["filter: a rate"]))[1] == "filter: a rate"
    assert world.explain(filtered=FilterVerdict(True, ["filter: list drop has it"])) == [
        "client 203.0.113.7 of app x (tcp/81)",
        "filter: list drop has it",
        "the client gets no answer, and nothing is recorded of it",
    ]


async def test_origins_of_an_app_that_are_full(make):
    two = "origin_direct: ['tcp://192.0.2.8:22', 'tcp://192.0.2.9:22'], origin_max_sessions: 2"
    world = make("default_pools: [eu]", app=two)
    one, other = world.keeper.snapshot.origin_places["x"]
    world.memory.loads = Counts({one: 2})
    full = "192.0.2.8 port 22 is full (origin_max_sessions 2) and passed over"
    assert world.explain()[2:] == [full]
    world.memory.loads = Counts({one: 2, other: 2})
    assert world.explain()[2:] == [
        full,
        "192.0.2.9 port 22 is full (origin_max_sessions 2) and passed over",
        "every origin that it could go to is full: it waits up to 5 s in a queue",
    ]


async def test_members_of_a_group_that_fail_are_named(make):
    world = make("default_pools: [eu]")
    world.keeper.apply("""
monitors: {m: {type: tcp, port: 9}, n: {type: tcp, port: 8}}
monitor_groups: {g: {members: [{monitor: m, must_be_healthy: true}, {monitor: n, monitoring_only: true}]}}
pools:
  eu:
    origins: [{name: a, address: 127.0.0.1, port: 82}, {name: b, address: 127.0.0.2, port: 82}]
    monitor_group: g
load_balancers: {lb: {default_pools: [eu]}}
apps: {x: {protocol: tcp/81, load_balancer: lb}}""")
    health = world.keeper.health
    for key, found in health._health.items():
        found.healthy = (key.monitor == "m") is (key.address == "127.0.0.1")
        found.reason = "" if found.healthy else "refused"
    for name in ("eu/a", "eu/b"):
        health._judge(world.keeper.number(name), "")
    health._look_at("eu", "")
    assert (
        "pool eu is healthy (1 of 2 origins up, 1 needed, a: n fails (refused), which is monitoring_only); "
        "not used: b: m: refused"
    ) in world.explain()
