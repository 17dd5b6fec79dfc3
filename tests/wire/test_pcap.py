import shutil
import struct
import subprocess

import pytest

from spectrum.wire.pcap import CapturedFrame, capture
from tests.core.ddos.attack_samples import frame


def test_frames_are_in_the_order_of_their_times_with_nanoseconds():
    made = capture([CapturedFrame(2_000_000_007, 100, b"later"), CapturedFrame(1_999_999_999, 3, b"whole frame")])
    assert struct.unpack_from("<IHHiIII", made) == (0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)
    assert made[24:40] + made[40:43] == struct.pack("<IIII", 1, 999_999_999, 3, 3) + b"who"
    assert made[43:] == struct.pack("<IIII", 2, 7, 5, 100) + b"later"


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="no tcpdump")
def test_tcpdump_reads_it(tmp_path):
    path = tmp_path / "a.pcap"
    path.write_bytes(capture([CapturedFrame(1_000_000_000_123_456_789, 60, frame())]))
    done = subprocess.run(
        ["tcpdump", "-nn", "-tt", "--nano", "-r", path], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1000000000.123456789 IP 198.51.100.1.123 > 192.0.2.1.7000:")
