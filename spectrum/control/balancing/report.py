"""The part of `spectrum status` about load balancers, pools and origins."""

import time
from collections.abc import Iterator
from typing import Any

from spectrum.control.balancing.health import HealthKeeper, MonitorFinding
from spectrum.control.balancing.origins import told
from spectrum.control.trouble import Severity, Trouble
from spectrum.core.balancing.objects import GroupMember, Pool
from spectrum.core.balancing.settings import OriginSettings, PoolSettings
from spectrum.core.configuration.config import Config
from spectrum.core.snapshot import Snapshot
from spectrum.plane.memory import Loads

# Origins listed of a pool that is down.
MOST_TOLD = 5


def balancers_status(snapshot: Snapshot, health: HealthKeeper) -> list[dict[str, Any]]:
    """Return the status of every load balancer, in the order of the file."""
    return [
        {
            "name": balancer.name,
            "enabled": balancer.enabled,
            "steering_policy": balancer.policy,
            "pools": list(balancer.pools),
            "fallback_pool": balancer.fallback,
            "fallback_in_use": health.fallbacks.get(balancer.name, False),
        }
        for balancer in snapshot.balancers
    ]


def pools_status(snapshot: Snapshot, config: Config, health: HealthKeeper, loads: Loads) -> list[dict[str, Any]]:
    """Return the status of every pool and its origins, in the order of the file."""
    return [pool_status(pool, config.pools[pool.name], health, loads) for pool in snapshot.pools]


def pool_status(pool: PoolSettings, configured: Pool, health: HealthKeeper, loads: Loads) -> dict[str, Any]:
    """Return the status of a pool and its origins."""
    view = health.views[pool.name]
    known, shares = pool.name in health.pool_health, view.shares()
    latency = health.latency_of(pool.name)
    if not pool.enabled:
        state = "disabled"
    elif not known:
        state = "unknown"
    elif not view.healthy:
        state = "critical"
    else:
        state = "healthy" if view.up == sum(origin.enabled for origin in pool.origins) else "degraded"
    return {
        "name": pool.name,
        # As Cloudflare has it: healthy, degraded (some origins are down), critical (too many are), unknown.
        "health": state,
        "monitor": configured.monitor,
        "monitor_group": configured.monitor_group,
        "rtt_ms": round(latency * 1000, 3) if latency else None,
        "sessions": loads.open(pool.number),
        "origins_up": view.up,
        "minimum_origins": pool.minimum_origins,
        "origins": [_origin_status(pool, origin, shares, health, loads) for origin in pool.origins],
    }


def _origin_status(
    pool: PoolSettings, origin: OriginSettings, shares: dict[int, float], health: HealthKeeper, loads: Loads
) -> dict[str, Any]:
    member = health.members[origin.number]
    ejected_s = health.ejected_for(origin.number)
    rtt_s, expires = health.rtt_of(origin.number), health.certificate_of(origin.number)
    override = health.override_of(member)
    if not origin.enabled:
        state, reason = "disabled", ""
    elif override.out:
        state, reason = {"drain": "drained", "disable": "disabled"}[override.out], told(override)
    elif ejected_s:
        state, reason = "ejected", f"for {ejected_s:.0f} s more"
    elif not pool.monitored:
        state, reason = "not monitored", ""
    else:
        state = {True: "healthy", False: "down", None: "unknown"}[member.healthy]
        reason = member.reason
    return {
        "name": origin.name,
        "address": origin.address or (origin.dns.name if origin.dns else ""),
        "port": origin.port or None,
        "weight": origin.weight if override.weight is None else override.weight,
        "share": round(shares.get(origin.number, 0.0), 4),
        "health": state,
        "reason": reason or None,
        "changed_s_ago": round(time.time() - member.changed_at) if member.changed_at else None,
        "rtt_ms": round(rtt_s * 1000, 3) if rtt_s else None,
        "response_code": health.code_of(origin.number) or None,
        "probes": health.probes_of(origin.number),
        "certificate_expires_in_days": round((expires - time.time()) / 86400, 1) if expires else None,
        "sessions": loads.open(origin.number),
        "max_sessions": origin.max_sessions or None,
        "ejections": member.ejections,
        "by_hand": None if override.is_nothing else told(override),
        # Of a monitor group.
        "monitors": [_finding_status(finding) for finding in health.findings_of(origin.number)],
    }


def _finding_status(finding: MonitorFinding) -> dict[str, Any]:
    return {
        "monitor": finding.member.monitor,
        "counts": counts_for(finding.member),
        "health": {True: "healthy", False: "down", None: "unknown"}[finding.healthy],
        "reason": finding.reason or None,
        "rtt_ms": round(finding.rtt_s * 1000, 3) if finding.rtt_s else None,
    }


def counts_for(member: GroupMember) -> str:
    """Return what the verdict of a monitor group's member counts for, as the file has it."""
    if member.monitoring_only:
        return "monitoring_only"
    return "must_be_healthy" if member.must_be_healthy else "majority"


def balancing_troubles(snapshot: Snapshot, health: HealthKeeper) -> Iterator[Trouble]:
    """Yield the troubles of origins, pools and load balancers."""
    origins = list(_lost_origins(health))
    poor = {
        pool.name
        for pool in snapshot.pools
        if pool.enabled and pool.name in health.pool_health and not health.views[pool.name].healthy
    }
    fallen = [one for one in snapshot.balancers if one.enabled and health.fallbacks.get(one.name, False)]
    if not (origins or poor or fallen):
        return
    users = _users(snapshot)
    severity: Severity
    for pool, since, kind, facts in origins:
        if pool not in poor:
            severity = "failed" if kind == "origin_down" else "degraded"
            yield Trouble(kind, severity, "pools", pool, since, facts | _counts(health, pool), users.get(pool, ()))
    for name in sorted(poor):
        # The trouble of a pool covers its origins, which are not listed again.
        lost = [(since, facts) for pool, since, _, facts in origins if pool == name]
        told = [{"name": facts["origin"], "why": facts["why"]} for _, facts in lost[:MOST_TOLD]]
        since = max((since for since, _ in lost), default=0.0)
        more = {"origins": told, **_counts(health, name)}
        yield Trouble("pool_down", "failed", "pools", name, since, more, users.get(name, ()))
    for balancer in fallen:
        serves = balancer.fallback not in poor
        facts = {"pool": balancer.fallback, "serves": serves, "pools": list(balancer.pools)}
        severity = "degraded" if serves else "failed"
        apps = tuple(app.name for app in snapshot.apps if app.load_balancer == balancer.name)
        yield Trouble("on_fallback", severity, "load_balancers", balancer.name, facts=facts, apps=apps)


def _lost_origins(health: HealthKeeper) -> Iterator[tuple[str, float, str, dict[str, Any]]]:
    """Yield pool, time, kind and facts of each origin that takes no sessions although no operator set that."""
    for number, member in health.members.items():
        ejected_s = health.ejected_for(number)
        if (member.healthy is not False and not ejected_s) or not member.settings.enabled:
            continue
        if health.override_of(member).out:
            continue
        one = member.settings
        facts = {
            "origin": one.name,
            "address": one.address or (one.dns.name if one.dns else ""),
            "port": one.port or None,
            "why": f"ejected for {ejected_s:.0f} s more" if ejected_s else member.reason,
        }
        yield member.pool, member.changed_at, "origin_ejected" if ejected_s else "origin_down", facts


def _counts(health: HealthKeeper, pool: str) -> dict[str, Any]:
    view = health.views[pool]
    enabled = sum(origin.enabled for origin in view.settings.origins)
    return {"up": view.up, "of": enabled, "minimum": view.settings.minimum_origins}


def _users(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Return the apps that use each pool, through load balancers."""
    apps: dict[str, list[str]] = {}
    for app in snapshot.apps:
        if app.load_balancer:
            apps.setdefault(app.load_balancer, []).append(app.name)
    found: dict[str, dict[str, None]] = {}
    for balancer in snapshot.balancers:
        for pool in (*balancer.pools, balancer.fallback):
            found.setdefault(pool, {}).update(dict.fromkeys(apps.get(balancer.name, ())))
    return {pool: tuple(names) for pool, names in found.items()}
