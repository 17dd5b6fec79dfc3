"""Pure codecs of the protocols that name the client to an origin."""

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
