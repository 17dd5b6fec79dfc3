import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.balancing.pools import Standing
from spectrum.core.difference import difference
from spectrum.plane.balancing.balancers import Balancers
from spectrum.plane.memory import SharedMemory
from tests.core.balancing.build import origins
from tests.plane.parts import Parts
from tests.properties import examples

UP, DOWN = Standing(True), Standing(False)


class World(Parts):
    def __init__(self, balancer="default_pools: [a, b]", **pools):
        super().__init__()
        self.apply(balancer, **pools)

    def apply(self, balancer="default_pools: [a, b]", **pools):
        pools = pools or {"a": f"origins: {origins(x=1, y=1)}", "b": f"origins: {origins(z=1)}"}
        listed = ", ".join(f"{name}: {{{body}}}" for name, body in pools.items())
        balancers = f"load_balancers: {{lb: {{{balancer}}}}}\napps: {{x: {{protocol: udp/1, load_balancer: lb}}}}"
        self.snapshot = self.compile(f"pools: {{{listed}}}\n{balancers}")
        return self.balancers.apply(self.snapshot)

    def number(self, name):
        pool, origin = name.split("/")
        return next(o.number for p in self.snapshot.pools if p.name == pool for o in p.origins if o.name == origin)

    def choose(self, client=b"\x7f\0\0\1", port=5):
        choice = self.balancers["lb"].choose(client, port)
        return self.name(choice.origin)

    def name(self, origin):
        return origin and next(
            f"{p.name}/{o.name}" for p in self.snapshot.pools for o in p.origins if o.number == origin.number
        )

    def stand(self, **standings):
        return {
            self.name(self.balancers.origins[n])
            for n in self.balancers.take_standings({self.number(k.replace("_", "/")): v for k, v in standings.items()})
        }


def clients(count):
    return [n.to_bytes(4, "big") for n in range(count)]


def test_health_moves_clients():
    world = World()
    assert {world.choose() for _ in range(50)} == {"a/x", "a/y"}
    assert world.stand(a_x=DOWN) == {"a/x"}
    assert world.stand(a_x=DOWN) == set()
    assert {world.choose() for _ in range(50)} == {"a/y"}
    assert world.stand(a_y=DOWN, b_z=DOWN) == {"a/y", "b/z"}
    assert world.choose() == "b/z"  # the fallback, whatever its health
    world.stand(a_x=UP)
    assert world.choose() == "a/x"


def _shown(balancers):
    """What a worker knows of its load balancers."""
    return {
        "pools": balancers._pools,
        "of": balancers._pool_of,
        "origins": balancers.origins,
        "users": {pool: set(names) for pool, names in balancers._users.items()},
        "serving": balancers._serving,
        "draining": balancers._draining.keys(),
        "standings": balancers._standings,
        "usable": {name: (view.settings, view.usable, view.healthy) for name, view in balancers._views.items()},
        "running": {
            name: (one.core.settings, {pool: view.usable for pool, view in one.core.views.items()})
            for name, one in balancers._running.items()
        },
    }


@st.composite
def _steps(draw):
    """Pools and load balancers, and what is known of the health of origins, one after the other."""
    steps = []
    for _ in range(draw(st.integers(2, 5))):
        pools = {}
        for name in draw(st.permutations("abc"))[: draw(st.integers(1, 3))]:
            weights = {
                one: draw(st.sampled_from([0.5, 1])) for one in draw(st.permutations("xy"))[: draw(st.integers(1, 2))]
            }
            pools[name] = f"origins: {origins(**weights)}, enabled: {draw(st.sampled_from(['true', 'true', 'false']))}"
        drain = draw(st.sampled_from(["", ", session_affinity_attributes: {drain_duration: 60}"]))
        used = draw(st.lists(st.sampled_from(list(pools)), min_size=1, max_size=2, unique=True))
        balancers = [f"{name}: {{default_pools: [{', '.join(used)}]{drain}}}" for name in draw(st.permutations("lm"))]
        text = f"pools: {{{', '.join(f'{name}: {{{body}}}' for name, body in pools.items())}}}\n"
        text += f"load_balancers: {{{', '.join(balancers[: draw(st.integers(1, 2))])}}}\n"
        steps.append((text, draw(st.lists(st.booleans(), min_size=2, max_size=2))))
    return steps


@examples(60)
@given(_steps())
def test_differences_lead_where_the_whole_does(steps):
    parts, memory = Parts(), SharedMemory(1, 64)
    one, two = parts.balancers, Balancers(memory.loads, memory.affinities)
    memory.close()
    before = None
    for text, stands in steps:
        after = parts.compile(text + "apps: {x: {protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1']}}")
        stopped = one.apply(after)
        if before is None:
            assert two.apply(after) == stopped
        else:
            found, concerned = two.change(difference(before, after))
            assert found == stopped
            assert set(concerned) <= {settings.name for settings in after.balancers}
        numbers = [origin.number for pool in after.pools for origin in pool.origins]
        standings = {number: Standing(stand) for number, stand in zip(numbers, stands, strict=False)}
        assert one.take_standings(standings) == two.take_standings(standings)
        assert _shown(one) == _shown(two)
        before = after


def test_health_of_a_snapshot_to_come():
    parts = World()
    number = parts.number("a/x")
    fresh = World()
    fresh.balancers.take_standings({number: DOWN})
    fresh.apply()
    assert {fresh.choose() for _ in range(50)} == {"a/y"}


@pytest.mark.parametrize(("affinity", "homes"), [("ip", 1), ("ip_port", 2), ("none", 2)])
def test_affinity(affinity, homes):
    world = World(f"default_pools: [a], session_affinity: {affinity}")
    assert len({world.choose(port=port) for port in range(50)}) == homes
    assert len({world.choose(client) for client in clients(50)}) == 2


def test_affinity_survives_a_reload_that_would_move_the_client():
    many = {"a": f"origins: {origins(p=1, q=1, r=1, s=1, t=1)}"}
    world = World("default_pools: [a], session_affinity: ip", **many)
    before = {client: world.choose(client) for client in clients(40)}
    world.apply("default_pools: [a], session_affinity: ip", a=f"origins: {origins(p=1, q=1, r=1, s=1, t=1, u=1, v=1)}")
    assert {client: world.choose(client) for client in before} == before
    others = Counter(world.choose(client) for client in clients(400)[40:])
    assert others["a/u"] > 0


@pytest.mark.parametrize(("failover", "after"), [("temporary", "first"), ("sticky", "other")])
def test_affinity_to_an_origin_that_goes_and_comes_back(failover, after):
    attributes = f"session_affinity_attributes: {{zero_downtime_failover: {failover}}}"
    world = World(f"default_pools: [a], session_affinity: ip, {attributes}")
    first = world.choose()
    world.stand(**{first.replace("/", "_"): DOWN})
    other = world.choose()
    assert other != first
    world.stand(**{first.replace("/", "_"): UP})
    assert world.choose() == {"first": first, "other": other}[after]


@pytest.mark.parametrize(
    ("failover", "moved", "stays"), [("none", False, True), ("temporary", True, True), ("sticky", True, False)]
)
def test_a_failed_connect(failover, moved, stays):
    attributes = f"session_affinity_attributes: {{zero_downtime_failover: {failover}}}"
    world = World(f"default_pools: [a], session_affinity: ip, {attributes}")
    first = world.choose()
    tried = world.balancers.origins[world.number(first)]
    following = world.balancers["lb"].after([tried], b"\x7f\0\0\1", 5)
    assert (following is not None) is moved
    assert (world.choose() == first) is stays


def test_affinities_end():
    world = World("default_pools: [a], session_affinity: ip, session_affinity_ttl: 1")
    memory = world.memory.affinities
    first = world.choose()
    key = world.balancers["lb"]._key(b"\x7f\0\0\1", 5)
    tag = world.balancers.origins[world.number(first)].tag
    now = int(time.monotonic())
    assert memory.find(key, now, 1800) == tag
    assert memory.find(key, now + 2, 1) == 0


def test_latency_decides():
    world = World("default_pools: [a, b], steering_policy: dynamic_latency")
    assert world.choose()[0] == "a"
    world.balancers.take_latencies({"a": 0.2, "b": 0.1})
    assert world.choose() == "b/z"
    world.balancers.take_latencies({"b": 0.3})
    assert world.choose()[0] == "a"


def test_the_clients_country():
    world = World("default_pools: [a, b], country_pools: {JP: [b]}")
    assert world.choose()[0] == "a"
    world.balancers.country_of = lambda client: "JP"
    world.apply("default_pools: [a, b], country_pools: {JP: [b]}")
    assert world.choose() == "b/z"
    tried = world.balancers.origins[world.number("b/z")]
    assert world.balancers["lb"].after([tried], b"\x7f\0\0\1", 5) is None


def test_shares_grow_slowly(monkeypatch):
    world = World("default_pools: [a]", a=f"origins: {origins(x=1, y=1)}, slow_start: 100s")
    now = time.monotonic()
    world.stand(a_x=DOWN)
    world.stand(a_x=Standing(True, now))
    seen = Counter(world.choose() for _ in range(2000))
    assert seen["a/x"] / 2000 == pytest.approx(0.1 / 1.1, abs=0.03)
    monkeypatch.setattr("spectrum.plane.balancing.balancers.time.monotonic", lambda: now + 200)
    world.balancers.tick()
    seen = Counter(world.choose() for _ in range(2000))
    assert seen["a/x"] / 2000 == pytest.approx(0.5, abs=0.05)


# --- reloads and drains -----------------------------------------------------------------------------------------------

XY = "origins: [{name: x, address: 203.0.113.1}, {name: y, address: 203.0.113.2%s}]"
DRAIN = "default_pools: [a], session_affinity: ip, session_affinity_attributes: {drain_duration: %s}"


@pytest.mark.parametrize(("drain", "seconds"), [("30s", 30), ("0", 0)])
def test_what_a_reload_stops(drain, seconds):
    world = World(DRAIN % drain, a=XY % "")
    y = world.number("a/y")
    assert world.apply(DRAIN % drain, a=XY % ", enabled: false") == {("lb", y): seconds}
    assert world.balancers.is_stopped(("lb", y))
    assert world.apply(DRAIN % drain, a=XY % ", enabled: false") == {}
    assert world.apply(DRAIN % drain, a=XY % "") == {}
    assert not world.balancers.is_stopped(("lb", y))


def test_clients_come_back_to_a_draining_origin(monkeypatch):
    world = World(DRAIN % "30s", a=XY % "")
    homes = {client: world.choose(client) for client in clients(30)}
    world.apply(DRAIN % "30s", a=XY % ", enabled: false")
    assert {client: world.choose(client) for client in homes} == homes
    assert {world.choose(client) for client in clients(300)[30:]} == {"a/x"}
    now = time.monotonic()
    monkeypatch.setattr("spectrum.plane.balancing.balancers.time.monotonic", lambda: now + 31)
    world.balancers.tick()
    assert {world.choose(client) for client in homes} == {"a/x"}


def test_a_removed_origin_and_a_removed_load_balancer():
    world = World("default_pools: [a]", a=XY % "")
    x, y = world.number("a/x"), world.number("a/y")
    stopped = world.apply("default_pools: [a]", a="origins: [{name: x, address: 203.0.113.1}]")
    assert stopped == {("lb", y): None}
    text = """
pools: {a: {origins: [{name: x, address: 203.0.113.1}]}}
load_balancers: {other: {default_pools: [a]}}
apps: {x: {protocol: tcp/1, load_balancer: other}}
"""
    assert world.balancers.apply(world.compile(text)) == {("lb", x): None}
    with pytest.raises(KeyError):
        world.balancers["lb"]


# --- outcomes ----------------------------------------------------------------------------------------------------


def test_signs_are_taken_once_and_failures_are_urgent():
    world = World()
    number = world.number("a/x")
    world.balancers.ended(number, True, False)
    assert world.urgent == 0
    world.balancers.failed(number, "connect_refused")
    world.balancers.ended(number, False, True)
    assert world.urgent == 2
    (sign,) = world.balancers.take_outcomes().values()
    assert (sign.connect_failures, sign.resets, sign.answered) == (1, 1, 1)
    assert world.balancers.take_outcomes() == {}


def test_what_is_drained_by_an_operator_keeps_its_flows():
    world = World()
    drained, disabled = Standing(False, out="drain"), Standing(False, out="disable")
    assert world.stand(a_x=drained) == set()
    assert {world.choose(client) for client in clients(50)} == {"a/y"}
    assert world.stand(a_x=drained) == set()
    assert world.stand(a_x=disabled) == {"a/x"}
    assert world.stand(a_x=disabled) == set()
    assert world.stand(a_x=UP, a_y=disabled) == {"a/y"}
    assert {world.choose(client) for client in clients(50)} == {"a/x"}
    assert world.stand(a_y=drained) == set()
    assert world.stand(a_y=UP) == set()


def test_affinity_does_not_hold_clients_at_what_is_drained():
    world = World("default_pools: [a, b], session_affinity: ip")
    before = {client: world.choose(client) for client in clients(50)}
    world.stand(a_x=Standing(False, out="drain"))
    assert {world.choose(client) for client in clients(50)} == {"a/y"}
    world.stand(a_x=UP)
    assert {client: world.choose(client) for client in clients(50)} == before  # failover: temporary


def test_another_weight_counts_at_once():
    world = World()
    world.stand(a_x=Standing(True, weight=0.0))
    assert {world.choose(client) for client in clients(50)} == {"a/y"}
    world.stand(a_x=UP)
    assert {world.choose(client) for client in clients(50)} == {"a/x", "a/y"}
