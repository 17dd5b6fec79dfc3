"""The places of many addresses at once, against what the library finds for each."""

import os
import random
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address

import maxminddb
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from spectrum.core.access.place_records import country_in, network_in
from spectrum.core.ddos.packets import MAPPED
from spectrum.detector import places
from spectrum.detector.places import UNKNOWN, PlaceFileError, PlaceTable
from tests.core.ddos.test_packets import rows

COUNTRIES = [
    (["192.0.2.0/24", "2001:db8::/32"], {"country": {"iso_code": "DE"}}),
    (["198.51.100.0/25", "2001:db8:1::/48"], {"country": {"iso_code": "FR"}}),
    (["203.0.113.7/32", "2001:db8:5::/48"], {"country": "US"}),
    (["10.0.0.0/8"], {"continent": "none"}),
]
ADDRESSES = ["192.0.2.9", "198.51.100.1", "198.51.100.200", "203.0.113.7", "203.0.113.8", "10.1.2.3", "2001:db8::1"]
ADDRESSES += ["2001:db8:1::5", "2001:db8:5::1", "2001:db9::", "::1"]


def written(path, networks, version=6, bits=24):
    """Return the file of a database whose tree has records of so many bits."""
    writer = MMDBWriter(version, "Test", ipv4_compatible=version == 6)
    for prefixes, record in networks:
        writer.insert_network(IPSet([one for one in prefixes if version == 6 or ":" not in one]), record)
    writer.to_db_file(str(path))
    return _with_records(path, bits)


def _with_records(path, bits):
    with maxminddb.open_database(path) as reader:
        about = reader.metadata()
    data = path.read_bytes()
    size = about.node_count * about.record_size // 4
    tree, rest = data[:size], data[size:]
    assert about.record_size == 24
    width = bits // 4
    nodes = (tree[at : at + 6] for at in range(0, size, 6))
    wide = b"".join(_node(int.from_bytes(one[:3]), int.from_bytes(one[3:]), bits).rjust(width, b"\0") for one in nodes)
    path.write_bytes(wide + rest.replace(b"record_size\xa1\x18", b"record_size\xa1" + bytes([bits])))
    return path


def _node(left, right, bits):
    if bits == 28:
        middle = left >> 24 << 4 | right >> 24
        return (left & 0xFFFFFF).to_bytes(3) + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3)
    return left.to_bytes(bits // 8) + right.to_bytes(bits // 8)


@contextmanager
def table(path, place_of=country_in):
    file = os.open(path, os.O_RDONLY)
    made = PlaceTable(file, place_of)
    os.close(file)
    yield made


def packets(addresses):
    whole = [IPv4Address(one) if ":" not in one else IPv6Address(one) for one in addresses]
    numbers = [int(one) | (MAPPED if one.version == 4 else 0) for one in whole]
    return rows(
        version=[one.version for one in whole],
        source_high=[number >> 64 for number in numbers],
        source_low=[number & (2**64 - 1) for number in numbers],
    )


@pytest.mark.parametrize("bits", [24, 28, 32])
@pytest.mark.parametrize("version", [4, 6])
def test_all_that_the_library_finds(tmp_path, version, bits):
    chance = random.Random(1)
    path = written(tmp_path / "x.mmdb", COUNTRIES, version, bits)
    many = ADDRESSES + [str(IPv4Address(chance.getrandbits(32))) for _ in range(500)]
    many += [str(IPv4Address("198.51.100.0") + chance.randrange(256)) for _ in range(500)]
    with maxminddb.open_database(path) as reader:
        expected = [UNKNOWN if version == 4 and ":" in one else country_in(reader.get(one)) or UNKNOWN for one in many]
    assert {"DE", "FR", "US", UNKNOWN} == set(expected)
    with table(path) as countries:
        for _ in range(2):
            assert countries(packets(many)).tolist() == expected
        assert countries(packets([])).tolist() == []


def test_networks(tmp_path):
    path = written(tmp_path / "x.mmdb", [(["192.0.2.0/24"], {"asn": 64500})])
    with table(path, network_in) as networks:
        assert networks(packets(["192.0.2.1", "10.0.0.1"])).tolist() == ["AS64500", UNKNOWN]


def test_a_file_of_many_places_is_read_little_by_little(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "MOST_NEW", 3)
    monkeypatch.setattr(places, "MOST_KEPT", 8)
    networks = [([f"192.0.2.{number}/32"], {"country": f"C{number}"}) for number in range(10)]
    with table(written(tmp_path / "x.mmdb", networks)) as countries:
        many = packets([f"192.0.2.{number}" for number in range(10)])
        known = [int((countries(many) != UNKNOWN).sum()) for _ in range(5)]
    assert known[:3] == [3, 6, 9]
    assert known[3] == 3, "what is kept is bounded"


def test_invalid_databases(tmp_path):
    path = tmp_path / "x.mmdb"
    for content in (b"", b"not a database"):
        path.write_bytes(content)
        with pytest.raises(PlaceFileError, match="it is not a MaxMind DB"), table(path):
            pass
    with pytest.raises(PlaceFileError, match="bad file descriptor"):
        PlaceTable(-2, country_in)


def test_a_record_that_is_damaged_is_unknown(tmp_path):
    path = written(tmp_path / "x.mmdb", COUNTRIES)
    data = bytearray(path.read_bytes())
    end = data.index(b"\0" * 16) + 16
    data[end : data.rindex(b"\xab\xcd\xefMaxMind.com")] = b"\xff" * (data.rindex(b"\xab\xcd\xefMaxMind.com") - end)
    path.write_bytes(data)
    with table(path) as countries:
        assert countries(packets(["192.0.2.1"])).tolist() == [UNKNOWN]
