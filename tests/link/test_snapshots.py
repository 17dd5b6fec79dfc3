"""Snapshots between processes: what comes out is what went in, and nobody decodes for long at a time."""

import os

import msgspec
import pytest

from spectrum.core.configuration.config import Config
from spectrum.core.difference import Difference
from spectrum.core.features import compile_snapshot
from spectrum.kernel.descriptors import memory_file
from spectrum.link import snapshots
from spectrum.link.snapshots import decode_difference, encode_difference, encode_snapshot, read_snapshot


def snapshot_of(count):
    app = {"edge_ips": ["127.0.0.1"], "origin_direct": ["tcp://127.0.0.1:1"]}
    apps = {f"app{number}": {"protocol": f"tcp/{number + 1}", **app} for number in range(count)}
    return compile_snapshot(Config.model_validate({"apps": apps}), 7)


@pytest.mark.parametrize("count", [1, 249, 250, 251, 1000])
def test_round_trip(count):
    snapshot, pauses = snapshot_of(count), []
    file = memory_file("snapshot", encode_snapshot(snapshot))
    try:
        assert read_snapshot(file, lambda: pauses.append(1)) == snapshot
    finally:
        os.close(file)
    assert len(pauses) == -(-count // snapshots.APPS_PER_PART)


@pytest.mark.parametrize("data", [b"", b"\x90", msgspec.msgpack.encode([1, 2])])
def test_invalid_snapshots(data):
    file = memory_file("snapshot", data)
    try:
        with pytest.raises(msgspec.DecodeError):
            read_snapshot(file)
    finally:
        os.close(file)


def test_a_difference():
    one, other, third = snapshot_of(3).apps
    change = Difference(7, 8, (one, other), (other, third))
    assert decode_difference(encode_difference(change)) == change
    with pytest.raises(msgspec.DecodeError):
        decode_difference(b"\x90")
