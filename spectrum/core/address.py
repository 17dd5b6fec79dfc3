"""Addresses, ports and port ranges in text form."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from spectrum.wire.address import IPAddress, unmapped

# A name as RFC 1123 section 2.1 has it, with underscores for SRV labels and an optional final dot.
_NAME = re.compile(
    r"(?=.{1,254}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?"
)
_OTHER_ADDRESS = "write another address of the host"
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


class ZoneError(ValueError):
    """An address with a zone, which is valid on one link only (RFC 4007); the message quotes it."""


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """The ports `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Protocol:
    """An app's `protocol`: a transport and the ports it listens on."""

    transport: str
    ports: PortRange

    def __str__(self) -> str:
        return f"{self.transport}/{self.ports}"


@dataclass(frozen=True, slots=True)
class OriginAddress:
    """One entry of `origin_direct`."""

    transport: str
    address: IPAddress
    ports: PortRange

    def __str__(self) -> str:
        return f"{self.transport}://{host_text(self.address)}:{self.ports}"


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An address and one port."""

    address: IPAddress
    port: int

    def overlaps(self, other: "SocketAddress") -> bool:
        """Return whether only one of two sockets can listen, each for one family (bind(2), EADDRINUSE)."""
        if self.port != other.port or self.address.version != other.address.version:
            return False
        return self.address == other.address or self.address.is_unspecified or other.address.is_unspecified

    def __str__(self) -> str:
        return f"{host_text(self.address)}:{self.port}"


def host_text(address: IPAddress) -> str:
    """Return the address in the form before `:port`: IPv6 in brackets."""
    return f"[{address}]" if address.version == 6 else str(address)


def parse_address(text: str) -> IPAddress:
    """Return the address, unmapped.

    Raises:
        ValueError: If `text` is not an IPv4 or IPv6 address, or has a zone; the message quotes it.
    """
    try:
        address = ip_address(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not an IP address") from exc
    if address.version == 6 and address.scope_id is not None:
        raise ZoneError(f"{text!r}: addresses with a zone (%{address.scope_id}) are not supported; {_OTHER_ADDRESS}")
    return unmapped(address)


def parse_local_address(text: str) -> IPAddress:
    """Return an address that a socket can be bound or connected to, unmapped.

    Link-local IPv6 addresses are refused: they need a zone (RFC 4007, section 6), which snapshots, flows and records do
    not have.

    Raises:
        ValueError: As `parse_address`, and for a link-local IPv6 address.
    """
    address = parse_address(text)
    if address.version == 6 and address.is_link_local:
        raise ZoneError(f"{text!r}: link-local IPv6 addresses are not supported; {_OTHER_ADDRESS}")
    return address


def parse_reachable_address(text: str) -> IPAddress:
    """Return the address of a host, unmapped.

    Raises:
        ValueError: As `parse_local_address`, and for addresses that are not reachable.
    """
    address = parse_local_address(text)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text!r}: {address} is not reachable")
    return address


def parse_ports(text: str | int) -> PortRange:
    """Return the range of `22`, "22" or "8000-8009".

    Raises:
        ValueError: If it is not a port or a range between 1 and 65535.
    """
    match = _PORTS.fullmatch(str(text))
    if match is None:
        raise ValueError(f'{text!r} is not a port or a range of ports; write 22 or "8000-8009"')
    first, last = int(match[1]), int(match[2] or match[1])
    if not (1 <= first <= 65535 and 1 <= last <= 65535):
        raise ValueError(f"{text!r}: ports are between 1 and 65535")
    if last < first:
        raise ValueError(f"{text!r} ends before it begins; write {last}-{first}")
    return PortRange(first, last)


def parse_protocol(text: str) -> Protocol:
    """Return the transport and ports of "tcp/22" or "tcp/8000-8009".

    Raises:
        ValueError: If it is something else.
    """
    transport, slash, ports = text.partition("/")
    if not slash or transport not in ("tcp", "udp"):
        raise ValueError(f"{text!r} is not a protocol; write tcp/22 or tcp/8000-8009")
    return Protocol(transport, parse_ports(ports))


def parse_origin(text: str) -> OriginAddress:
    """Return the origin of "tcp://192.0.2.1:22" or "tcp://[2001:db8::1]:3000-4000".

    Raises:
        ValueError: If it is something else; a host name is pointed to `origin_dns`.
    """
    transport, separator, rest = text.partition("://")
    if not separator or transport not in ("tcp", "udp"):
        raise ValueError(f"{text!r} is not an origin; write tcp://192.0.2.1:22 or tcp://[2001:db8::1]:22")
    host, colon, ports = rest.rpartition(":")
    if not colon or host.endswith(":") or (host.startswith("[") and not host.endswith("]")):
        raise ValueError(f"{text!r} has no port; write {transport}://{rest}:22")
    bracketed = host.startswith("[")
    if is_name(host):
        raise ValueError(
            f"{text!r} names a host; origin_direct takes addresses: use origin_dns: {{name: {host}}} and origin_port"
        )
    written = host[1:-1] if bracketed else host
    address = parse_address(written)
    if bracketed != (":" in written):
        raise ValueError(f"{text!r}: an IPv6 address, and no other, is written in brackets")
    return OriginAddress(transport, parse_reachable_address(str(address)), parse_ports(ports))


def parse_socket_address(text: str) -> SocketAddress:
    """Return the address, unmapped, and the port of "127.0.0.1:9090" or "[::1]:9090".

    Raises:
        ValueError: If it is something else.
    """
    host, _, port = text.rpartition(":")
    try:
        address = parse_local_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        ports = parse_ports(port)
    except ZoneError:
        raise
    except ValueError as exc:
        raise ValueError(f"{text!r} is not an address and port; write 127.0.0.1:9090 or [::1]:9090") from exc
    if len(ports) != 1:
        raise ValueError(f"{text!r}: one port, not a range")
    return SocketAddress(address, ports.first)


def is_name(text: str) -> bool:
    """Return whether `text` could be a host name: labels of RFC 1123, not all digits at the end."""
    return _NAME.fullmatch(text) is not None and not text.rstrip(".").rpartition(".")[2].isdigit()
