import struct
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.simulation.aim import TargetApp
from spectrum.simulation.frames import LINK_BYTES, build
from spectrum.simulation.normal import World
from spectrum.simulation.pcap import CaptureError, aimed_frames, rate, read
from spectrum.simulation.vectors import EVERY
from spectrum.wire.frames import parse
from tests.simulation.test_frames import LINK, sums_up

TARGET = TargetApp(IPv4Address("10.1.2.3"), IPv6Address("fd00:1::77"), (9000, 9000))


def written(path, frames, magic=0xA1B2C3D4, order="<", link=1, kept=65535):
    """Write a capture of a packet each 10 ms."""
    fraction = 1000 if magic == 0xA1B23C4D else 1
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)
    for number, frame in enumerate(frames):
        own = frame[:kept]
        data += struct.pack(order + "4I", 5, number * 10_000 * fraction, len(own), len(frame)) + own
    path.write_bytes(data)
    return path


def flood(name, count=40):
    frames = build(EVERY[name](World(1), count), LINK, np.random.default_rng(1))
    return [frames[place] for place in range(count)]


@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_units_and_both_orders(tmp_path, magic, order):
    frames = flood("udp_random")
    found = read(written(tmp_path / "f", frames, magic, order))
    assert [one.frame for one in found] == frames
    assert found[7].at_s == pytest.approx(5.07) and found[0].is_whole
    assert rate(found) == pytest.approx(40 / 0.39)
    assert rate(found[:1]) == 0


@pytest.mark.parametrize("link", [101, 12, 228])
def test_raw_packets_get_a_link(tmp_path, link):
    frames = flood("syn_random")
    found = read(written(tmp_path / "f", [frame[LINK_BYTES:] for frame in frames], link=link))
    assert [one.frame[12:] for one in found] == [frame[12:] for frame in frames]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no capture"),
        (b"hello, this is a text of some length", "no capture"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "editcap"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 113), "link type is 113"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 1), "no packets"),
        (struct.pack("<IHHiIII4I", 0xA1B2C3D4, 2, 4, 0, 0, 0, 1, 0, 0, 99, 99), "99 bytes"),
        (struct.pack("<IHHiIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 1, 0, 0), "ends within"),
    ],
)
def test_invalid_captures(tmp_path, data, said):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(CaptureError, match=said):
        read(tmp_path / "f")


@pytest.mark.parametrize("name", [name for name in EVERY if name != "multi"])
def test_replayed_at_an_app(tmp_path, name):
    frames = aimed_frames(read(written(tmp_path / "f", flood(name))), TARGET, LINK)
    ports = set()
    for place in range(len(frames)):
        said = parse(frames[place])
        assert said.destination == (TARGET.four if said.source.version == 4 else TARGET.six)
        assert sums_up(frames[place])
        ports.add(said.destination_port)
    assert len(frames) == 40
    if said.protocol in (6, 17) and name != "fragments":
        assert 9000 in ports


def test_what_was_cut_off_is_filled_up(tmp_path):
    frames = aimed_frames(read(written(tmp_path / "f", flood("udp_fixed"), kept=60)), TARGET, LINK)
    assert set(frames.frame_bytes) == {540 + LINK_BYTES}


def test_a_vlan_is_left_out(tmp_path):
    tagged = [frame[:12] + b"\x81\0\0\5" + frame[12:] for frame in flood("udp_fixed", 3)]
    assert sums_up(aimed_frames(read(written(tmp_path / "f", tagged)), TARGET, LINK)[0])


def test_nothing_of_the_app_s_family(tmp_path):
    captured = read(written(tmp_path / "f", flood("v6_udp")))
    with pytest.raises(CaptureError, match="family"):
        aimed_frames(captured, TargetApp(TARGET.four, None, (1, 1)), LINK)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 101) + data)
    try:
        aimed_frames(read(path), TARGET, LINK)
    except CaptureError:
        pass
    path.write_bytes(struct.pack("<IHHiIII4I", 0xA1B2C3D4, 2, 4, 0, 0, 0, 101, 0, 0, len(data), len(data)) + data)
    try:
        aimed_frames(read(path), TARGET, LINK)
    except CaptureError:
        pass
