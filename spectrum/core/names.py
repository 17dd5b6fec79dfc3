"""Names that must be looked up, as supervisor and workers call them."""

import msgspec


class NameSettings(msgspec.Struct, frozen=True, array_like=True):
    """A name to look up: "A", "AAAA" or "" for both, seconds until the next look, the origin's ports.

    `transport` is what will be sent there.
    """

    name: str
    type: str
    ttl_s: float
    first_port: int
    last_port: int
    transport: str = "tcp"


def name_key(settings: NameSettings) -> str:
    """Return the key under which the addresses of a name travel to the workers."""
    return f"{settings.type or 'ANY'} {settings.name} {settings.transport} {settings.first_port}-{settings.last_port}"
