"""`udp_offload`: the kernel moves the datagrams of known flows by itself, where it can."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import AsTuple, Strict


class UdpOffload(Strict):
    """`udp_offload`: the kernel moves the datagrams of known flows by itself, where it can."""

    # Where datagrams of clients and origins come in; none: on every interface with Ethernet headers.
    interfaces: Annotated[tuple[str, ...], AsTuple] = ()


def _switch(value: Any) -> Any:
    """Let `true` stand for a section with nothing in it."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class OffloadKeys(Strict):
    """At the top of the file."""

    udp_offload: Annotated[UdpOffload | None, BeforeValidator(_switch)] = None


OFFLOAD = Feature("offload")
