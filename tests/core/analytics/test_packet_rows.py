import struct
from datetime import datetime
from ipaddress import ip_address

import pytest

from spectrum.core.analytics.columns import PACKETS
from spectrum.core.analytics.packet_rows import SampledPacket, packet_row, was_dropped


def header(source="192.0.2.1"):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 86, 0, 0, 64, 17, 0)
    packet = head + ip_address(source).packed + ip_address("192.0.2.9").packed + struct.pack("!HHHH", 123, 7000, 8, 0)
    return bytes(12) + b"\x08\0" + packet + bytes(86)


def test_a_row_has_what_the_headers_say():
    row = packet_row(SampledPacket(1_000_001, "list drop", 100, header(), 1000, True, "dns", "DE", 64500), "edge1")
    assert dict(zip((column.name for column in PACKETS.columns), row, strict=True)) == {
        "time": datetime(1970, 1, 1, 0, 0, 1, 1),
        "node": "edge1",
        "outcome": "drop",
        "verdict": "list drop",
        "protocol": "udp",
        "ip_version": 4,
        "source_ip": "192.0.2.1",
        "source_prefix": "192.0.2.0/24",
        "source_port": 123,
        "source_country": "DE",
        "source_asn": 64500,
        "destination_ip": "192.0.2.9",
        "destination_port": 7000,
        "app": "dns",
        "length": 86,
        "ttl": 64,
        "tcp_flags": "",
        "sample_interval": 1000,
        "bytes": 100_000,
        "header": header()[:100],
    }


def test_other_packets_make_no_row():
    assert packet_row(SampledPacket(1, "malformed", 60, bytes(12) + b"\x08\x06" + bytes(114), 1, True), "n") is None


@pytest.mark.parametrize(
    ("verdict", "dry_run", "dropped"),
    [
        ("tcp_dropped not_found", False, True),
        ("tcp_monitored not_found", False, False),
        ("passed", False, False),
        ("syn_cookies", False, False),
        ("rule x", False, True),
        ("rule x", True, False),
    ],
)
def test_what_was_dropped(verdict, dry_run, dropped):
    assert was_dropped(verdict, dry_run) is dropped
