"""`bindings` of an app: the kernel steers packets to prefixes to it, by sk_lookup."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Feature, Misfit
from spectrum.core.configuration.fields import AsTuple, Network, Shown, Strict

if TYPE_CHECKING:
    from spectrum.core.configuration.config import App, Config


class BindingTo(Strict):
    """One of `bindings` of an app: the kernel steers packets to a prefix to it, by sk_lookup."""

    prefix: Network = Field(
        description="the destinations",
    )
    port: Annotated[int | None, Shown(default="the app's ports")] = Field(
        None,
        ge=0,
        le=65535,
        description="the port; 0 is any",
    )


class BindingKeys(Strict):
    """In an app."""

    bindings: Annotated[tuple[BindingTo, ...], AsTuple] = Field(
        (),
        description="prefixes that the kernel steers to the app, see [Bindings](bindings.md#apps). Without "
        "`edge_ips` it has no other listeners",
    )


def binding_faults(apps: Mapping[str, "App"]) -> Iterator[Fault]:
    """Yield each prefix and port that is bound twice."""
    taken: dict[tuple[str, object, int], str] = {}
    for name, app in apps.items():
        for i, binding in enumerate(app.bindings):
            for port in app.ports_of(binding):
                earlier = taken.setdefault((app.protocol.transport, binding.prefix, port), name)
                if earlier != name:
                    what = f"{binding.prefix} port {port or 'any'}"
                    yield Fault(("apps", name, "bindings", i), f"{what} is bound to app {earlier}")
                    break


def binding_misfits(app: "App") -> Iterator[Misfit]:
    """Yield settings that contradict bindings."""
    if app.bindings and app.is_named:
        yield ("bindings",), "not possible together with sni and alpn, by which apps share a port"
    if app.bindings and app.protocol.transport == "udp" and app.accept_proxy_protocol is not None:
        yield (
            ("accept_proxy_protocol",),
            "over UDP it is not possible together with bindings, which receive datagrams of clients directly",
        )


def _check(config: "Config", surroundings: CheckContext) -> Iterator[Fault]:
    return binding_faults(config.apps)


def _compile_app(app: "App") -> Mapping[str, Any]:
    return {"bindings": tuple((str(one.prefix), port) for one in app.bindings for port in app.ports_of(one))}


BINDINGS = Feature("bindings", check=_check, misfits=binding_misfits, compile_app=_compile_app)
