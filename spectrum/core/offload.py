"""`udp_offload`: the kernel forwards the datagrams of established flows, if it can."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import AsTuple, Shown, Strict, switch


class UdpOffload(Strict):
    """`udp_offload`: the kernel forwards the datagrams of established flows, if it can."""

    interfaces: Annotated[tuple[str, ...], AsTuple, Shown(default="all with Ethernet headers")] = Field(
        (),
        description="the interfaces on which datagrams of clients and origins arrive",
    )


class OffloadKeys(Strict):
    """At the top of the file."""

    udp_offload: Annotated[UdpOffload | None, BeforeValidator(switch)] = Field(
        None,
        description="the kernel forwards the datagrams of established flows itself: [UDP in the kernel](offload.md)",
    )


OFFLOAD = Feature("offload")
