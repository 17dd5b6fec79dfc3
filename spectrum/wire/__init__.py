"""Pure codecs of the protocols that carry the client's address to an origin."""

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
