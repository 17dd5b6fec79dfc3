"""Snapshots in bytes, for workers: the apps in parts, so that decoding does not block the loop, or differences."""

import os
from collections.abc import Callable

import msgspec

from spectrum.core.difference import Difference
from spectrum.core.snapshot import AppSettings, Snapshot
from spectrum.link.encoding import encode

# Apps of a part, which take about half a millisecond to decode.
APPS_PER_PART = 250


# A snapshot begins with the length of its head.
_HEAD_SIZE = 4


class _SnapshotHead(msgspec.Struct, array_like=True):
    """A snapshot without its apps, and the length of each part of them. The parts follow one after the other."""

    rest: Snapshot
    sizes: list[int]


_read_head = msgspec.msgpack.Decoder(_SnapshotHead)
_read_apps = msgspec.msgpack.Decoder(list[AppSettings])


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes."""
    encoder, apps = msgspec.msgpack.Encoder(), snapshot.apps
    starts = range(0, len(apps), APPS_PER_PART)
    parts = [encode(encoder, apps[start : start + APPS_PER_PART]) for start in starts]
    head = encode(encoder, _SnapshotHead(msgspec.structs.replace(snapshot, apps=()), list(map(len, parts))))
    return b"".join([len(head).to_bytes(_HEAD_SIZE), head, *parts])


def read_snapshot(file: int, between: Callable[[], None] = lambda: None) -> Snapshot:
    """Return the snapshot in a memory file, encoded by `encode_snapshot`.

    Args:
        file: The descriptor. All workers share it and its offset, hence pread.
        between: Called after each part.

    Raises:
        msgspec.DecodeError: If it is invalid.
    """
    at = _HEAD_SIZE
    size = int.from_bytes(os.pread(file, _HEAD_SIZE, 0))
    head = _read_head.decode(os.pread(file, size, at))
    apps: list[AppSettings] = []
    for part in head.sizes:
        at, size = at + size, part
        apps += _read_apps.decode(os.pread(file, size, at))
        between()
    return msgspec.structs.replace(head.rest, apps=tuple(apps))


_read_difference = msgspec.msgpack.Decoder(Difference)


def encode_difference(difference: Difference) -> bytes:
    """Return a difference as bytes."""
    return encode(msgspec.msgpack.Encoder(), difference)


def decode_difference(data: bytes) -> Difference:
    """Return the difference encoded by `encode_difference`.

    Raises:
        msgspec.DecodeError: If it is invalid.
    """
    return _read_difference.decode(data)
