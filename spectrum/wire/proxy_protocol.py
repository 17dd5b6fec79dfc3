"""PROXY protocol versions 1 and 2, as written in HAProxy's doc/proxy-protocol.txt.

One `Header` for both versions. `parse` needs the bytes from the first byte of the connection (or datagram) and never
guesses: bytes that cannot become a header are an error, too few bytes are `None`. `v1_line` and `v2_block` are the two
serializers; the relay calls them directly with addresses it already has in wire form.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address

from spectrum.wire.address import paired_bytes, unmapped
from spectrum.wire.crc32c import crc32c

V1_PREFIX = b"PROXY "
V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

# Section 2.1: the longest line, "PROXY UNKNOWN" with two full IPv6 addresses, is 107 bytes with its CRLF.
MAX_V1_BYTES = 107
# The length field allows 65535. Known senders stay below 1 KiB; 4 KiB bounds the memory for an unknown peer.
MAX_V2_BYTES = 16 + 4096
# Section 2.2.5: "opaque byte sequence of up to 128 bytes".
MAX_UNIQUE_ID_BYTES = 128

_V2_PREFIX = struct.Struct("!12sBBH")
_V2_INET = struct.Struct("!4s4sHH")
_V2_INET6 = struct.Struct("!16s16sHH")
_V2_UNIX = struct.Struct("!108s108s")
_TLV_PREFIX = struct.Struct("!BH")
_FAMILY_UNSPEC, _FAMILY_INET, _FAMILY_INET6, _FAMILY_UNIX = 0x00, 0x10, 0x20, 0x30
_VERSION_2 = 0x20


class ProxyHeaderError(ValueError):
    """The bytes are not, and cannot become, a PROXY header; or a header cannot be written."""


class Command(IntEnum):
    """Section 2.2: LOCAL is a connection of the proxy itself (a health check), PROXY is on behalf of a client."""

    LOCAL = 0
    PROXY = 1


class Transport(IntEnum):
    """The client's transport. Version 1 has STREAM and UNSPEC ("UNKNOWN") only."""

    UNSPEC = 0
    STREAM = 1
    DGRAM = 2


class TlvType(IntEnum):
    """Registered types of section 2.2; TLVs of other types are kept."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    NETNS = 0x30


class SslClient(IntFlag):
    """Section 2.2.6: TLS of the client: whether it sent a certificate on this connection, or in its session."""

    SSL = 1
    CERT_CONN = 2
    CERT_SESS = 4


class SslPart(IntEnum):
    """Section 2.2.6: the parts of the SSL TLV."""

    VERSION = 0x21
    COMMON_NAME = 0x22
    CIPHER = 0x23
    SIGNATURE = 0x24
    KEY = 0x25


@dataclass(frozen=True, slots=True)
class UnixPath:
    """The path of a UNIX socket: up to 108 bytes, kept with its padding stripped."""

    path: bytes

    def __post_init__(self) -> None:
        if len(self.path) > 108 or self.path.endswith(b"\0"):
            raise ProxyHeaderError(f"a UNIX socket path is at most 108 bytes, without padding: {self.path!r}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of the client's connection: an address, unmapped, and its port (0 for a UNIX path)."""

    address: IPv4Address | IPv6Address | UnixPath
    port: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 0xFFFF:
            raise ProxyHeaderError(f"port {self.port} is not between 0 and 65535")
        if not isinstance(self.address, UnixPath):
            object.__setattr__(self, "address", unmapped(self.address))

    def __str__(self) -> str:
        if isinstance(self.address, UnixPath):
            return "unix:" + self.address.path.decode("utf-8", "backslashreplace")
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tlv:
    """One type-length-value of a version 2 header; `type` is a `TlvType` or any other number below 256."""

    type: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """A PROXY header.

    Attributes:
        version: 1 or 2.
        source: The client's end; None if the header has none (UNKNOWN, UNSPEC, LOCAL).
        destination: The end that the client connected to; None exactly if `source` is.
        command: LOCAL for the proxy's own connections; the receiver must then use the real peer address.
        transport: The client's transport protocol.
        tlvs: Version 2 only, in the order of the wire. A CRC32C entry is checked by `parse` and computed by
            `serialise`, whatever its value here.
    """

    version: int
    source: Endpoint | None = None
    destination: Endpoint | None = None
    command: Command = Command.PROXY
    transport: Transport = Transport.STREAM
    tlvs: tuple[Tlv, ...] = ()

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise ProxyHeaderError(f"PROXY protocol version {self.version} does not exist")
        if (self.source is None) != (self.destination is None):
            raise ProxyHeaderError("source and destination are given together or not at all")
        if self._names_unix(self.source) != self._names_unix(self.destination):
            raise ProxyHeaderError("source and destination are of different address families")
        if (self.source is None) != (self.transport is Transport.UNSPEC):
            raise ProxyHeaderError("a header without addresses has transport UNSPEC, and only that one")
        if self.version == 1:
            self._check_v1()
        else:
            for tlv in self.tlvs:
                _check_tlv(tlv)

    @staticmethod
    def _names_unix(end: Endpoint | None) -> bool:
        return end is not None and isinstance(end.address, UnixPath)

    def _check_v1(self) -> None:
        if self.tlvs:
            raise ProxyHeaderError("version 1 has no TLVs")
        if self.command is not Command.PROXY:
            raise ProxyHeaderError("version 1 has no LOCAL command; UNKNOWN says the same")
        if self.transport is Transport.DGRAM:
            raise ProxyHeaderError("version 1 is for TCP only")
        if self.source and isinstance(self.source.address, UnixPath):
            raise ProxyHeaderError("version 1 has no UNIX addresses")

    def tlv(self, kind: int) -> bytes | None:
        """Return the value of the first TLV of type `kind`, or None."""
        return next((tlv.value for tlv in self.tlvs if tlv.type == kind), None)

    def serialise(self) -> bytes:
        """Return the header's bytes.

        Raises:
            ProxyHeaderError: If the TLVs do not fit a header.
        """
        return self._serialise_v1() if self.version == 1 else self._serialise_v2()

    def _serialise_v1(self) -> bytes:
        if self.source is None or self.destination is None:
            return b"PROXY UNKNOWN\r\n"
        source, destination = self.source.address, self.destination.address
        assert not isinstance(source, UnixPath), "refused by _check_v1"
        assert not isinstance(destination, UnixPath), "refused by __post_init__"
        pair = paired_bytes(source.packed, destination.packed)
        family = IPv4Address if len(pair[0]) == 4 else IPv6Address
        texts = str(family(pair[0])), str(family(pair[1]))
        return v1_line(family is IPv6Address, *texts, self.source.port, self.destination.port)

    def _serialise_v2(self) -> bytes:
        family, addresses = self._v2_addresses()
        return v2_block(self.command, family | self.transport, addresses, pack_tlvs(self.tlvs))

    def _v2_addresses(self) -> tuple[int, bytes]:
        if self.source is None or self.destination is None:
            return _FAMILY_UNSPEC, b""
        source, destination = self.source.address, self.destination.address
        if isinstance(source, UnixPath) or isinstance(destination, UnixPath):
            assert isinstance(source, UnixPath), "same family: __post_init__"
            assert isinstance(destination, UnixPath), "same family: __post_init__"
            return _FAMILY_UNIX, _V2_UNIX.pack(source.path, destination.path)
        return _ip_addresses(source.packed, destination.packed, self.source.port, self.destination.port)


def v1_line(ipv6: bool, source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    """Return a version 1 TCP4 or TCP6 line (section 2.1) of addresses in text form."""
    return f"PROXY TCP{6 if ipv6 else 4} {source} {destination} {source_port} {destination_port}\r\n".encode("ascii")


def v2_header(
    transport: Transport, source: bytes, destination: bytes, source_port: int, destination_port: int, tlvs: bytes = b""
) -> bytes:
    """Return a version 2 header of a client; addresses are 4 or 16 bytes in network byte order."""
    family, addresses = _ip_addresses(source, destination, source_port, destination_port)
    return v2_block(Command.PROXY, family | transport, addresses, tlvs)


def _ip_addresses(source: bytes, destination: bytes, source_port: int, destination_port: int) -> tuple[int, bytes]:
    source, destination = paired_bytes(source, destination)
    family, layout = (_FAMILY_INET, _V2_INET) if len(source) == 4 else (_FAMILY_INET6, _V2_INET6)
    return family, layout.pack(source, destination, source_port, destination_port)


def v2_block(command: int, family_and_transport: int, addresses: bytes, tlvs: bytes = b"") -> bytes:
    """Return a version 2 header (section 2.2) of an address block and TLVs in wire form.

    A CRC32C entry among `tlvs` gets its checksum here.

    Raises:
        ProxyHeaderError: If header and TLVs are longer than `MAX_V2_BYTES`.
    """
    length = len(addresses) + len(tlvs)
    if 16 + length > MAX_V2_BYTES:
        raise ProxyHeaderError(f"a header of {16 + length} bytes is longer than the {MAX_V2_BYTES} that are accepted")
    block = _V2_PREFIX.pack(V2_SIGNATURE, _VERSION_2 | command, family_and_transport, length) + addresses + tlvs
    offset = _checksum_offset(tlvs)
    if offset is None:
        return block
    offset += 16 + len(addresses)
    zeroed = block[:offset] + bytes(4) + block[offset + 4 :]
    return block[:offset] + crc32c(zeroed).to_bytes(4, "big") + block[offset + 4 :]


def parse(data: bytes) -> tuple[Header, int] | None:
    """Return the header at the start of `data` and its length in bytes, or None when more bytes are needed.

    Raises:
        ProxyHeaderError: If no continuation of `data` could be a valid header.
    """
    if data.startswith(V1_PREFIX[: len(data)]):
        return _parse_v1(data)
    if data.startswith(V2_SIGNATURE[: len(data)]):
        return _parse_v2(data)
    raise ProxyHeaderError(f"not a PROXY header: {data[:16]!r}")


def _parse_v1(data: bytes) -> tuple[Header, int] | None:
    end = data.find(b"\r\n", 0, MAX_V1_BYTES)
    if end < 0 and len(data) >= MAX_V1_BYTES:
        raise ProxyHeaderError(f"no end of line within {MAX_V1_BYTES} bytes of a version 1 header")
    # A bare LF or a stray CR cannot be followed by anything valid: fail now, not at the deadline, and independent of
    # how the line is split into reads.
    line = data.removesuffix(b"\r") if end < 0 else data[:end]
    if b"\n" in line or b"\r" in line:
        raise ProxyHeaderError("a version 1 header ends with CR LF")
    if end < 0:
        return None
    words = data[len(V1_PREFIX) : end].split(b" ")
    if words[0] == b"UNKNOWN":
        return Header(1, transport=Transport.UNSPEC), end + 2
    if len(words) != 5 or words[0] not in (b"TCP4", b"TCP6"):
        raise ProxyHeaderError(f"not a version 1 header: {data[:end]!r}")
    family = IPv4Address if words[0] == b"TCP4" else IPv6Address
    source, destination = (_v1_address(family, word) for word in words[1:3])
    source_port, destination_port = (_v1_port(word) for word in words[3:5])
    return Header(1, Endpoint(source, source_port), Endpoint(destination, destination_port)), end + 2


def _v1_address(family: type[IPv4Address] | type[IPv6Address], word: bytes) -> IPv4Address | IPv6Address:
    try:
        # IPv6Address also accepts a scope ("%eth0"), which is meaningless on another host.
        if b"%" in word:
            raise ValueError("scoped")
        return family(word.decode("ascii"))
    except ValueError as exc:
        raise ProxyHeaderError(f"{word!r} is not an {family.__name__.removesuffix('Address')} address") from exc


def _v1_port(word: bytes) -> int:
    # Section 2.1: decimal, 0..65535, no leading zero ("exactly one character" for zero).
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 0xFFFF:
        raise ProxyHeaderError(f"{word!r} is not a port")
    return int(word)


def _parse_v2(data: bytes) -> tuple[Header, int] | None:
    if len(data) > 12 and (data[12] & 0xF0 != _VERSION_2 or data[12] & 0x0F > 1):
        raise ProxyHeaderError(f"version and command {data[12]:#04x}: only 0x20 (LOCAL) and 0x21 (PROXY) exist")
    if len(data) > 13 and (data[13] & 0xF0 > _FAMILY_UNIX or data[13] & 0x0F > Transport.DGRAM):
        raise ProxyHeaderError(f"family and transport {data[13]:#04x} do not exist")
    if len(data) < 16:
        return None
    _, version_command, family_transport, length = _V2_PREFIX.unpack_from(data)
    if 16 + length > MAX_V2_BYTES:
        raise ProxyHeaderError(f"a header of {16 + length} bytes is longer than the {MAX_V2_BYTES} that are accepted")
    command = Command(version_command & 0x0F)
    size = _address_size(command, family_transport)
    if length < size:
        raise ProxyHeaderError(f"{length} bytes are too few for addresses of {size} bytes")
    if len(data) < 16 + length:
        return None
    data = data[: 16 + length]
    tlvs = _parse_tlvs(data, 16 + size) if size or command is Command.PROXY else ()
    _check_checksum(data, 16 + size, tlvs)
    if not size:
        return Header(2, command=command, transport=Transport.UNSPEC, tlvs=tlvs), len(data)
    source, destination = _v2_endpoints(data, family_transport & 0xF0)
    return Header(2, source, destination, command, Transport(family_transport & 0x0F), tlvs), len(data)


def _address_size(command: Command, family_transport: int) -> int:
    """Return the bytes of the address block; 0 where section 2.2 tells the receiver to ignore it."""
    family, transport = family_transport & 0xF0, family_transport & 0x0F
    if command is Command.LOCAL or family == _FAMILY_UNSPEC or transport == Transport.UNSPEC:
        return 0
    return {_FAMILY_INET: _V2_INET.size, _FAMILY_INET6: _V2_INET6.size, _FAMILY_UNIX: _V2_UNIX.size}[family]


def _v2_endpoints(data: bytes, family: int) -> tuple[Endpoint, Endpoint]:
    if family == _FAMILY_UNIX:
        source, destination = _V2_UNIX.unpack_from(data, 16)
        return Endpoint(UnixPath(source.rstrip(b"\0"))), Endpoint(UnixPath(destination.rstrip(b"\0")))
    layout, address = (_V2_INET, IPv4Address) if family == _FAMILY_INET else (_V2_INET6, IPv6Address)
    source, destination, source_port, destination_port = layout.unpack_from(data, 16)
    return Endpoint(address(source), source_port), Endpoint(address(destination), destination_port)


def _parse_tlvs(data: bytes, offset: int) -> tuple[Tlv, ...]:
    tlvs = []
    while offset < len(data):
        if offset + 3 > len(data):
            raise ProxyHeaderError(f"{len(data) - offset} bytes after the last TLV")
        kind, length = _TLV_PREFIX.unpack_from(data, offset)
        offset += 3
        if offset + length > len(data):
            raise ProxyHeaderError(f"TLV {kind:#04x} of {length} bytes runs past the header")
        tlvs.append(Tlv(kind, data[offset : offset + length]))
        offset += length
    return tuple(tlvs)


def pack_tlvs(tlvs: Iterable[Tlv]) -> bytes:
    """Return the TLVs in wire form, as `v2_header` takes them."""
    return b"".join(_TLV_PREFIX.pack(tlv.type, len(tlv.value)) + tlv.value for tlv in tlvs)


def unpack_tlvs(data: bytes) -> tuple[Tlv, ...]:
    """Return the TLVs in wire form, unpacked.

    Raises:
        ProxyHeaderError: If a TLV is longer than the rest.
    """
    return _parse_tlvs(data, 0)


def ssl_tlv(
    client: SslClient, version: bytes, cipher: bytes, common_name: bytes = b"", signature: bytes = b"", key: bytes = b""
) -> Tlv:
    """Return the SSL TLV of section 2.2.6 for a client whose certificate, if any, was verified.

    Args:
        client: Its flags.
        version: The TLS version, such as TLSv1.3.
        cipher: The cipher, such as TLS_AES_256_GCM_SHA384.
        common_name: The common name of the client's certificate.
        signature: The signature algorithm of the edge's certificate.
        key: The kind of the edge's key, such as RSA2048.
    """
    parts = (
        (SslPart.VERSION, version),
        (SslPart.COMMON_NAME, common_name),
        (SslPart.CIPHER, cipher),
        (SslPart.SIGNATURE, signature),
        (SslPart.KEY, key),
    )
    packed = pack_tlvs(Tlv(kind, value) for kind, value in parts if value)
    # The word is zero if a certificate was sent and verified, "and non-zero otherwise".
    verified = SslClient.CERT_SESS in client
    return Tlv(TlvType.SSL, bytes([client, 0, 0, 0, not verified]) + packed)


def _checksum_offset(tlvs: bytes) -> int | None:
    """Return the offset of the first CRC32C value within packed TLVs."""
    offset = 0
    while offset + 3 <= len(tlvs):
        kind, length = _TLV_PREFIX.unpack_from(tlvs, offset)
        if kind == TlvType.CRC32C:
            return offset + 3
        offset += 3 + length
    return None


def _check_checksum(data: bytes, tlvs_at: int, tlvs: tuple[Tlv, ...]) -> None:
    sent = next((tlv.value for tlv in tlvs if tlv.type == TlvType.CRC32C), None)
    if sent is None:
        return
    if len(sent) != 4:
        raise ProxyHeaderError(f"a CRC32C is 4 bytes, not {len(sent)}")
    offset = _checksum_offset(data[tlvs_at:])
    assert offset is not None, "the TLV was found by _parse_tlvs"
    offset += tlvs_at
    if crc32c(data[:offset] + bytes(4) + data[offset + 4 :]).to_bytes(4, "big") != sent:
        raise ProxyHeaderError("the header's CRC32C does not match its bytes")


def _check_tlv(tlv: Tlv) -> None:
    if not 0 <= tlv.type <= 0xFF or len(tlv.value) > 0xFFFF:
        raise ProxyHeaderError(f"TLV {tlv.type:#04x} of {len(tlv.value)} bytes cannot be written")
    match tlv.type:
        case TlvType.CRC32C if len(tlv.value) != 4:
            raise ProxyHeaderError(f"a CRC32C is 4 bytes, not {len(tlv.value)}")
        case TlvType.UNIQUE_ID if len(tlv.value) > MAX_UNIQUE_ID_BYTES:
            raise ProxyHeaderError(f"a unique id is at most {MAX_UNIQUE_ID_BYTES} bytes, not {len(tlv.value)}")
        case TlvType.ALPN if not tlv.value:
            raise ProxyHeaderError("an ALPN protocol name is not empty")
        case TlvType.AUTHORITY:
            _check_authority(tlv.value)
        case TlvType.SSL if len(tlv.value) < 5:
            raise ProxyHeaderError("an SSL TLV has a client byte and a verify word")
        case _:
            pass


def _check_authority(value: bytes) -> None:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ProxyHeaderError("an authority (host name) is UTF-8") from exc
