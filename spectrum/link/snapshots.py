"""What workers read: a snapshot, its apps in parts, so that nobody decodes for long, or what differs from it."""

from collections.abc import Callable

import msgspec

from spectrum.core.difference import Difference
from spectrum.core.snapshot import AppSettings, Snapshot
from spectrum.link.encoding import encode

# They take about half a millisecond to decode.
APPS_PER_PART = 250


class _Parted(msgspec.Struct, array_like=True):
    """A snapshot without its apps, and these, each part an encoded array of `AppSettings`."""

    rest: Snapshot
    parts: list[msgspec.Raw]


_read_parted = msgspec.msgpack.Decoder(_Parted)
_read_apps = msgspec.msgpack.Decoder(list[AppSettings])


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes."""
    encoder, apps = msgspec.msgpack.Encoder(), snapshot.apps
    starts = range(0, len(apps), APPS_PER_PART)
    parts = [msgspec.Raw(encode(encoder, apps[start : start + APPS_PER_PART])) for start in starts]
    return encode(encoder, _Parted(msgspec.structs.replace(snapshot, apps=()), parts))


def decode_snapshot(data: bytes, between: Callable[[], None] = lambda: None) -> Snapshot:
    """Return the snapshot of `encode_snapshot`.

    Args:
        data: What that one returned.
        between: Called after each part.

    Raises:
        msgspec.DecodeError: If it is none.
    """
    parted = _read_parted.decode(data)
    apps: list[AppSettings] = []
    for part in parted.parts:
        apps += _read_apps.decode(part)
        between()
    return msgspec.structs.replace(parted.rest, apps=tuple(apps))


_read_difference = msgspec.msgpack.Decoder(Difference)


def encode_difference(difference: Difference) -> bytes:
    """Return a difference as bytes."""
    return encode(msgspec.msgpack.Encoder(), difference)


def decode_difference(data: bytes) -> Difference:
    """Return the difference of `encode_difference`.

    Raises:
        msgspec.DecodeError: If it is none.
    """
    return _read_difference.decode(data)
