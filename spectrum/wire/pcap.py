"""Captures of packets in files (draft-ietf-opsawg-pcap), with times in nanoseconds."""

import struct
from collections.abc import Iterable
from typing import NamedTuple

# The magic number of files with times in nanoseconds, and the link type: Ethernet.
MAGIC_NANOSECONDS, ETHERNET = 0xA1B23C4D, 1
_VERSION = 2, 4
# Limit of the bytes of a frame; tcpdump's own.
_SNAP_BYTES = 262_144
_HEADER = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")


class CapturedFrame(NamedTuple):
    """A frame in a capture.

    Attributes:
        at_ns: The time of arrival, in nanoseconds since 1970.
        frame_bytes: The length of the frame.
        data: Its captured bytes.
    """

    at_ns: int
    frame_bytes: int
    data: bytes


def capture(frames: Iterable[CapturedFrame]) -> bytes:
    """Return the content of a file with Ethernet frames, in the order of their times."""
    parts = [_HEADER.pack(MAGIC_NANOSECONDS, *_VERSION, 0, 0, _SNAP_BYTES, ETHERNET)]
    for frame in sorted(frames, key=lambda one: one.at_ns):
        data = frame.data[: frame.frame_bytes]
        seconds, rest = divmod(frame.at_ns, 1_000_000_000)
        parts += [_RECORD.pack(seconds, rest, len(data), frame.frame_bytes), data]
    return b"".join(parts)
