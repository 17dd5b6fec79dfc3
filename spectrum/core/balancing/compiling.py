"""Compiles pools and load balancers of the file for workers: all of them, or those that may have changed."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from spectrum.core.balancing.groups import is_monitored
from spectrum.core.balancing.settings import BalancerSettings, PoolSettings, compile_balancer, compile_pool
from spectrum.core.configuration.feature import Names
from spectrum.core.snapshot import Snapshot

if TYPE_CHECKING:
    from spectrum.core.configuration.config import Config

_Compiled = TypeVar("_Compiled", PoolSettings, BalancerSettings)


def compile_balancing(config: "Config", numbers: Mapping[str, int]) -> Mapping[str, Any]:
    """Return the parts of a snapshot that are pools and load balancers.

    Args:
        config: The configuration.
        numbers: The numbers of pools and origins.
    """
    return {
        "pools": tuple(_pool(config, numbers, name) for name in config.pools),
        "balancers": tuple(_balancer(config, name) for name in config.load_balancers),
    }


def recompiled(snapshot: Snapshot, config: "Config", numbers: Mapping[str, int], names: Names) -> Snapshot:
    """Return a snapshot with the pools and load balancers of a configuration; those that cannot have changed are kept.

    Args:
        snapshot: The snapshot of a configuration that differs only in named objects.
        config: The configuration.
        numbers: The numbers of pools and origins.
        names: The names of the objects that differ.
    """
    groups = frozenset(names.get("monitor_groups", ()))
    probed = (name for name, pool in config.pools.items() if pool.monitor_group in groups) if groups else ()
    pools = {*names.get("pools", ()), *probed}
    # Their order depends on the location of pools.
    near = (
        name
        for name, balancer in config.load_balancers.items()
        if balancer.policy == "proximity" and not pools.isdisjoint(balancer.default_pools)
    )
    balancers = {*names.get("load_balancers", ()), *(near if pools else ())}
    return msgspec.structs.replace(
        snapshot,
        pools=_kept(snapshot.pools, config.pools, pools, lambda name: _pool(config, numbers, name)),
        balancers=_kept(snapshot.balancers, config.load_balancers, balancers, lambda name: _balancer(config, name)),
    )


def _kept(
    before: tuple[_Compiled, ...], wanted: Mapping[str, object], again: Iterable[str], make: Callable[[str], _Compiled]
) -> tuple[_Compiled, ...]:
    known = {one.name: one for one in before}
    made = {name: make(name) for name in again if name in wanted}
    known |= {name: one for name, one in made.items() if known.get(name) != one}
    return tuple(known[name] for name in wanted)


def _pool(config: "Config", numbers: Mapping[str, int], name: str) -> PoolSettings:
    pool = config.pools[name]
    return compile_pool(name, pool, is_monitored(pool, config.monitor_groups), numbers)


def _balancer(config: "Config", name: str) -> BalancerSettings:
    return compile_balancer(name, config.load_balancers[name], config.pools, config.node)
