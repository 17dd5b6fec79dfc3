"""What `spectrum status` shows: one structure, sent as JSON."""

import time
from typing import Any

from spectrum.control.balancing.health import HealthKeeper
from spectrum.control.names.name_watch import NameWatch, Watched
from spectrum.core.balancing.settings import OriginSettings, PoolSettings
from spectrum.core.configuration.config import Config
from spectrum.core.names import name_key, parse_service
from spectrum.core.records.measures import DROPS, AppMeasures, OriginMeasures
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import AppSettings, Snapshot
from spectrum.plane.memory import Loads


def app_status(
    app: AppSettings, measures: AppMeasures, names: dict[str, tuple[str, ...]], failures: dict[str, str]
) -> dict[str, Any]:
    """Return the status of one app."""
    addresses = ", ".join(f"[{a}]" if ":" in a else a for a in app.addresses) or "every address"
    if app.tproxy_port:
        addresses = f"{', '.join(app.tproxy_prefixes)} (tproxy, port {app.tproxy_port})"
    if app.bindings:
        bound = ", ".join(dict.fromkeys(prefix for prefix, _ in app.bindings))
        addresses = f"{bound} (bindings)" + (f", {addresses}" if app.addresses else "")
    return {
        "name": app.name,
        "protocol": app.protocol,
        "listens_on": addresses,
        "listeners": sum(1 for _ in app.listeners()),
        "proxy_protocol": app.proxy_protocol,
        "sessions": measures.active,
        "sessions_started": measures.started,
        "bytes_from_client": measures.bytes_from_client,
        "bytes_from_origin": measures.bytes_from_origin,
        **_datagrams(app, measures),
        **_handshakes(app, measures),
        "ended": {Reason(number).label: count for number, count in sorted(measures.ended.items())},
        "origin_name": app.origin_name.name if app.origin_name else None,
        "load_balancer": app.load_balancer or None,
        "origin_name_failure": failures.get(name_key(app.origin_name)) if app.origin_name else None,
        "origins": _origins(app, measures, names),
    }


def _datagrams(app: AppSettings, measures: AppMeasures) -> dict[str, Any]:
    if app.transport != "udp":
        return {}
    return {
        "datagrams_from_client": measures.datagrams_from_client,
        "datagrams_from_origin": measures.datagrams_from_origin,
        "datagrams_dropped": {DROPS[place]: count for place, count in sorted(measures.dropped.items())},
    }


def _handshakes(app: AppSettings, measures: AppMeasures) -> dict[str, Any]:
    if app.tls is None:
        return {}
    full = measures.handshakes - measures.resumed
    return {"tls": app.tls.mode, "tls_handshakes": {"full": full, "resumed": measures.resumed}}


def _origins(app: AppSettings, measures: AppMeasures, names: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """The configured origins, and those that still have sessions though the file does not name them any more."""
    if app.origin_name is None:
        configured = [_host_port(*origin) for origin in app.origins]
    elif app.origin_name.type == "SRV":
        services = map(parse_service, names.get(name_key(app.origin_name), ()))
        configured = [_host_port(service.address, service.port) for service in services]
    else:
        configured = [_host_port(address, app.origin_port) for address in names.get(name_key(app.origin_name), ())]
    counted = {
        **{name: OriginMeasures() for name in configured if app.first_port == app.last_port},
        **measures.origins,
    }
    return [
        {
            "address": name,
            "configured": bool(app.load_balancer) or app.first_port != app.last_port or name in configured,
            "sessions": found.connected - found.ended,
            "connected": found.connected,
            "failed": found.failed,
            "last_failure": found.last_failure or None,
        }
        for name, found in counted.items()
    ]


def names_status(names: NameWatch) -> list[dict[str, Any]]:
    """Return the status of every name that is looked up."""
    return [
        {
            "name": watched.name,
            "type": watched.type or "any",
            # stale: the last look-up failed, the addresses are those of an earlier one.
            "state": _name_state(watched),
            "reason": watched.failure or None,
            "age_s": None if watched.age_s is None else round(watched.age_s, 1),
            "addresses": list(watched.addresses),
        }
        for watched in names.watched()
    ]


def _name_state(watched: Watched) -> str:
    if not watched.result:
        return "unknown"
    if not watched.failure:
        return "answered"
    return "stale" if watched.addresses else "failed"


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
    return [_pool_status(pool, config.pools[pool.name].monitor, health, loads) for pool in snapshot.pools]


def _pool_status(pool: PoolSettings, monitor: str | None, health: HealthKeeper, loads: Loads) -> dict[str, Any]:
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
        # Cloudflare's words: healthy, degraded (some origins are down), critical (too many are), unknown.
        "health": state,
        "monitor": monitor,
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
    if not origin.enabled:
        state, reason = "disabled", ""
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
        "weight": origin.weight,
        "share": round(shares.get(origin.number, 0.0), 4),
        "health": state,
        "reason": reason or None,
        "changed_s_ago": round(time.time() - member.changed_at) if member.changed_at else None,
        "rtt_ms": round(rtt_s * 1000, 3) if rtt_s else None,
        "certificate_expires_in_days": round((expires - time.time()) / 86400, 1) if expires else None,
        "sessions": loads.open(origin.number),
        "ejections": member.ejections,
    }


def _host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def apps_status(
    snapshot: Snapshot,
    measured: dict[str, AppMeasures],
    names: dict[str, tuple[str, ...]],
    failures: dict[str, str],
) -> list[dict[str, Any]]:
    """Return the status of every app, in the order of the file."""
    return [app_status(app, measured.get(app.name) or AppMeasures(), names, failures) for app in snapshot.apps]
