"""Captures: files of tcpdump's format (libpcap, draft-ietf-opsawg-pcap), with times in micro- or nanoseconds.

Link types are Ethernet, and raw IP, whose packets get an Ethernet header.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectrum.simulation.aim import TargetApp
from spectrum.simulation.frames import LINK_BYTES, Frames
from spectrum.wire.frames import parse

_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_NEXT_GENERATION = b"\x0a\x0d\x0d\x0a"
_ETHERNET = 1
# LINKTYPE_RAW and its former numbers, LINKTYPE_IPV4 and LINKTYPE_IPV6.
_RAW = {12, 14, 101, 228, 229}
_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_VLAN = b"\x81\x00"
LONGEST_BYTES = 262_144
MOST_PACKETS = 100_000
_TCP, _UDP = 6, 17


class CaptureError(ValueError):
    """A file is not a capture that can be read; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A captured packet.

    Attributes:
        at_s: Its time in the capture, in seconds.
        frame: The frame, with an Ethernet header.
        is_whole: Whether all of it was captured.
    """

    at_s: float
    frame: bytes
    is_whole: bool


def read(path: Path) -> list[Captured]:
    """Return the packets of a capture, `MOST_PACKETS` at most.

    Raises:
        CaptureError: If it is not a capture, or of another link type.
        OSError: If the file cannot be read.
    """
    found = []
    for captured in _packets(path.read_bytes()):
        found.append(captured)
        if len(found) == MOST_PACKETS:
            break
    if not found:
        raise CaptureError("the capture has no packets")
    return found


def _packets(data: bytes) -> Iterator[Captured]:
    if data[:4] == _NEXT_GENERATION:
        raise CaptureError("this is a pcapng file; convert it with: editcap -F pcap FILE OUT.pcap")
    if data[:4] not in _MAGICS or len(data) < 24:
        raise CaptureError("this is no capture of tcpdump's format (pcap)")
    order, unit = _MAGICS[data[:4]]
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    if link != _ETHERNET and link not in _RAW:
        raise CaptureError(f"its link type is {link}; Ethernet (1) and raw IP (101) can be read")
    at = 24
    while at < len(data):
        if at + 16 > len(data):
            raise CaptureError(f"it ends within the header of a packet, at byte {at}")
        seconds, fraction, kept, whole = struct.unpack_from(order + "4I", data, at)
        at += 16
        if kept > LONGEST_BYTES or at + kept > len(data):
            raise CaptureError(f"a packet of {kept} bytes at byte {at}, where {len(data) - at} are left")
        frame = data[at : at + kept]
        at += kept
        if link != _ETHERNET:
            frame = bytes(12) + _TYPES.get(frame[0] >> 4 if frame else 0, b"\0\0") + frame
        yield Captured(seconds + fraction * unit, frame, kept == whole)


def rate(packets: list[Captured]) -> float:
    """Return the packets per second of a capture; 0 if it has no duration."""
    took = packets[-1].at_s - packets[0].at_s
    return len(packets) / took if took > 0 else 0.0


def aimed_frames(packets: list[Captured], target: TargetApp, link: bytes) -> Frames:
    """Return the packets of a capture with the IP version of its busiest destination, redirected to an app.

    All destination addresses become the app's; the busiest destination's port becomes the app's first one, others
    stay. Checksums are updated by the difference (RFC 1624), so wrong ones stay wrong. Truncated packets are padded
    with zeros.

    Args:
        packets: The capture.
        target: The app.
        link: Link addresses: the destination's, then the source's.

    Raises:
        CaptureError: If there are no packets of an IP version that the app has an address of.
    """
    busiest = Counter[tuple[int, int]]()
    usable = []
    for one in packets:
        said = parse(one.frame)
        if said is None or (target.four if said.source.version == 4 else target.six) is None:
            continue
        busiest[said.protocol, said.destination_port] += said.destination_port > 0  # later fragments have no ports
        usable.append((one, said.source.version, said.protocol, said.destination_port, said.length))
    if not usable:
        raise CaptureError("it has no IP packets of a family that the app has an address of")
    (protocol, port), _ = busiest.most_common(1)[0]
    rows = []
    for one, version, own, own_port, length in usable:
        address = (target.four if version == 4 else target.six) or target.four
        assert address is not None, "looked at above"
        to_port = target.ports[0] if (own, own_port) == (protocol, port) and own in (_TCP, _UDP) else None
        rows.append(_aimed(one.frame, length, address.packed, to_port, link))
    longest = max(len(row) for row in rows)
    heads = np.zeros((len(rows), longest), np.uint8)
    for place, row in enumerate(rows):
        heads[place, : len(row)] = np.frombuffer(row, np.uint8)
    lengths = np.array([len(row) for row in rows], np.int64)
    return Frames(heads, lengths, lengths)


def _aimed(frame: bytes, length: int, address: bytes, port: int | None, link: bytes) -> bytes:
    packet = bytearray(frame[18:] if frame[12:14] == _VLAN else frame[LINK_BYTES:])
    version = packet[0] >> 4
    # Only the packet, without padding of the frame; zeros for what the capture left out.
    length = max(length, 20 if version == 4 else 40)
    del packet[length:]
    packet.extend(bytes(max(0, length - len(packet))))
    if version == 4:
        place, transport, protocol = 16, 4 * (packet[0] & 0xF), packet[9]
        is_later = struct.unpack_from("!H", packet, 6)[0] & 0x1FFF
        _correct(packet, 10, bytes(packet[16:20]), address)
    else:
        place, transport, protocol, is_later = 24, 40, packet[6], 0
    before = bytes(packet[place : place + len(address)])
    packet[place : place + len(address)] = address
    check = {_TCP: 16, _UDP: 6, 58: 2}.get(protocol)
    if check is not None and not is_later and transport + check + 2 <= len(packet):
        if port is not None:
            before += bytes(packet[transport + 2 : transport + 4])
            packet[transport + 2 : transport + 4] = port.to_bytes(2, "big")
            address += port.to_bytes(2, "big")
        has_none = protocol == _UDP and packet[transport + 6 : transport + 8] == b"\0\0"
        if not has_none:
            _correct(packet, transport + check, before, address)
    return link + _TYPES[version] + bytes(packet)


def _correct(packet: bytearray, place: int, before: bytes, after: bytes) -> None:
    """Update a checksum by the words that have changed (RFC 1624, equation 3)."""
    total = ~struct.unpack_from("!H", packet, place)[0] & 0xFFFF
    words = f"!{len(before) // 2}H"
    total += sum(~word & 0xFFFF for word in struct.unpack(words, before)) + sum(struct.unpack(words, after))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", packet, place, ~total & 0xFFFF)
