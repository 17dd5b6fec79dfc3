import random
from collections import Counter
from itertools import count

import pytest

from spectrum.core.balancing.balancer import share_of
from spectrum.core.balancing.clients import client_key
from tests.core.balancing.build import DOWN, UP, Counts, World, nobody, origins

PLACE = "node: {name: fra1, region: WEU, country: DE, latitude: 50, longitude: 8}\n"


B = f"b: {{origins: {origins(three=1)}}}"


def world(balancer, pools="", more=""):
    pools = pools or f"a: {{origins: {origins(one=1, two=1)}}}, {B}"
    return World(f"{more}\npools: {{{pools}}}\nload_balancers: {{lb: {{{balancer}}}}}")


def shares(world, draws=20_000, load=nobody, **how):
    balancer, draw = world.balancer(), random.Random(7).random
    found = Counter(
        world.name_of(balancer.choose(client_key(b"x", n.to_bytes(4, "big")), draw, load, **how).origin)
        for n in range(draws)
    )
    return {name: times / draws for name, times in found.items()}


def pools_of(shares):
    found = Counter()
    for name, share in shares.items():
        found[name.split("/")[0]] += share
    return dict(found)


THREE = ", ".join(
    f"{n}: {{origins: {origins(x=1)}, latitude: {lat}, longitude: {lon}}}"
    for n, lat, lon in (("a", 40, -74), ("b", 48, 11), ("c", 1, 103))
)
ORDER = "default_pools: [a, b, c], fallback_pool: c"


@pytest.mark.parametrize(
    ("balancer", "down", "latencies", "order"),
    [
        (ORDER, [], {}, "abc"),
        (ORDER, ["a/x"], {}, "bc"),
        (ORDER, ["a/x", "b/x", "c/x"], {}, ""),
        (f"{ORDER}, steering_policy: proximity", [], {}, "bac"),
        (f"{ORDER}, steering_policy: proximity", ["b/x"], {}, "ac"),
        (f"{ORDER}, steering_policy: dynamic_latency", [], {}, "abc"),
        (f"{ORDER}, steering_policy: dynamic_latency", [], {"a": 0.1, "b": 0.02, "c": 0.05}, "bca"),
        (f"{ORDER}, steering_policy: dynamic_latency", [], {"c": 0.3}, "cab"),
        (f"{ORDER}, steering_policy: dynamic_latency", ["b/x"], {"b": 0.02, "c": 0.05}, "ca"),
        (f"{ORDER}, region_pools: {{WEU: [b]}}", [], {}, "b"),
        (f"{ORDER}, region_pools: {{WEU: [b]}}, country_pools: {{DE: [c, a]}}", [], {}, "ca"),
        (f"{ORDER}, region_pools: {{WEU: [b]}}, country_pools: {{DE: [c, a]}}, pop_pools: {{fra1: [a]}}", [], {}, "a"),
        (f"{ORDER}, region_pools: {{ENAM: [b]}}", [], {}, "abc"),
        (f"{ORDER}, steering_policy: 'off', region_pools: {{WEU: [b]}}", [], {}, "abc"),
    ],
)
def test_the_order_of_pools(balancer, down, latencies, order):
    made = world(balancer, THREE, PLACE)
    made.set(DOWN, *down)
    made.latencies = latencies
    assert "".join(view.settings.name for view in made.balancer().order()) == order
    chosen = made.balancer().choose(0, random.random, nobody).origin
    assert made.name_of(chosen)[0] == (order or "c")[0]


def test_a_clients_country_decides_where_it_is_known():
    made = world(f"{ORDER}, country_pools: {{JP: [c], DE: [b]}}", THREE, PLACE)
    places = {
        country: made.name_of(made.balancer().choose(0, random.random, nobody, country=country).origin)
        for country in ("", "JP", "DE", "FR")
    }
    assert places == {"": "b/x", "JP": "c/x", "DE": "b/x", "FR": "b/x"}


@pytest.mark.parametrize(
    ("steering", "down", "expected"),
    [
        ("", [], {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        ("pool_weights: {a: 0.2, b: 0.6}, default_weight: 0.2", [], {"a": 0.2, "b": 0.6, "c": 0.2}),
        ("pool_weights: {a: 0.2, b: 0.6}, default_weight: 0.2", ["b/x"], {"a": 0.5, "c": 0.5}),
        ("pool_weights: {a: 0}, default_weight: 0.5", [], {"b": 0.5, "c": 0.5}),
    ],
)
def test_random_steering(steering, down, expected):
    made = world(f"{ORDER}, steering_policy: random, random_steering: {{{steering}}}", THREE)
    made.set(DOWN, *down)
    assert pools_of(shares(made)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("policy", ["least_connections", "least_outstanding_requests"])
def test_pools_by_load(policy):
    made = world(f"{ORDER}, steering_policy: {policy}", THREE)
    busy = {made.number("a"): 90, made.number("b"): 10, made.number("c"): 10}
    found = pools_of(shares(made, load=Counts(busy)))
    # A pool that is in both draws of two: one time in nine.
    assert found == pytest.approx({"a": 1 / 9, "b": 4 / 9, "c": 4 / 9}, abs=0.02)


def test_every_pool_is_down():
    made = world("default_pools: [a], fallback_pool: b")
    made.set(DOWN, "a/one", "a/two", "b/three")
    assert made.balancer().order() == ()
    assert shares(made, 10) == {"b/three": 1}


def test_too_few_origins_are_none():
    pools = f"a: {{origins: {origins(one=1, two=1)}, minimum_origins: 2}}, {B}"
    made = world("default_pools: [a, b]", pools)
    assert pools_of(shares(made, 100)) == {"a": 1}
    made.set(DOWN, "a/one")
    assert shares(made, 100) == {"b/three": 1}


@pytest.mark.parametrize("disabled", ["lb", "pools"])
def test_nothing_is_enabled(disabled):
    if disabled == "lb":
        made = world("default_pools: [a], enabled: false")
    else:
        made = world("default_pools: [a]", f"a: {{origins: {origins(one=1)}, enabled: false}}")
    assert made.balancer().choose(0, random.random, nobody).origin is None


# --- load shedding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["random", "hash"])
def test_a_share_of_clients_is_shed(policy):
    pools = f"a: {{origins: {origins(one=1)}, load_shedding: {{default_percent: 30, default_policy: {policy}}}}}, {B}"
    made = world("default_pools: [a, b]", pools)
    assert pools_of(shares(made)) == pytest.approx({"a": 0.7, "b": 0.3}, abs=0.01)


def test_what_every_pool_sheds_goes_to_the_fallback():
    pools = f"a: {{origins: {origins(one=1)}, load_shedding: {{default_percent: 100}}}}, {B}"
    made = world("default_pools: [a], fallback_pool: b", pools)
    assert pools_of(shares(made, 100)) == {"b": 1}


def test_shedding_by_hash_takes_the_same_clients_every_time():
    pools = f"a: {{origins: {origins(one=1)}, load_shedding: {{default_percent: 20, default_policy: hash}}}}, {B}"
    balancer = world("default_pools: [a, b]", pools).balancer()
    for key in (client_key(b"", bytes([0, 0, n >> 8, n & 255])) for n in range(500)):
        first = balancer.choose(key, random.random, nobody).origin
        assert all(balancer.choose(key, random.random, nobody).origin is first for _ in range(5))


def test_clients_with_affinity_are_shed_by_their_own_share():
    pools = f"a: {{origins: {origins(one=1)}, load_shedding: {{session_percent: 25}}}}, {B}"
    made = world("default_pools: [a, b], session_affinity: ip", pools)
    balancer, tag = made.balancer(), made.origin("a/one").tag
    keys = [client_key(b"", n.to_bytes(4, "big")) for n in range(4000)]
    kept = [balancer.choose(key, random.random, nobody, tag).kept for key in keys]
    assert sum(kept) / len(kept) == pytest.approx(0.75, abs=0.03)
    assert all(was == (share_of(key) >= 25) for was, key in zip(kept, keys, strict=True))


# --- affinity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pinned", "down", "draining", "chosen", "kept"),
    [
        ("a/two", [], [], "a/two", True),
        ("a/two", ["a/two"], [], "a/one", False),
        ("a/two", ["a/two"], ["a/two"], "a/two", True),
        ("b/three", [], [], "b/three", True),  # its pool is healthy, though not the first
        ("c/four", [], [], "a/one", False),  # no pool of this load balancer
    ],
)
def test_affinity(pinned, down, draining, chosen, kept):
    pools = f"a: {{origins: {origins(one=1, two=1)}}}, {B}, c: {{origins: {origins(four=1)}}}"
    made = world("default_pools: [a, b], session_affinity: ip", pools)
    made.set(DOWN, *down)
    made.draining = draining
    balancer = made.balancer()
    keys = (client_key(b"", n.to_bytes(4, "big")) for n in count())
    # Of a client that without its affinity goes to a/one.
    key = next(key for key in keys if made.name_of(balancer.choose(key, random.random, nobody).origin) == "a/one")
    choice = balancer.choose(key, random.random, nobody, made.origin(pinned).tag)
    assert (made.name_of(choice.origin), choice.kept) == (chosen, kept)
    assert balancer.origin_of(made.origin("a/one").tag) is made.origin("a/one")
    assert balancer.origin_of(1) is None


@pytest.mark.parametrize(
    ("failover", "down", "pins"),
    [
        ("sticky", True, True),
        ("none", True, True),
        ("temporary", True, False),  # it goes back to its origin when that is up again
        ("temporary", False, False),
    ],
)
def test_what_becomes_the_affinity(failover, down, pins):
    attributes = f"session_affinity_attributes: {{zero_downtime_failover: {failover}}}"
    made = world(f"default_pools: [a], session_affinity: ip, {attributes}")
    balancer = made.balancer()
    assert balancer.choose(0, random.random, nobody).pins  # without an affinity so far
    if down:
        made.set(DOWN, "a/two")
    choice = made.balancer().choose(0, random.random, nobody, made.origin("a/two").tag)
    assert (choice.kept, choice.pins) == (not down, pins)


def test_the_fallback_is_not_remembered():
    made = world("default_pools: [a], fallback_pool: b, session_affinity: ip")
    made.set(DOWN, "a/one", "a/two")
    choice = made.balancer().choose(0, random.random, nobody)
    assert (made.name_of(choice.origin), choice.pins) == ("b/three", False)


def test_the_first_choice_is_stable_with_affinity():
    balancer = world("default_pools: [a, b], session_affinity: ip").balancer()
    for key in range(0, 2**64, 2**58):
        assert len({balancer.choose(key, random.random, nobody).origin.number for _ in range(10)}) == 1


# --- what follows a failed connect ------------------------------------------------------------------------------------


def sequence(made, key=0, first=None, kept=False):
    """All origins that one client comes to, when none can be reached."""
    balancer, draw = made.balancer(), random.Random(3).random
    tried = [made.origin(first) if first else balancer.choose(key, draw, nobody).origin]
    while (following := balancer.next_choice(tried, kept, key, draw, nobody)) is not None:
        assert following not in tried
        tried.append(following)
    return [made.name_of(origin) for origin in tried]


MANY = ", ".join(
    f"{name}: {{origins: {listed}}}"
    for name, listed in (
        ("a", origins(p=1, q=1, r=1, s=1, t=1)),
        ("b", origins(u=1)),
        ("c", origins(v=1)),
        ("d", origins(w=1)),
    )
)


@pytest.mark.parametrize(
    ("across", "policy", "pools"),
    [
        ("false", "random", "aaa"),
        ("true", "random", "aaabc"),
        ("true", "hash", "aaabc"),
        ("true", "least_connections", "aaabc"),
    ],
)
def test_others_of_the_pool_then_other_pools(across, policy, pools):
    many = MANY.replace("]", f"], origin_steering: {{policy: {policy}}}")
    made = world(f"default_pools: [a, b, c, d], adaptive_routing: {{failover_across_pools: {across}}}", many)
    assert "".join(name[0] for name in sequence(made)) == pools
    assert made.balancer().choose(0, random.random, nobody).tries == len(pools)


def test_down_origins_and_pools_are_passed_over():
    made = world("default_pools: [a, b, c, d], adaptive_routing: {failover_across_pools: true}", MANY)
    made.set(DOWN, "a/p", "a/q", "a/r", "b/u")
    assert sorted(sequence(made)[:2]) == ["a/s", "a/t"]
    assert sequence(made)[2:] == ["c/v", "d/w"]


@pytest.mark.parametrize(("failover", "length"), [("none", 1), ("temporary", 3), ("sticky", 3)])
def test_affinity_may_forbid_the_failover(failover, length):
    attributes = f"session_affinity_attributes: {{zero_downtime_failover: {failover}}}"
    made = world(f"default_pools: [a], session_affinity: ip, {attributes}", MANY)
    assert len(sequence(made, first="a/s", kept=True)) == length
    assert len(sequence(made)) == 3  # a client without an affinity is never left at the first failure


@pytest.mark.parametrize("down", [["b/q"], ["b/q", "b/r"]])
def test_a_failed_origin_of_the_fallback(down):
    made = world(
        "default_pools: [a], fallback_pool: b", f"a: {{origins: {origins(p=1)}}}, b: {{origins: {origins(q=1, r=1)}}}"
    )
    made.set(DOWN, "a/p", *down)
    assert sequence(made, first="b/q") == ["b/q", "b/r"]
    assert made.balancer().choose(0, random.random, nobody).tries == 2


def test_what_needs_the_client():
    assert not world("default_pools: [a]").balancer().needs_key
    assert world("default_pools: [a], session_affinity: ip").balancer().needs_key
    hashed = f"a: {{origins: {origins(one=1)}, origin_steering: {{policy: hash}}}}"
    assert world("default_pools: [a]", hashed).balancer().needs_key


def test_health_comes_back():
    made = world("default_pools: [a, b]")
    made.set(DOWN, "a/one", "a/two")
    assert pools_of(shares(made, 50)) == {"b": 1}
    made.set(UP, "a/one")
    assert shares(made, 50) == {"a/one": 1}


# --- origins with bounds ----------------------------------------------------------------------------------------------

BOUNDED = (
    "a: {origins: [{name: x, address: 203.0.113.1, port: 80, max_sessions: 2},"
    " {name: y, address: 203.0.113.2, port: 80, max_sessions: 1}]},"
    " b: {origins: [{name: z, address: 203.0.113.3, port: 80, max_sessions: 1}]}"
)


@pytest.mark.parametrize("down", [[], ["a/x", "a/y", "b/z"]])
@pytest.mark.parametrize(
    ("across", "counts", "chosen"),
    [
        (False, {"a/x": 1, "a/y": 1}, {"a/x"}),
        (False, {"a/x": 2}, {"a/y"}),
        (False, {"a/x": 3, "a/y": 1}, {None}),
        (True, {"a/x": 2, "a/y": 1, "b/z": 1}, {None}),
    ],
)
def test_full_origins_are_passed_over(across, counts, chosen, down):
    """Also where none is healthy, and the fallback pool serves."""
    made = world(
        f"default_pools: [a, b], fallback_pool: a, adaptive_routing: {{failover_across_pools: {str(across).lower()}}}",
        BOUNDED.replace("]}", "], monitor: m}"),
        "monitors: {m: {type: tcp}}",
    )
    made.set(UP, "a/x", "a/y", "b/z")
    made.set(DOWN, *down)
    load = Counts({made.number(name): count for name, count in counts.items()})
    found = [made.balancer().choose(0, random.random, load) for _ in range(50)]
    assert {made.name_of(choice.origin) for choice in found} == chosen
    assert {choice.full for choice in found} == {chosen == {None}}


def test_a_full_pool_gives_to_the_next_one_where_it_may():
    made = world("default_pools: [a, b], adaptive_routing: {failover_across_pools: true}", BOUNDED)
    load = Counts({made.number("a/x"): 2, made.number("a/y"): 1})
    assert made.name_of(made.balancer().choose(0, random.random, load).origin) == "b/z"


def test_a_failed_origin_is_not_followed_by_a_full_one():
    made = world("default_pools: [a, b], adaptive_routing: {failover_across_pools: true}", BOUNDED)
    full = Counts({made.number("a/y"): 1})
    following = made.balancer().next_choice([made.origin("a/x")], False, 0, random.random, full)
    assert made.name_of(following) == "b/z"
    full.counts[made.number("b/z")] = 1
    assert made.balancer().next_choice([made.origin("a/x")], False, 0, random.random, full) is None


def test_an_affinity_outlasts_a_full_origin():
    made = world("default_pools: [a], session_affinity: ip", BOUNDED)
    load = Counts({made.number("a/x"): 2})
    choice = made.balancer().choose(0, random.random, load, made.origin("a/x").tag)
    assert (made.name_of(choice.origin), choice.pins, choice.kept) == ("a/y", False, False)
