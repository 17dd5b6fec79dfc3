"""A ring buffer as the kernel lays it out, written by hand; by the filter in tests/kernel/filter/test_detection.py."""

import mmap
import os
import struct

import pytest

from spectrum.kernel.looks import HEADER_BYTES, LOOK_BYTES, RECORD_BYTES, Looks, LooksError

RING = 16 * mmap.PAGESIZE
BUSY = 1 << 31


class WrittenRing:
    """A file in the form of a ring buffer; of its two pages of places, and its data twice."""

    def __init__(self):
        self.descriptor = os.memfd_create("ring")
        os.truncate(self.descriptor, 2 * mmap.PAGESIZE + 2 * RING)
        self.at = 0

    def write(self, number, flags=0):
        record = struct.pack("=II", LOOK_BYTES | flags, 0) + struct.pack("=Q", number).ljust(LOOK_BYTES, b"\7")
        for place, byte in enumerate(record, self.at):
            for copy in (0, RING):
                os.pwrite(self.descriptor, bytes([byte]), 2 * mmap.PAGESIZE + copy + place % RING)
        self.at += RECORD_BYTES
        os.pwrite(self.descriptor, struct.pack("=Q", self.at), mmap.PAGESIZE)

    def finish(self, at):
        for copy in (0, RING):
            os.pwrite(self.descriptor, struct.pack("=I", LOOK_BYTES), 2 * mmap.PAGESIZE + copy + at % RING)


def numbers(records):
    assert len(records) % RECORD_BYTES == 0
    return [
        struct.unpack_from("=Q", records, start + HEADER_BYTES)[0] for start in range(0, len(records), RECORD_BYTES)
    ]


@pytest.fixture
def ring():
    one = WrittenRing()
    yield one
    os.close(one.descriptor)


def test_records_are_read_once_in_order(ring):
    with Looks(ring.descriptor, RING) as looks:
        assert looks.read() == b""
        for number in range(3):
            ring.write(number)
        assert numbers(looks.read()) == [0, 1, 2] and looks.read() == b""
        ring.write(3)
    with Looks(ring.descriptor, RING) as looks:  # another reader goes on where the first one ended
        assert numbers(looks.read()) == [3]


def test_what_is_being_written_is_waited_for(ring):
    with Looks(ring.descriptor, RING) as looks:
        ring.write(0)
        ring.write(1, BUSY)
        ring.write(2)
        assert numbers(looks.read()) == [0] and looks.read() == b""
        ring.finish(RECORD_BYTES)
        assert numbers(looks.read()) == [1, 2]


def test_the_buffer_goes_round_and_what_is_old_is_forgotten(ring):
    with Looks(ring.descriptor, RING) as looks:
        wanted = []
        for number in range(2 * RING // RECORD_BYTES):
            ring.write(number)
            wanted.append(number)
            if number % 50 == 49:
                assert numbers(looks.read()) == wanted
                wanted = []
        looks.discard()
        assert looks.read() == b""


def test_invalid_ring_buffers():
    with open("/dev/null") as nothing, pytest.raises(LooksError, match="cannot be mapped"):
        Looks(nothing.fileno())
