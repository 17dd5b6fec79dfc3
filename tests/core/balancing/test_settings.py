import msgspec
import pytest

from spectrum.core.balancing.settings import distance_km, origin_tag
from spectrum.core.snapshot import Snapshot
from tests.core.balancing.build import World, origins


@pytest.mark.parametrize(
    ("here", "there", "km"),
    [
        ((50.11, 8.68), (50.11, 8.68), 0),
        ((50.11, 8.68), (40.71, -74.01), 6200),
        ((0, 0), (0, 180), 20015),
        ((90, 0), (-90, 0), 20015),
        ((51.5, -0.1), (-33.9, 151.2), 16990),
    ],
)
def test_distances(here, there, km):
    assert distance_km(*here, *there) == pytest.approx(km, rel=0.005, abs=0.001)


def test_tags_tell_origins_apart():
    tags = {origin_tag(f"pool{p}", f"origin{o}") for p in range(50) for o in range(200)}
    assert len(tags) == 10_000
    assert all(0 < tag < 2**40 for tag in tags)


def test_what_workers_get():
    made = World(
        f"pools: {{a: {{origins: {origins(x=0.5)}}}, b: {{origins: [{{name: y, address: b.example, port: 7}}], "
        "minimum_origins: 1, load_shedding: {default_percent: 5, default_policy: hash, session_percent: 1}}}\n"
        "load_balancers: {lb: {default_pools: [a, b], session_affinity: ip, session_affinity_ttl: 60, "
        "random_steering: {pool_weights: {b: 0.25}, default_weight: 0.5}, "
        "session_affinity_attributes: {drain_duration: 30s, zero_downtime_failover: sticky}}}"
    )
    snapshot = made.snapshot
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot) == snapshot
    (a, b), (lb,) = snapshot.pools, snapshot.balancers
    assert (a.origins[0].address, a.origins[0].dns, a.origins[0].weight, a.monitored) == (
        "203.0.113.1",
        None,
        0.5,
        False,
    )
    assert (b.origins[0].address, b.origins[0].dns.name, b.origins[0].port) == ("", "b.example", 7)
    assert (b.shed_percent, b.shed_by_hash, b.shed_session_percent) == (5, True, 1)
    assert (lb.pools, lb.weights, lb.fallback, lb.all_pools()) == (("a", "b"), (0.5, 0.25), "b", ("a", "b"))
    assert (lb.affinity, lb.affinity_ttl_s, lb.drain_s, lb.failover) == ("ip", 60, 30, "sticky")
    assert snapshot.names() == {b.origins[0].dns}
    assert len({a.number, b.number, a.origins[0].number, b.origins[0].number}) == 4
