"""`udp_offload`: the kernel forwards the datagrams of established flows, if it can."""

from typing import Annotated

from pydantic import BeforeValidator

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import AsTuple, Strict, switch


class UdpOffload(Strict):
    """`udp_offload`: the kernel forwards the datagrams of established flows, if it can."""

    # The interfaces on which datagrams of clients and origins arrive; none: all with Ethernet headers.
    interfaces: Annotated[tuple[str, ...], AsTuple] = ()


class OffloadKeys(Strict):
    """At the top of the file."""

    udp_offload: Annotated[UdpOffload | None, BeforeValidator(switch)] = None


OFFLOAD = Feature("offload")
