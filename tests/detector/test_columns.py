"""Records as columns; those that the kernel writes are in tests/kernel/filter/test_detection.py."""

from ipaddress import ip_address

import numpy as np

from spectrum.core.ddos.packets import COLUMNS
from spectrum.core.limits.rules import group_of
from spectrum.detector.columns import RECORD, WORKER_RECORD, AppGroups, columns
from spectrum.kernel.looks import RECORD_BYTES


def record(source, kind=RECORD, **fields):
    one = np.zeros(1, kind)
    one["source"][0] = divmod(int(ip_address(source)), 1 << 64)
    for name, value in fields.items():
        one[name] = value
    return one.tobytes()


def test_columns_of_records():
    header = np.arange(88, dtype=np.uint8)
    found = columns(
        record("::ffff:192.0.2.1", version=4, one_in=1000, state=2, app=-1, at_ns=7, bytes=60, reason=9, header=header)
        + record(
            "2001:db8::7",
            version=6,
            one_in=1,
            payload=0x4756000000000000,
            app=3,
            bytes=1500,
            header=header,
            sequence=7,
            acknowledgement=1 << 31,
        )
    )
    packets = found.packets
    assert len(found) == len(packets) == 2
    assert packets["stands_for"].tolist() == [1000.0, 1.0] and packets["app"].tolist() == [-1, 3]
    assert packets["source_high"].tolist() == [0, 0x20010DB800000000]
    assert packets["source_low"].tolist() == [0xFFFFC0000201, 7]
    assert packets["payload[:2]"].tolist() == [0, 0x4756] and packets["state"].tolist() == [2, 0]
    assert found.at_ns.tolist() == [7, 0] and found.reason.tolist() == [9, 0]
    assert found.header(0) == bytes(range(60)) and found.header(1) == bytes(range(88))
    assert packets["sequence"].tolist() == [0, 7] and packets["acknowledgement"].tolist() == [0, 1 << 31]


def test_a_record_is_as_long_as_the_kernels():
    assert RECORD.itemsize == WORKER_RECORD.itemsize == RECORD_BYTES


def test_columns_are_those_of_packets():
    for records in (b"", record("::1") * 3):
        found = columns(records)
        assert {name: found.packets[name].dtype for name in COLUMNS} == {
            name: np.dtype(kind) for name, kind in COLUMNS.items()
        }
        assert all(found.packets[name].flags.c_contiguous for name in ("payload", "source_low", "source_port"))
        assert len(found) == len(records) // RECORD.itemsize


def test_records_of_workers_name_apps_by_their_groups():
    groups = AppGroups({7: ("game", "udp/7000-7000"), 3: ("web", "tcp/1-2"), 4: ("game", "tcp/7000-7000")})
    header = np.arange(88, dtype=np.uint8)
    records = b""
    for name, transport in (("game", "udp"), ("web", "tcp"), ("web", "udp"), ("game", "tcp")):
        records += record("::1", WORKER_RECORD, bytes=1000, header=header, group=group_of(name, transport))
    found = columns(records, groups)
    assert found.packets["app"].tolist() == [7, 3, -1, 4]
    assert found.header(0) == bytes(range(88)) and not found.packets["sequence"].any()
    assert columns(records, AppGroups({})).packets["app"].tolist() == [-1] * 4
