import random

import pytest

from spectrum.core.balancing.pools import PoolView, Standing
from tests.core.balancing.build import DOWN, UP, World, nobody, origins

POOL = f"p: {{origins: {origins(a=1, b=0.5, c=0, d=1)}, "

BALANCER = "load_balancers: {lb: {default_pools: [p]}}"


def world(more="", monitored=False):
    monitor = "monitor: m, " if monitored else ""
    return World(f"monitors: {{m: {{type: tcp}}}}\npools: {{{POOL}{monitor}{more}}}}}\n{BALANCER}")


def view(made):
    return made.views()["p"]


def test_without_a_monitor_everybody_is_up():
    seen = view(world())
    assert (seen.up, len(seen.usable), seen.healthy) == (4, 3, True)
    assert sorted(seen.shares().values()) == [0.2, 0.4, 0.4]


def test_with_a_monitor_the_unknown_is_down():
    made = world(monitored=True)
    assert not view(made).healthy
    made.set(UP, "p/b")
    assert view(made).usable == {made.number("p/b")}
    made.set(DOWN, "p/b")
    made.set(UP, "p/c")
    assert (view(made).up, view(made).healthy) == (1, False)  # up, but without a weight there is nobody to send to


@pytest.mark.parametrize(("minimum", "healthy"), [(1, True), (3, True), (4, False)])
def test_the_least_number_of_origins(minimum, healthy):
    made = world(f"minimum_origins: {minimum}")
    made.set(DOWN, "p/a")
    assert view(made).healthy is healthy


def test_disabled_ones_are_left_out():
    made = World(
        "pools: {p: {origins: [{name: a, address: 203.0.113.1, enabled: false}, {name: b, address: 203.0.113.2}]}}\n"
        "load_balancers: {lb: {default_pools: [p]}}"
    )
    assert view(made).usable == {made.number("p/b")}
    assert view(made).regardless.pick(0, random.random, nobody).name == "b"


@pytest.mark.parametrize(
    ("elapsed_s", "weight"), [(0, 0.1), (5, 0.1), (10, 0.1), (50, 0.5), (99, 0.99), (100, 1), (500, 1)]
)
def test_slow_start(elapsed_s, weight):
    made = world("slow_start: 100s")
    made.set(Standing(True, 1000.0), "p/a")
    made.now = 1000.0 + elapsed_s
    seen = view(made)
    assert seen.shares()[made.number("p/a")] == pytest.approx(weight / (weight + 1.5))
    assert seen.ramping is (elapsed_s < 100)


@pytest.mark.parametrize("policy", ["random", "hash", "least_connections"])
def test_the_fallback_asks_for_no_health(policy):
    made = world(f"origin_steering: {{policy: {policy}}}")
    made.set(DOWN, "p/a", "p/b", "p/d")
    assert not view(made).healthy
    draw = random.Random(1).random
    picked = {view(made).regardless.pick(n << 50, draw, nobody).name for n in range(200)}
    assert picked == {"a", "b", "d"}


def test_only_those_without_a_weight():
    made = World(f"pools: {{p: {{origins: {origins(a=0)}, origin_steering: {{policy: hash}}}}}}\n{BALANCER}")
    assert view(made).regardless.pick(0, random.random, nobody).name == "a"


def test_a_disabled_pool():
    made = world("enabled: false")
    assert not view(made).healthy
    assert view(made).regardless is None


def test_without_those_that_were_tried():
    made = world()
    seen = view(made)
    left = seen.without({made.number("p/a"), made.number("p/b")})
    assert left.pick(0, random.random, nobody).name == "d"
    assert seen.without(seen.usable) is None


def test_the_homes_of_clients_outlive_a_view():
    made = world()
    first = view(made)
    homes = first.rendezvous
    again = PoolView(made.snapshot.pools[0], {}, 0.0, first)
    assert again.rendezvous is homes


@pytest.mark.parametrize("how", ["drain", "disable"])
def test_no_fallback_leads_to_what_an_operator_took_out(how):
    made = world()
    made.set(DOWN, "p/a", "p/b", "p/c")
    made.set(Standing(False, out=how), "p/d")
    names = {view(made).regardless.pick(n, random.random, nobody).name for n in range(100)}
    assert names == {"a", "b"}  # c has no weight
    assert view(made).candidates == 2
    made.set(Standing(False, out=how), "p/a", "p/b", "p/c")
    assert view(made).regardless is None


def test_weights_of_operators():
    made = world("origin_steering: {policy: hash}")
    before = view(made)
    homes = before.rendezvous
    made.set(Standing(True, weight=0.0), "p/a")
    made.set(Standing(True, weight=0.25), "p/d")
    made.set(Standing(True, weight=1.0), "p/c")
    seen = PoolView(made.snapshot.pools[0], made.standings, made.now, before)
    assert seen.weights == (0.0, 0.5, 1.0, 0.25)
    assert {n: round(share, 3) for n, share in seen.shares().items()} == {
        made.number("p/b"): 0.286,
        made.number("p/c"): 0.571,
        made.number("p/d"): 0.143,
    }
    assert seen.rendezvous is not homes
    picked = [seen.picker.pick(n << 48, random.random, nobody).name for n in range(0, 65536, 7)]
    assert "a" not in picked
    assert 0.5 < picked.count("c") / len(picked) < 0.65
    # All weights 0: there is nobody to send to, but for a fallback pool.
    for name in ("p/b", "p/c", "p/d"):
        made.set(Standing(True, weight=0.0), name)
    assert not view(made).healthy
    assert {view(made).regardless.pick(n, random.random, nobody).name for n in range(100)} == {"a", "b", "c", "d"}
