import struct
from ipaddress import IPv4Address

import numpy as np
import pytest

from spectrum.core.ddos.packets import COLUMNS, FIRST_FRAGMENT, LATER_FRAGMENT, Packets
from spectrum.simulation.frames import HEAD_BYTES, LINK_BYTES, OPTIONS, build
from spectrum.simulation.normal import GRE, ICMP, SYN, TCP, UDP, World
from spectrum.simulation.vectors import EVERY
from spectrum.wire.frames import parse
from spectrum.wire.icmp import checksum

LINK = bytes.fromhex("020000000001020000000002")


def made(**given):
    """The frame of one packet from 198.51.100.7 to 203.0.113.10."""
    row = {name: np.zeros(1, kind) for name, kind in COLUMNS.items()}
    row |= {"version": np.array([4]), "ttl": np.array([64])}
    row["source_low"] = np.array([0xFFFF_C633_6407], np.uint64)
    row["destination_low"] = np.array([0xFFFF_CB00_710A], np.uint64)
    row |= {name: np.array([value], COLUMNS[name]) for name, value in given.items()}
    return build(Packets(row), LINK, np.random.default_rng(1))[0]


def even(data):
    return data + b"\0" * (len(data) % 2)


def sums_up(frame):
    """Whether the checksums of a whole packet are right."""
    packet = frame[LINK_BYTES:]
    if packet[0] >> 4 == 4:
        header, protocol, body = packet[:20], packet[9], packet[20:]
        if checksum(header) or struct.unpack_from("!H", packet, 6)[0] & 0x3FFF:
            return not checksum(header)
        addresses = packet[12:20]
    else:
        protocol, body, addresses = packet[6], packet[40:], packet[8:40]
    pseudo = addresses + struct.pack("!II", len(body), protocol) if protocol != ICMP else b""
    return protocol not in (TCP, UDP, ICMP, 58) or checksum(even(pseudo + body)) == 0


@pytest.mark.parametrize("name", EVERY)
def test_frames_say_what_the_columns_do(name):
    rows = EVERY[name](World(6), 300)
    frames = build(rows, LINK, np.random.default_rng(2))
    for place in range(len(frames)):
        frame = frames[place]
        said = parse(frame)
        assert sums_up(frame)
        assert said.protocol in (rows["protocol"][place], 58)
        assert (said.length, len(frame)) == (len(frame) - LINK_BYTES, frames.frame_bytes[place])
        if rows["version"][place] == 4:
            assert said.source == IPv4Address(int(rows["source_low"][place]) & 0xFFFFFFFF)
        if said.protocol in (TCP, UDP) and not rows["fragment"][place]:
            ports = (rows["source_port"][place], rows["destination_port"][place])
            assert (said.source_port, said.destination_port) == ports
            assert said.ttl == rows["ttl"][place]
        if said.protocol == UDP:
            assert said.length == rows["length"][place]


@pytest.mark.parametrize(("kind", "options"), OPTIONS.items(), ids=[f"{kind:x}" for kind in OPTIONS])
def test_options(kind, options):
    frame = made(protocol=TCP, tcp_flags=SYN, options=kind, window=5840, destination_port=443)
    offset = 4 * (frame[LINK_BYTES + 32] >> 4)
    assert offset == 20 + len(options) and offset % 4 == 0
    assert frame[LINK_BYTES + 40 :] == options
    assert struct.unpack_from("!H", frame, LINK_BYTES + 34) == (5840,)
    assert len(frame) <= HEAD_BYTES


@pytest.mark.parametrize(
    ("version", "fragment", "offset"),
    [(4, FIRST_FRAGMENT, 0x2000), (4, LATER_FRAGMENT, 185), (6, FIRST_FRAGMENT, 1), (6, LATER_FRAGMENT, 185 << 3)],
)
def test_fragments(version, fragment, offset):
    frame = made(version=version, protocol=UDP, fragment=fragment, length=1200, payload_bytes=8, payload=1 << 63)
    packet = frame[LINK_BYTES:]
    assert struct.unpack_from("!H", packet, 6 if version == 4 else 42) == (offset,)
    assert (packet[9] if version == 4 else packet[40]) == UDP
    transport = packet[20:] if version == 4 else packet[48:]
    assert transport[0 if fragment == LATER_FRAGMENT else 8] == 0x80
    assert len(packet) == 1200


def test_echo_requests_and_tunnels():
    assert made(protocol=ICMP, ident=7, length=84)[LINK_BYTES + 20] == 8
    assert sums_up(made(protocol=ICMP, length=85, payload_bytes=8, payload=5))
    assert made(version=6, protocol=ICMP, length=84)[LINK_BYTES + 40] == 128
    assert made(protocol=GRE, length=540)[LINK_BYTES + 20 :][:4] == b"\0\0\x08\0"


def test_a_datagram_whose_checksum_is_zero_says_so_otherwise():
    row = {name: np.zeros(65536, kind) for name, kind in COLUMNS.items()}
    row |= {"version": np.full(65536, 4), "protocol": np.full(65536, UDP), "source_port": np.arange(65536)}
    heads = build(Packets(row), LINK, np.random.default_rng(1)).heads
    sums = heads[:, 40].astype(int) << 8 | heads[:, 41]
    assert sums.min() == 1 and len(np.unique(sums)) == 65535
