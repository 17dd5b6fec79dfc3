import numpy as np

from spectrum.core.ddos.packets import COLUMNS, MAPPED, Packets


def rows(**given):
    count = max(len(np.atleast_1d(value)) for value in given.values())
    columns = {name: np.zeros(count, kind) for name, kind in COLUMNS.items()}
    columns["version"][:] = 4
    columns |= {name: np.resize(np.array(value, COLUMNS[name]), count) for name, value in given.items()}
    return Packets(columns)


def test_prefixes_of_both_families_never_meet():
    four = MAPPED | 0xCB007101
    packets = rows(version=[4, 6], source_high=[0, 0x20010DB800010002], source_low=[four, 5])
    assert packets["source/24"].tolist() == [four >> 8, 0x20010DB80001 | 1 << 63]
    assert packets["source/16"].tolist() == [four >> 16, 0x20010DB8 | 1 << 63]
    assert packets["source"].tolist() == [four, 0x20010DB800010002 | 1 << 63]
    assert len(set(packets["destination"].tolist())) == 2


def test_what_a_payload_begins_with():
    packets = rows(payload=[0x0102030405060708])
    shown = {name: packets[name].tolist() for name in ("payload[0]", "payload[1]", "payload[:2]", "payload[:4]")}
    assert shown == {"payload[0]": [1], "payload[1]": [2], "payload[:2]": [0x0102], "payload[:4]": [0x01020304]}
    assert packets["payload[:8]"].tolist() == [0x0102030405060708]
    assert rows(length=[1500, 40, 65535])["length/8"].tolist() == [187, 5, 255]


def test_rows_are_selected_and_joined():
    packets = rows(length=[1, 2, 3])
    packets["source"]  # what is derived goes with the rows
    some = packets.where(np.array([True, False, True]))
    assert some["length"].tolist() == [1, 3] and len(some["source"]) == 2
    both = Packets.joined([some, packets.where(np.array([1]))])
    assert both["length"].tolist() == [1, 3, 2] and both["length"].dtype == np.uint16
    assert len(Packets.joined([])) == 0 == len(Packets.none())
