"""Checks of limits against the transport of their app, and the number of workers."""

from collections.abc import Iterator, Mapping
from typing import Any

from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Feature, Misfit
from spectrum.core.limits.objects import MIN_MEMORY


def check_limits(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield the faults of the node's limits."""
    if config.workers and config.limits.memory < config.workers * MIN_MEMORY:
        least = f"{config.workers * MIN_MEMORY // 2**20}MiB for {config.workers} workers"
        yield Fault(("limits", "memory"), f"at least {least}: one read is half a MiB, and each worker has its share")


def limit_misfits(app: App) -> Iterator[Misfit]:
    """Yield the limits that an app's transport does not support."""
    udp = app.protocol.transport == "udp"
    if udp and app.limits.action == "delay":
        yield ("limits", "action"), "delay is for TCP; datagrams cannot be delayed"
    of = (
        (("limits",), app.limits),
        (("limits", "client"), app.limits.client),
        (("limits", "prefix"), app.limits.prefix),
    )
    for path, limits in of:
        if udp and limits.sessions is not None:
            yield (*path, "sessions"), "a UDP app has flows; write flows"
        if not udp and limits.datagrams_per_second is not None:
            yield (*path, "datagrams_per_second"), "it is for UDP; a TCP app has bytes_per_second"
        if not udp and limits.flows is not None:
            yield (*path, "flows"), "a TCP app has sessions; write sessions"


def _compile(config: Config, numbers: Mapping[str, int]) -> Mapping[str, Any]:
    limits = config.limits
    return {
        "tcp_limits": limits.for_transport("tcp"),
        "udp_limits": limits.for_transport("udp"),
        "memory_bytes": limits.memory,
    }


def _compile_app(app: App) -> Mapping[str, Any]:
    return {"limits": app.limits.for_transport(app.protocol.transport), "paces": app.limits.paces}


LIMITS = Feature(
    "limits",
    fixed=("limits.client_prefix", "limits.prefix_length"),
    check=check_limits,
    misfits=limit_misfits,
    compile=_compile,
    compile_app=_compile_app,
)
