"""`tproxy` of an app: it receives packets to any address of some prefixes, by nftables."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Feature, Misfit
from spectrum.core.configuration.fields import AsTuple, Network, Strict

if TYPE_CHECKING:
    from spectrum.core.configuration.config import App, Config


class Tproxy(Strict):
    """`tproxy` of an app: it receives packets to any address of some prefixes, by nftables."""

    port: int = Field(
        ge=1,
        le=65535,
        description="the port of the one socket that receives the packets",
    )
    prefixes: Annotated[tuple[Network, ...], AsTuple] = Field(
        min_length=1,
        description="the destinations; this machine need not have these addresses",
    )


class TproxyKeys(Strict):
    """In an app."""

    tproxy: Tproxy | None = Field(
        None,
        description="instead of `edge_ips`: every address of some prefixes, see [Transparent "
        "proxying](transparent.md#any-address-of-a-prefix-tproxy)",
    )


def tproxy_faults(apps: Mapping[str, "App"]) -> Iterator[Fault]:
    """Yield conflicts between TPROXY and other apps."""
    earlier: dict[str, App] = {}
    listening = {name: app for name, app in apps.items() if app.tproxy is None}
    for name, app in apps.items():
        if app.tproxy is None:
            continue
        for i, prefix in enumerate(app.tproxy.prefixes):
            path = ("apps", name, "tproxy", "prefixes", i)
            for other_name, other in earlier.items():
                if _collide(app, other) and _takes(other, prefix):
                    yield Fault(path, f"{prefix} and these ports are taken by app {other_name}")
            for other_name, other in listening.items():
                if _collide(app, other) and any(address in prefix for address in other.edge_ips or ()):
                    yield Fault(
                        path, f"{prefix} contains an address of app {other_name}, which would receive nothing there"
                    )
        earlier[name] = app


def _collide(one: "App", other: "App") -> bool:
    return _meet(one, other) and not one.shares_with(other)


def _takes(app: "App", prefix: IPv4Network | IPv6Network) -> bool:
    return app.tproxy is not None and any(
        prefix.overlaps(theirs) for theirs in app.tproxy.prefixes if theirs.version == prefix.version
    )


def _meet(one: "App", other: "App") -> bool:
    """Return whether two apps share a port of a transport."""
    mine, theirs = one.protocol, other.protocol
    return mine.transport == theirs.transport and (
        mine.ports.first <= theirs.ports.last and theirs.ports.first <= mine.ports.last
    )


def tproxy_misfits(app: "App") -> Iterator[Misfit]:
    """Yield settings that contradict TPROXY."""
    if app.tproxy is None:
        return
    if "edge_ips" in app.model_fields_set:
        yield ("edge_ips",), "tproxy has its own prefixes; omit edge_ips"
    if app.bindings:
        yield ("bindings",), "not possible together with tproxy, which serves the same purpose"
    if app.protocol.transport == "udp" and app.accept_proxy_protocol is not None:
        yield (
            ("accept_proxy_protocol",),
            "over UDP it is not possible together with tproxy, which receives datagrams of clients directly",
        )


def _check(config: "Config", surroundings: CheckContext) -> Iterator[Fault]:
    return tproxy_faults(config.apps)


def _compile_app(app: "App") -> Mapping[str, Any]:
    if app.tproxy is None:
        return {}
    return {"tproxy_port": app.tproxy.port, "tproxy_prefixes": tuple(map(str, app.tproxy.prefixes))}


TPROXY = Feature("tproxy", check=_check, misfits=tproxy_misfits, compile_app=_compile_app)
