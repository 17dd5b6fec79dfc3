from ipaddress import ip_address

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from spectrum.plane.access.geoip import Countries, GeoIpError, Networks


def packed(address):
    return ip_address(address).packed


def database(path, records, version=6):
    writer = MMDBWriter(version, "Test", ipv4_compatible=version == 6)
    for networks, record in records:
        writer.insert_network(IPSet(networks), record)
    writer.to_db_file(str(path))
    return path


@pytest.mark.parametrize(
    "record",
    [{"country": {"iso_code": "DE", "names": {"en": "Germany"}}}, {"country": "DE"}, {"country_code": "DE"}],
)
def test_databases_of_several_vendors(tmp_path, record):
    countries = Countries(database(tmp_path / "x.mmdb", [(["192.0.2.0/24", "2001:db8::/32"], record)]))
    assert [countries.lookup(packed(a)) for a in ("192.0.2.1", "2001:db8::1", "198.51.100.1")] == ["DE", "DE", ""]
    countries.close()


@pytest.mark.parametrize("record", ["text", {"other": 1}, {"country": {"names": {}}}, {"country": 5}])
def test_records_without_a_country(tmp_path, record):
    countries = Countries(database(tmp_path / "x.mmdb", [(["192.0.2.0/24"], record)]))
    assert countries.lookup(packed("192.0.2.1")) == ""
    countries.close()


def test_ipv4_only(tmp_path):
    countries = Countries(database(tmp_path / "x.mmdb", [(["192.0.2.0/24"], {"country": "DE"})], version=4))
    assert (countries.lookup(packed("192.0.2.1")), countries.lookup(packed("2001:db8::1"))) == ("DE", "")
    countries.close()


def test_invalid_databases(tmp_path):
    with pytest.raises(GeoIpError, match="no such file"):
        Countries(tmp_path / "x.mmdb")
    (tmp_path / "y.mmdb").write_text("not a database")
    with pytest.raises(GeoIpError, match="it is not a MaxMind DB"):
        Countries(tmp_path / "y.mmdb")


@pytest.mark.parametrize(
    ("record", "number"),
    [
        ({"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}, 64500),
        ({"asn": "AS64500"}, 64500),
        ({"asn": 64500}, 64500),
        ({"country": "DE"}, 0),
        ({"asn": "none"}, 0),
    ],
)
def test_autonomous_systems(tmp_path, record, number):
    networks = Networks(database(tmp_path / "x.mmdb", [(["192.0.2.0/24"], record)]))
    assert (networks.lookup(packed("192.0.2.1")), networks.lookup(packed("198.51.100.1"))) == (number, 0)
    networks.close()
