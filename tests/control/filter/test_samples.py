import struct
from ipaddress import ip_address

import pytest

from spectrum.control.filter.samples import KEPT, Sampler
from spectrum.kernel.samples import Sample


def sample(at_s, source="192.0.2.1", size=100, verdict="passed"):
    head = struct.pack("!BBHHHBBH", 0x45, 0, size - 14, 0, 0, 64, 17, 0)
    packet = head + ip_address(source).packed + ip_address("192.0.2.9").packed + struct.pack("!HHHH", 123, 7000, 8, 0)
    return Sample(at_s, size, verdict, bytes(12) + b"\x08\0" + packet + bytes(86))


def test_what_there_was_most_of():
    waiting = [
        sample(90.0, "192.0.2.5"),
        *(sample(100.0 + number, size=200) for number in range(6)),
        *(sample(101.0, "192.0.2.7", verdict="list drop") for _ in range(3)),
        Sample(102.0, 60, "malformed", bytes(12) + b"\x08\x06" + bytes(114)),
    ]

    def read():
        found = waiting[:]
        waiting.clear()
        return found

    sampler = Sampler(read, lambda: 106.0)
    sampler.collect()
    assert sampler.top(["source"], 10, 5, 1000) == [
        {"source": "192.0.2.1", "packets_per_second": 600.0, "bytes_per_second": 120000},
        {"source": "192.0.2.7", "packets_per_second": 300.0, "bytes_per_second": 30000},
        {"source": "", "packets_per_second": 100.0, "bytes_per_second": 6000},
    ]
    (first,) = sampler.top(["verdict", "protocol", "destination_port", "ttl"], 3, 1, 1)
    assert first == {
        "verdict": "passed",
        "protocol": "udp",
        "destination_port": "7000",
        "ttl": "64",
        "packets_per_second": 1.0,
        "bytes_per_second": 200,
    }
    assert len(sampler.top(["source"], 100, 5, 1)) == 4
    with pytest.raises(ValueError, match="unknown keys: colour; known: verdict, source"):
        sampler.top(["colour"], 1, 1, 1)


def test_only_the_latest_are_kept():
    waiting = [sample(float(number)) for number in range(KEPT + 10)]
    sampler = Sampler(lambda: waiting[:], lambda: float(KEPT + 10))
    (found,) = sampler.top(["source"], KEPT + 10, 5, 1)
    assert found["packets_per_second"] == round(KEPT / (KEPT + 10), 1)
