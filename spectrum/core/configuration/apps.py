"""The feature that every file has: apps, with listeners and origins, and the daemon's own settings."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

from spectrum.core.address import PortRange
from spectrum.core.configuration.checks import app_misfits, check_apps
from spectrum.core.configuration.config import App, Config, OriginDns
from spectrum.core.configuration.feature import Feature, Named, Section
from spectrum.core.names import NameSettings

# Deadline for a ClientHello; nginx's preread_timeout is 30 s, and an idle connection costs as much as a session.
HELLO_TIMEOUT_S = 5.0


def _compile(config: Config, numbers: Mapping[str, int]) -> Mapping[str, Any]:
    return {
        "busy_poll_us": round(config.busy_poll_s * 1_000_000),
        "drain_timeout_s": config.drain_timeout_s,
    }


def _compile_name(dns: OriginDns, ports: PortRange | None, transport: str) -> NameSettings:
    first, last = (ports.first, ports.last) if ports else (0, 0)
    return NameSettings(dns.name, dns.type, dns.ttl_s, first, last, transport)


def _compile_app(app: App) -> Mapping[str, Any]:
    accept, dns, keepalive = app.accept_proxy_protocol, app.looked_up, app.keepalive
    return {
        "protocol": str(app.protocol),
        "transport": app.protocol.transport,
        "addresses": tuple(map(str, app.addresses)),
        "first_port": app.protocol.ports.first,
        "last_port": app.protocol.ports.last,
        "origins": tuple((str(origin.address), origin.ports.first) for origin in app.origin_direct or ()),
        "origin_name": _compile_name(dns, app.origin_port, app.protocol.transport) if dns else None,
        "origin_port": app.origin_port.first if dns and app.origin_port else 0,
        "proxy_protocol": app.proxy_protocol,
        "header_datagram": app.proxy_header_datagram,
        "spp_replies": app.spp_replies,
        "origin_socket": app.origin_socket,
        "trusted": tuple(map(str, accept.trusted)) if accept else None,
        "header_timeout_s": accept.timeout_s if accept else HELLO_TIMEOUT_S,
        "connect_timeout_s": app.timeouts.connect_s,
        "idle_timeout_s": app.idle_timeout_s,
        "keepalive_idle_s": keepalive.idle_s,
        "keepalive_interval_s": keepalive.interval_s,
        "keepalive_count": keepalive.count,
        "user_timeout_ms": keepalive.user_timeout_ms,
        "source_addresses": tuple(map(str, app.source_ips)),
        "load_balancer": app.load_balancer or "",
        "on_remove": app.on_remove,
        "drain_pace": app.drain_pace,
        "transparent": app.source == "client",
        "sni": app.sni,
        "alpn": app.alpn,
        "fragments": app.fragments,
    }


def _refers_to(app: App) -> Iterator[Named]:
    if app.load_balancer is not None:
        yield "load_balancers", app.load_balancer
    yield from (("certificates", name) for name in app.edge_tls.certificates or ())
    if app.origin_tls.certificate is not None:
        yield "certificates", app.origin_tls.certificate


APPS = Feature(
    "apps",
    sections=(Section("apps", "app", App, _refers_to, attrgetter("ip_firewall", "dns")),),
    fixed=("user", "seccomp", "workers", "metrics", "control", "kernel", "max_flows"),
    check=check_apps,
    misfits=app_misfits,
    compile=_compile,
    compile_app=_compile_app,
)
