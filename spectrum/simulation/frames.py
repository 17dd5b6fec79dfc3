"""Ethernet frames of packets in columns: headers with valid checksums, then the payload.

Only the begin of a frame is built (`HEAD_BYTES` at most): after the first eight bytes of a payload there are zeros,
which do not affect checksums, and which all frames share.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from spectrum.core.ddos.packets import FIRST_FRAGMENT, LATER_FRAGMENT, WHOLE, Packets
from spectrum.simulation.normal import GRE, ICMP, TCP, UDP

Octets = NDArray[np.uint8]

LINK_BYTES = 14
# Ethernet, IPv6, its fragment header, TCP with most options, 8 bytes of payload; in whole words.
HEAD_BYTES = 136
LONGEST_BYTES = 65535
_ICMP_V6, _FRAGMENT_HEADER = 58, 44
_TYPES = {4: 0x0800, 6: 0x86DD}
_MORE_FRAGMENTS, _DONT_FRAGMENT = 0x2000, 0x4000
# Offset of later fragments, in units of eight bytes: 1,480 bytes.
_LATER_AT = 185
# The length of the datagram of a first fragment.
_WHOLE_UDP_BYTES = 3000
# TCP options of stacks, by the hash in column `options`.
_MSS, _SACK_OK, _SCALE, _NOP, _END = b"\2\4\5\xb4", b"\4\2", b"\3\3\7", b"\1", b"\0"
_TIMES = b"\x08\x0a\0\1\2\3\0\0\0\0"
OPTIONS = {
    0x02000000: _MSS,
    0x0101080A: _NOP * 2 + _TIMES,
    0x51A10001: _MSS + _SACK_OK + _TIMES + _NOP + _SCALE,
    0x51A10002: _MSS + _NOP + _SCALE + _NOP * 2 + _TIMES + _SACK_OK + _END * 2,
    0x51A10003: _MSS + _NOP + _SCALE + _NOP * 2 + _SACK_OK,
    0x51A10004: _MSS + _NOP * 2 + _SACK_OK,
    0x51A10005: _MSS + _NOP + _SCALE + _SACK_OK + _NOP * 2,
    0x51A10006: _MSS + _SACK_OK + _TIMES + _NOP + b"\3\3\5",
}


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames to send.

    Attributes:
        heads: Their first bytes, a row each.
        head_bytes: The used bytes of each row.
        frame_bytes: The length of each frame; zeros follow the head.
    """

    heads: Octets
    head_bytes: NDArray[np.int64]
    frame_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.heads)

    def __getitem__(self, place: int) -> bytes:
        """Return a whole frame."""
        head = self.heads[place, : self.head_bytes[place]].tobytes()
        return head.ljust(int(self.frame_bytes[place]), b"\0")


def build(packets: Packets, link: bytes, chance: Generator) -> Frames:
    """Return the frames of packets, in order.

    TCP segments without payload have the length of their headers and options, and every packet has at least the length
    of its headers; otherwise the lengths are those of the column.

    Args:
        packets: The packets.
        link: Link addresses: the destination's, then the source's.
        chance: For identifications of IPv6 fragments, which have no column.
    """
    count = len(packets)
    heads = np.zeros((count, HEAD_BYTES), np.uint8)
    head_bytes, frame_bytes = np.zeros(count, np.int64), np.zeros(count, np.int64)
    kinds = np.stack([packets[name].astype(np.int64) for name in ("version", "protocol", "fragment", "options")])
    kinds = np.concatenate([kinds, (packets["payload_bytes"] > 0)[None].astype(np.int64)])
    found, which = np.unique(kinds, axis=1, return_inverse=True)
    for number, (version, protocol, fragment, options, has_payload) in enumerate(found.T.tolist()):
        rows = np.flatnonzero(which.ravel() == number)
        made, lengths = _Layout(version, protocol, fragment, OPTIONS.get(options, b""), bool(has_payload)).build(
            packets.where(rows), link, chance
        )
        heads[rows, : made.shape[1]] = made
        head_bytes[rows], frame_bytes[rows] = made.shape[1], lengths
    return Frames(heads, head_bytes, frame_bytes)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Packets with the same layout of headers."""

    version: int
    protocol: int
    fragment: int
    options: bytes
    has_payload: bool

    @property
    def _next(self) -> int:
        return _ICMP_V6 if self.version == 6 and self.protocol == ICMP else self.protocol

    def build(self, packets: Packets, link: bytes, chance: Generator) -> tuple[Octets, NDArray[np.int64]]:
        payload = _octets(packets["payload"], 8) if self.has_payload else _octets(packets["payload"], 0)
        transport = self._transport(packets, payload)
        is_split = self.version == 6 and self.fragment != WHOLE
        network = (20 if self.version == 4 else 40) + 8 * is_split
        lengths = np.maximum(packets["length"].astype(np.int64), network + transport.shape[1])
        if self.protocol == TCP and not self.has_payload:
            lengths[:] = network + transport.shape[1]
        header = self._four(packets, lengths) if self.version == 4 else self._six(packets, lengths, chance)
        self._check(header, transport, lengths - network)
        ethernet = link + _TYPES[self.version].to_bytes(2, "big")
        return np.concatenate([_same(ethernet, len(packets)), header, transport], axis=1), lengths + LINK_BYTES

    def _transport(self, packets: Packets, payload: Octets) -> Octets:
        """Return the header with checksum 0, and the beginning of the payload."""
        count, length = len(packets), packets["length"].astype(np.int64)
        ports = [_octets(packets["source_port"], 2), _octets(packets["destination_port"], 2)]
        if self.fragment == LATER_FRAGMENT:
            parts = [payload]
        elif self.protocol == TCP:
            numbers = [_octets(packets["sequence"], 4), _octets(packets["acknowledgement"], 4)]
            options = self.options.ljust(-(-len(self.options) // 4) * 4, _END)
            offset = _same(bytes([(5 + len(options) // 4) << 4]), count)
            flags, window = _octets(packets["tcp_flags"], 1), _octets(packets["window"], 2)
            parts = [*ports, *numbers, offset, flags, window, _same(bytes(4), count)]
            parts += [_same(options, count), payload]
        elif self.protocol == UDP:
            own = length - (20 if self.version == 4 else 40)
            if self.fragment == FIRST_FRAGMENT:
                own = np.full(count, _WHOLE_UDP_BYTES)
            parts = [*ports, _octets(np.maximum(own, 8 + payload.shape[1]), 2), _same(bytes(2), count), payload]
        elif self.protocol == ICMP:
            echo = _same(bytes([128 if self.version == 6 else 8, 0, 0, 0]), count)
            parts = [echo, _octets(packets["ident"], 2), _same(b"\0\1", count), payload]
        elif self.protocol == GRE:
            parts = [_same(b"\0\0\x08\0", count), payload]
        else:
            parts = [payload]
        return np.concatenate(parts, axis=1)

    def _four(self, packets: Packets, lengths: NDArray[np.int64]) -> Octets:
        offset = {WHOLE: 0, FIRST_FRAGMENT: _MORE_FRAGMENTS, LATER_FRAGMENT: _LATER_AT}[self.fragment]
        count = len(packets)
        header = np.concatenate(
            [
                _same(b"\x45\0", count),
                _octets(lengths, 2),
                _octets(packets["ident"], 2),
                _same(offset.to_bytes(2, "big"), count),
                _octets(packets["ttl"], 1),
                _same(bytes([self._next, 0, 0]), count),
                _octets(packets["source_low"], 4),
                _octets(packets["destination_low"], 4),
            ],
            axis=1,
        )
        header[:, 10:12] = _octets(_checksum(_sum(header)), 2)
        return header

    def _six(self, packets: Packets, lengths: NDArray[np.int64], chance: Generator) -> Octets:
        count = len(packets)
        parts = [
            _same(b"\x60\0\0\0", count),
            _octets(lengths - 40, 2),
            _same(bytes([_FRAGMENT_HEADER if self.fragment else self._next]), count),
            _octets(packets["ttl"], 1),
            *(_octets(packets[name], 8) for name in ("source_high", "source_low")),
            *(_octets(packets[name], 8) for name in ("destination_high", "destination_low")),
        ]
        if self.fragment:
            offset = 1 if self.fragment == FIRST_FRAGMENT else _LATER_AT << 3
            fixed = bytes([self._next, 0]) + offset.to_bytes(2, "big")
            parts += [_same(fixed, count), _octets(chance.integers(0, 1 << 32, count), 4)]
        return np.concatenate(parts, axis=1)

    def _check(self, header: Octets, transport: Octets, lengths: NDArray[np.int64]) -> None:
        """Set the transport's checksum. That of fragments covers bytes that do not exist here: it stays 0."""
        places = {TCP: 16, UDP: 6, ICMP: 2}
        if self.fragment or self.protocol not in places:
            return
        total = _sum(transport)
        if self.protocol != ICMP or self.version == 6:  # the pseudo-header: addresses, length, protocol
            addresses = header[:, 12:20] if self.version == 4 else header[:, 8:40]
            total = total + _sum(addresses) + lengths + self._next
        place, value = places[self.protocol], _checksum(total)
        if self.protocol == UDP:
            value = np.where(value == 0, 0xFFFF, value)  # 0 means no checksum (RFC 768)
        transport[:, place : place + 2] = _octets(value, 2)


def _same(data: bytes, count: int) -> Octets:
    return np.broadcast_to(np.frombuffer(data, np.uint8), (count, len(data)))


def _octets(values: NDArray[Any], count: int) -> Octets:
    """Return the last bytes of each number, the most significant first."""
    return values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - count :]


def _sum(rows: Octets) -> NDArray[np.int64]:
    """Return the sum of each row's 16-bit words (RFC 1071)."""
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    words = np.ascontiguousarray(rows).view(">u2")
    total: NDArray[np.int64] = words.sum(axis=1, dtype=np.int64)
    return total


def _checksum(total: NDArray[np.int64]) -> NDArray[np.int64]:
    for _ in range(3):
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
