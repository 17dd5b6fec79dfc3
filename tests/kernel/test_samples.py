"""The filter's samples, read from the ring buffer in a network namespace of its own."""

import pytest

from spectrum.kernel.libbpf import BpfError, RingBuffer
from tests.kernel.isolation import isolated

SCRIPT = """
import socket, sys
from ipaddress import ip_network
from pathlib import Path
from spectrum.kernel.filter.attaching import load
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.samples import Samples

filesystem = Path(sys.argv[1])
load(["lo"], filesystem)
one = PinnedFilter(filesystem)
one.block({"bad": [ip_network("127.5.0.0/16")]})
sock, to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to.bind(("127.0.0.1", 0))
with Samples(one.maps["samples"].descriptor, one.places()) as samples, sock, to:
    sock.sendto(b"abc", to.getsockname())
    assert samples.read() == [], "there are none at first"
    one.configure(FilterSettings(sample_one_in=1))
    sock.sendto(b"abc", to.getsockname())
    sock.sendto(bytes(200), to.getsockname())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bad:
        bad.bind(("127.5.0.1", 0))
        bad.sendto(b"abc", to.getsockname())
    first, second, third = samples.read()
    assert (first.frame_bytes, first.verdict, first.header[42:45]) == (45, "passed", b"abc"), first
    assert first.header[45:] == bytes(83)
    assert second.frame_bytes == 242 and 0 < second.at_s - first.at_s < 1
    assert third.verdict == "list bad"

    # One of so many, and more than there is room for.
    one.configure(FilterSettings(sample_one_in=10))
    for _ in range(2000):
        sock.sendto(b"abc", to.getsockname())
    assert 100 < len(samples.read()) < 350
    one.configure(FilterSettings(sample_one_in=1))
    for _ in range(10000):
        sock.sendto(b"abc", to.getsockname())
    found, lost = len(samples.read()), one.counts()["samples_lost"][0]
    assert found > 5000 and found + lost == 10000, (found, lost)
print("ok")
"""


def test_samples(filesystem):
    assert isolated(SCRIPT, filesystem) == "ok\n"


def test_invalid_ring_buffers():
    with pytest.raises(BpfError, match="a ring buffer cannot be mapped"):
        RingBuffer(-1)
