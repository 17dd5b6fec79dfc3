"""The memory files of workers' looks; what an engine writes there is in tests/engine/test_lookout.py."""

import os
import struct

import pytest

from spectrum.kernel.looks import RECORD_BYTES, LooksError
from spectrum.kernel.worker_looks import FILE_BYTES, RECORDS, RULE_NUMBERS, AllLooks, WorkerLooks, make_file


class Written:
    """A file, written by hand."""

    def __init__(self):
        self.descriptor = make_file("looks")
        self.at = 0

    def write(self, *numbers):
        for number in numbers:
            record = struct.pack("=Q", number).ljust(RECORD_BYTES, b"\7")
            os.pwrite(self.descriptor, record, 4096 + self.at % RECORDS * RECORD_BYTES)
            self.at += 1
        os.pwrite(self.descriptor, struct.pack("=Q", self.at), 0)

    def count(self, number, packets, size, lost=0):
        os.pwrite(self.descriptor, struct.pack("=QQ", packets, size), 64 + 16 * number)
        os.pwrite(self.descriptor, struct.pack("=Q", lost), 16)


def numbers(records):
    return [struct.unpack_from("=Q", records, start)[0] for start in range(0, len(records), RECORD_BYTES)]


@pytest.fixture
def files():
    made = [Written(), Written()]
    yield made
    for one in made:
        os.close(one.descriptor)


def test_records_are_read_once_in_order(files):
    with AllLooks([one.descriptor for one in files]) as looks:
        assert looks.read() == b""
        files[0].write(1, 2)
        files[1].write(3)
        assert numbers(looks.read()) == [1, 2, 3] and looks.read() == b""
        files[1].write(*range(RECORDS - 3), 7, 8, 9)
        assert numbers(looks.read())[-3:] == [7, 8, 9], "behind the end comes the beginning"
        files[0].write(5)
        looks.discard()
        assert looks.read() == b""
    one = WorkerLooks(files[0].descriptor)
    files[0].write(6)
    assert numbers(one.read()) == [6]
    one.close()


def test_counts_of_all(files):
    with AllLooks([one.descriptor for one in files]) as looks:
        files[0].count(3, 10, 1000, lost=2)
        files[1].count(3, 1, 60, lost=1)
        assert looks.counts()[3] == (11, 1060) and looks.lost == 3
        assert len(looks.counts()) == RULE_NUMBERS


def test_what_cannot_be_mapped(files):
    assert os.fstat(files[0].descriptor).st_size == FILE_BYTES
    short = os.memfd_create("short")
    with pytest.raises(LooksError, match="cannot be mapped"):
        AllLooks([files[0].descriptor, short])
    os.close(short)
