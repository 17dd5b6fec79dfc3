from ipaddress import ip_address

from spectrum.plane.access.firewall import ClientPlaces
from tests.plane.access.test_geoip import database
from tests.plane.parts import Parts

APPS = "apps: {x: {protocol: tcp/7000, origin_direct: ['tcp://192.0.2.9:22'], ip_firewall: true}}"


def packed(address):
    return ip_address(address).packed


def test_rules_by_address_country_and_autonomous_system(tmp_path):
    database(tmp_path / "c.mmdb", [(["192.0.2.0/24"], {"country": {"iso_code": "DE"}})])
    database(tmp_path / "a.mmdb", [(["198.51.100.0/24"], {"autonomous_system_number": 64500})])
    parts = Parts()
    parts.compile(
        f"""{APPS}
geoip: {{database: {tmp_path}/c.mmdb, asn_database: {tmp_path}/a.mmdb}}
access_rules:
  a: {{target: country, value: DE, action: block}}
  b: {{target: asn, value: AS64500, action: block}}
  c: {{target: ip, value: 192.0.2.7, action: allow}}
"""
    )
    judge = parts.firewall.judge_of("x")
    said = {a: judge(packed(a)) for a in ("192.0.2.1", "192.0.2.7", "198.51.100.1", "203.0.113.1")}
    assert {a: verdict and verdict.rule for a, verdict in said.items()} == {
        "192.0.2.1": "a",
        "192.0.2.7": "c",
        "198.51.100.1": "b",
        "203.0.113.1": None,
    }
    assert parts.firewall.prefixes_of("x") is None  # they do not tell alone
    parts.places.close()


def test_no_rule_no_judge():
    parts = Parts()
    parts.compile(APPS)
    assert parts.firewall.judge_of("x") is None
    parts.compile(f"{APPS}\naccess_rules: {{r: {{target: ip, value: 192.0.2.1, action: block, apps: x}}}}")
    assert parts.firewall.judge_of("y") is None
    assert parts.firewall.judge_of("x")(packed("192.0.2.1")).blocks
    assert parts.firewall.prefixes_of("x").find(packed("192.0.2.1"))


def test_why_a_client_is_refused(tmp_path):
    (tmp_path / "drop.txt").write_text("# spam\n203.0.113.0/24\n")
    parts = Parts()
    parts.compile(
        f"""{APPS}
access_rules:
  a: {{target: ip_range, file: {tmp_path}/drop.txt, action: block}}
  b: {{target: ip_range, value: 192.0.2.0/24, action: block}}
  c: {{target: ip, value: 192.0.2.7, action: allow}}
"""
    )
    judge = parts.firewall.judge_of("x")

    def fields(address):
        return parts.firewall.fields_of(judge(packed(address)), packed(address))

    assert fields("203.0.113.8") == {"AccessPrefix": "203.0.113.0/24", "AccessList": f"{tmp_path}/drop.txt:2"}
    assert fields("192.0.2.8") == {"AccessPrefix": "192.0.2.0/24"}
    assert fields("192.0.2.7") == fields("198.51.100.1") == {}
    verdict = judge(packed("203.0.113.8"))
    parts.compile(APPS)  # the rule is gone
    assert parts.firewall.fields_of(verdict, packed("203.0.113.8")) == {}


def test_places_without_files(tmp_path, caplog):
    places = ClientPlaces()
    places.read("", "")
    assert (places.country_of(packed("192.0.2.1")), places.number_of(packed("192.0.2.1"))) == ("", 0)
    places.read(str(tmp_path / "gone"), "")  # the supervisor could read it a moment ago
    assert places.country_of(packed("192.0.2.1")) == ""
    assert "places of clients are not known" in caplog.text
