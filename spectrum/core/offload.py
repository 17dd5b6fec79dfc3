"""`udp_offload`: the kernel moves the datagrams of known flows by itself, where it can."""

from typing import Annotated

from pydantic import BeforeValidator

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import AsTuple, Strict, switch


class UdpOffload(Strict):
    """`udp_offload`: the kernel moves the datagrams of known flows by itself, where it can."""

    # Where datagrams of clients and origins come in; none: on every interface with Ethernet headers.
    interfaces: Annotated[tuple[str, ...], AsTuple] = ()


class OffloadKeys(Strict):
    """At the top of the file."""

    udp_offload: Annotated[UdpOffload | None, BeforeValidator(switch)] = None


OFFLOAD = Feature("offload")
