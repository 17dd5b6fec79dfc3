"""DNS names of origins, in the supervisor and in workers."""

from typing import NamedTuple

import msgspec


class NameSettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A name to look up.

    Attributes:
        name: The name.
        type: "A", "AAAA", "" for both, or "SRV".
        ttl_s: The maximum number of seconds between look-ups.
        first_port: The origin's first port; 0 for SRV, whose records have the port.
        last_port: Its last one.
        transport: The transport, "tcp" or "udp".
    """

    name: str
    type: str
    ttl_s: float
    first_port: int
    last_port: int
    transport: str = "tcp"


def name_key(settings: NameSettings) -> str:
    """Return the key under which the addresses of a name are sent to workers."""
    return f"{settings.type or 'ANY'} {settings.name} {settings.transport} {settings.first_port}-{settings.last_port}"


class Service(NamedTuple):
    """An address of an SRV record's target (RFC 2782).

    As text, for workers, it is the record's data with the address instead of the target: "10 60 5060 192.0.2.1".

    Attributes:
        priority: The lowest is tried first.
        weight: Its share among equals; several addresses of a target divide its share.
        port: The port.
        address: An IP address.
    """

    priority: int
    weight: float
    port: int
    address: str

    def __str__(self) -> str:
        return f"{self.priority} {self.weight:g} {self.port} {self.address}"


def parse_service(text: str) -> Service:
    """Parse the text of a service."""
    priority, weight, port, address = text.split(" ")
    return Service(int(priority), float(weight), int(port), address)


def service_domain(name: str) -> str:
    """Return the domain of an SRV record's name: example.org of _imap._tcp.example.org."""
    labels = name.split(".")
    return ".".join(labels[next((i for i, label in enumerate(labels) if not label.startswith("_")), 0) :])
