import pytest

from spectrum.core.balancing.compiling import compile_balancing, recompiled
from spectrum.core.configuration.config import Config
from spectrum.core.features import compile_snapshot, number_labels
from spectrum.core.numbers import Numbers


def config(**changed):
    """Two pools in different places, one of them with a group of monitors, and load balancers over both."""
    places = {"p": {"latitude": 50, "longitude": 8, "monitor_group": "g"}, "q": {"latitude": 0, "longitude": 0}}
    pools = {name: {"origins": [{"name": "o", "address": "192.0.2.1"}], **place} for name, place in places.items()}
    for name, keys in changed.get("pools", {}).items():
        pools[name] = pools[name] | keys
    return Config.model_validate(
        {
            "node": {"latitude": 51, "longitude": 7},
            "pools": pools,
            "load_balancers": {
                "near": {"default_pools": ["q", "p"], "steering_policy": "proximity"},
                "lb": {"default_pools": ["q", "p"], **changed.get("lb", {})},
            },
            "monitors": {"m": {"type": "tcp", "port": 1}},
            "monitor_groups": {"g": {"members": [{"monitor": "m", **changed.get("member", {})}]}},
        }
    )


def test_pools_are_in_the_order_that_holds_at_this_node():
    file = config()
    numbers = Numbers(100).plan(number_labels(file))
    found = compile_balancing(file, numbers)
    assert [(pool.name, pool.monitored) for pool in found["pools"]] == [("p", True), ("q", False)]
    assert [balancer.pools for balancer in found["balancers"]] == [("p", "q"), ("q", "p")]


@pytest.mark.parametrize(
    ("changed", "names", "others"),
    [
        ({"pools": {"q": {"minimum_origins": 2}}}, {"pools": ["q"]}, ["q"]),
        ({"pools": {"p": {"latitude": -50}}}, {"pools": ["p"]}, ["near"]),
        ({"lb": {"session_affinity": "ip"}}, {"load_balancers": ["lb"]}, ["lb"]),
        ({"member": {"monitoring_only": True}}, {"monitor_groups": ["g"]}, ["p"]),
        ({"member": {"must_be_healthy": True}}, {"monitor_groups": ["g"]}, []),
    ],
)
def test_only_what_may_differ_is_compiled_again(changed, names, others):
    before, after = config(), config(**changed)
    numbers = Numbers(100).plan(number_labels(before))
    one, whole = compile_snapshot(before, 1, numbers), compile_snapshot(after, 1, numbers)
    two = recompiled(one, after, numbers, names)
    assert two == whole
    known = {item.name: item for item in (*one.pools, *one.balancers)}
    assert [item.name for item in (*two.pools, *two.balancers) if item is not known[item.name]] == others
