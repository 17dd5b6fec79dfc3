"""What do these bytes say? Pure codecs of the protocols that tell an origin who its client is."""

from spectrum.wire.proxy_protocol import (
    Command,
    Endpoint,
    Header,
    ProxyHeaderError,
    Tlv,
    TlvType,
    Transport,
    UnixPath,
    parse,
)

__all__ = [
    "Command",
    "Endpoint",
    "Header",
    "ProxyHeaderError",
    "Tlv",
    "TlvType",
    "Transport",
    "UnixPath",
    "parse",
]
