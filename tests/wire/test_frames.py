"""Frames as they come off a cable, put together field by field."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.wire.frames import Frame, parse

V4, V6 = (ip_address("192.0.2.1"), ip_address("192.0.2.2")), (ip_address("2001:db8::1"), ip_address("2001:db8::2"))
TCP = struct.pack("!HHIIBBHHH", 40000, 22, 0, 0, 0x50, 0x12, 0, 0, 0)
UDP = struct.pack("!HHHH", 53, 40000, 8, 0)


def ethernet(kind, packet, tag=b""):
    return bytes(12) + tag + struct.pack("!H", kind) + packet


def ipv4(payload, protocol, offset=0, options=b""):
    length = 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, length, 0, offset, 63, protocol, 0)
    return head + V4[0].packed + V4[1].packed + options + payload


def ipv6(payload, protocol):
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 62) + V6[0].packed + V6[1].packed + payload


CASES = {
    "tcp": (ethernet(0x0800, ipv4(TCP, 6)), Frame(*V4, 6, 40000, 22, 40, 63, ("syn", "ack"))),
    "options": (ethernet(0x0800, ipv4(UDP, 17, 0, bytes(4))), Frame(*V4, 17, 53, 40000, 32, 63)),
    "fragment": (ethernet(0x0800, ipv4(UDP, 17, 5)), Frame(*V4, 17, 0, 0, 28, 63)),
    "icmp": (ethernet(0x0800, ipv4(bytes(8), 1)), Frame(*V4, 1, 0, 0, 28, 63)),
    "ipv6": (ethernet(0x86DD, ipv6(UDP, 17)), Frame(*V6, 17, 53, 40000, 48, 62)),
    "vlan": (ethernet(0x86DD, ipv6(TCP, 6), b"\x81\0\0\7"), Frame(*V6, 6, 40000, 22, 60, 62, ("syn", "ack"))),
    "no ports any more": (ethernet(0x0800, ipv4(TCP, 6))[:36], Frame(*V4, 6, 0, 0, 40, 63)),
    "no flags any more": (ethernet(0x0800, ipv4(TCP, 6))[:40], Frame(*V4, 6, 40000, 22, 40, 63)),
    "no IP": (ethernet(0x0806, bytes(28)), None),
    "cut": (ethernet(0x0800, ipv4(TCP, 6))[:33], None),
    "IPv6, cut": (ethernet(0x86DD, ipv6(TCP, 6))[:53], None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("data", "frame"), CASES.values(), ids=CASES)
def test_frames(data, frame):
    assert parse(data) == frame


@given(st.binary(max_size=140), st.sampled_from([0x0800, 0x86DD, 0x8100]))
def test_whatever_comes(data, kind):
    found = parse(data[:12] + struct.pack("!H", kind) + data[12:])
    assert found is None or isinstance(found, Frame)
