"""Which rule decides: tables, and every pair of kinds."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.access.objects import AccessRule
from spectrum.core.access.prefix_table import PrefixTable
from spectrum.core.access.rules import AccessSettings, AppRules, basis_of, gather

COUNTRIES = {"192.0.2.1": "DE", "198.51.100.1": "FR"}
NUMBERS = {"192.0.2.1": 64500}


SCOPES = {"x": ("zone example.com", "account acme"), "y": ("zone example.org", "account acme")}


def judge(rules, app="x", lines=None):
    made = {name: AccessRule.model_validate(body) for name, body in rules.items()}
    builder, settings, faults = gather(made, lines or {})
    assert not faults
    table = PrefixTable(builder.build())
    access = AccessSettings(tuple(settings), tuple(builder.lists))
    return AppRules(
        app,
        access,
        table.find,
        lambda client: NUMBERS.get(str(ip_address(client)), 0),
        lambda client: COUNTRIES.get(str(ip_address(client)), ""),
        SCOPES.get(app, ()),
    )


def said(rules, client, app="x"):
    verdict = judge(rules, app).decide(ip_address(client).packed)
    return verdict and (verdict.rule, verdict.blocks, verdict.matched)


def block(target, *values, **more):
    return {"target": target, "action": "block", "values": list(values), **more}


def allow(target, *values, **more):
    return block(target, *values, **more) | {"action": "allow"}


TABLE = [
    # the longest prefix
    ({"a": block("ip_range", "192.0.0.0/16"), "b": allow("ip_range", "192.0.2.0/24")}, ("b", False, "WHITELIST_IP")),
    ({"a": allow("ip_range", "192.0.0.0/16"), "b": block("ip", "192.0.2.1")}, ("b", True, "BLOCK_IP")),
    # of equal ones that which allows
    ({"a": block("ip", "192.0.2.1"), "b": allow("ip_range", "192.0.2.1/32")}, ("b", False, "WHITELIST_IP")),
    ({"a": block("asn", 64500), "b": allow("asn", "AS64500")}, ("b", False, "WHITELIST_ASN")),
    ({"a": block("country", "DE"), "b": allow("country", "DE")}, ("b", False, "WHITELIST_COUNTRY")),
    # a prefix, however short, before an autonomous system, and that before a country
    ({"a": block("asn", 64500), "b": allow("ip_range", "0.0.0.0/0")}, ("b", False, "WHITELIST_IP")),
    ({"a": allow("country", "DE"), "b": block("asn", 64500)}, ("b", True, "BLOCK_ASN")),
    ({"a": block("country", "DE", "FR")}, ("a", True, "BLOCK_COUNTRY")),
    # scope
    ({"a": block("ip", "192.0.2.1", apps=["y"]), "b": allow("ip_range", "192.0.0.0/16")}, ("b", False, "WHITELIST_IP")),
    ({"a": block("ip", "192.0.2.1", apps=["y"])}, None),
    ({"a": block("ip", "192.0.2.1", apps=["y", "x"])}, ("a", True, "BLOCK_IP")),
    ({"a": block("asn", 64500, apps=["y"]), "b": block("country", "DE")}, ("b", True, "BLOCK_COUNTRY")),
    ({"a": block("ip", "192.0.2.1", zone="example.com")}, ("a", True, "BLOCK_IP")),
    ({"a": block("ip", "192.0.2.1", zone="example.org")}, None),
    ({"a": block("ip", "192.0.2.1", account="acme")}, ("a", True, "BLOCK_IP")),
    ({"a": block("ip", "192.0.2.1", account="other"), "b": block("asn", 64500)}, ("b", True, "BLOCK_ASN")),
    ({"a": block("country", "DE", account="other")}, None),
    ({"a": block("ip", "192.0.2.1", zone="example.com", apps=["y"])}, None),
    # nobody is meant
    ({"a": block("ip_range", "198.51.100.0/24"), "b": block("country", "FR"), "c": block("asn", 1)}, None),
    ({"a": block("ip_range", "::/0")}, None),
    ({}, None),
]


@pytest.mark.parametrize(("rules", "expected"), TABLE)
def test_who_decides(rules, expected):
    assert said(rules, "192.0.2.1") == expected


def test_a_country_that_is_not_known():
    rules = {"a": block("country", "XX"), "b": allow("country", "DE")}
    assert said(rules, "203.0.113.1") == ("a", True, "BLOCK_COUNTRY")
    assert said(rules, "192.0.2.1") == ("b", False, "WHITELIST_COUNTRY")


def test_lists():
    rules = {"spam": {"target": "ip_range", "action": "block", "file": "list"}, "office": allow("ip", "192.0.2.1")}
    app = judge(rules, lines={"spam": b"192.0.2.0/24\n2001:db8::/32\n"})
    assert app.decide(ip_address("192.0.2.1").packed).rule == "office"
    assert app.decide(ip_address("192.0.2.2").packed).rule == "spam"
    assert app.decide(ip_address("2001:db8::1").packed).rule == "spam"
    assert app.any


def test_faults_of_a_list_are_reported_by_line():
    rule = AccessRule.model_validate({"target": "ip_range", "action": "block", "file": "list"})
    _, _, faults = gather({"spam": rule}, {"spam": b"192.0.2.0/24\nnonsense\n"})
    assert [line for line, _ in faults["spam"]] == [2]


def test_an_app_without_a_rule_has_none():
    assert not judge({"a": block("ip", "192.0.2.1", apps=["y"])}).any


def test_all_that_name_a_client():
    rules = {
        "a": block("ip_range", "192.0.0.0/16"),
        "b": allow("ip", "192.0.2.1"),
        "c": block("country", "DE"),
        "d": block("ip_range", "192.0.2.0/24", apps=["y"]),
    }
    assert [verdict.rule for verdict in judge(rules).all_of(ip_address("192.0.2.1").packed)] == ["b", "a", "c"]


def test_what_of_a_rule_holds_a_client():
    bodies = {
        "country": block("country", "DE"),
        "few": block("ip_range", "192.0.0.0/16", "192.0.2.0/24"),
        "many": {"target": "ip_range", "action": "block", "file": "/etc/drop.txt"},
    }
    made = {name: AccessRule.model_validate(body) for name, body in bodies.items()}
    builder, settings, _ = gather(made, {"many": b"# spam\n198.51.100.0/24\n2001:db8::/32\n"})
    table = PrefixTable(builder.build())
    access = AccessSettings(tuple(settings), tuple(builder.lists))

    def basis(rule, client):
        found = basis_of(access, table.given, rule, ip_address(client).packed)
        return found and str(found)

    assert basis("few", "192.0.2.1") == "192.0.2.0/24"
    assert basis("few", "192.0.3.1") == "192.0.0.0/16"
    assert basis("many", "198.51.100.9") == "198.51.100.0/24 in /etc/drop.txt:2"
    assert basis("many", "2001:db8::9") == "2001:db8::/32 in /etc/drop.txt:3"
    for rule, client in (("few", "198.51.100.9"), ("country", "192.0.2.1"), ("gone", "192.0.2.1")):
        assert basis(rule, client) is None


NETWORKS = st.sampled_from(["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.0.1/32", "10.0.1.0/24", "0.0.0.0/0"])
RULES = st.lists(
    st.tuples(st.lists(NETWORKS, min_size=1, max_size=3), st.booleans(), st.sampled_from([None, ("x",), ("y",)])),
    max_size=6,
)


@given(RULES)
def test_against_a_naive_reference(drawn):
    bodies = {
        f"r{n}": {"target": "ip_range", "action": "block" if blocks else "allow", "values": list(values)}
        | ({"apps": list(apps)} if apps else {})
        for n, (values, blocks, apps) in enumerate(drawn)
    }
    for app in ("x", "y"):
        rules = judge(bodies, app)
        for client in ("10.0.0.1", "10.0.0.2", "10.0.1.1", "10.9.9.9", "11.0.0.0"):
            meant = [
                (-ip_network(value).prefixlen, blocks, n)
                for n, (values, blocks, apps) in enumerate(drawn)
                if not apps or app in apps
                for value in values
                if ip_address(client) in ip_network(value)
            ]
            verdict = rules.decide(ip_address(client).packed)
            assert (verdict.rule if verdict else None) == (f"r{min(meant)[2]}" if meant else None)
