"""The apps in `spectrum status`."""

from typing import Any

import msgspec

from spectrum.core.names import name_key, parse_service
from spectrum.core.records.measures import DROPS, AppMeasures, OriginMeasures
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import AppSettings, Snapshot
from spectrum.link.encoding import encode

_JSON = msgspec.json.Encoder()


def apps_json(
    snapshot: Snapshot,
    measured: dict[str, AppMeasures],
    names: dict[str, tuple[str, ...]],
    failures: dict[str, str],
) -> msgspec.Raw:
    """Return the status of every app, in the order of the file, as a list in JSON.

    Each status is freed when it is written. As objects, those of 10,000 apps would hold the interpreter's lock for
    10 ms when they are freed.
    """
    statuses = (app_status(app, measured.get(app.name) or AppMeasures(), names, failures) for app in snapshot.apps)
    return msgspec.Raw(b"[" + b",".join([encode(_JSON, one) for one in statuses]) + b"]")


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
        "paused": app.paused,
        "listens_on": addresses,
        "listeners": sum(1 for _ in app.listeners()),
        "proxy_protocol": app.proxy_protocol,
        "sessions": measures.active,
        "sessions_started": measures.started,
        **_queue(measures),
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


def _queue(measures: AppMeasures) -> dict[str, Any]:
    if not measures.queued:
        return {}
    return {"queued": measures.queued, "queue_wait_s": round(measures.queue_wait_s, 3)}


def _handshakes(app: AppSettings, measures: AppMeasures) -> dict[str, Any]:
    if app.tls is None:
        return {}
    full = measures.handshakes - measures.resumed
    return {"tls": app.tls.mode, "tls_handshakes": {"full": full, "resumed": measures.resumed}}


def _origins(app: AppSettings, measures: AppMeasures, names: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return the configured origins, and former ones that still have sessions."""
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
            **({"preconnected": max(found.preconnected, 0)} if found.preconnects else {}),
        }
        for name, found in counted.items()
    ]


def _host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
