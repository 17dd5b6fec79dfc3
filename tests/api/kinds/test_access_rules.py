import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.access_rules import ACCESS_RULES, wanted_name
from spectrum.store.objects import file_id
from tests.api.kinds.references import Known, has, stored

REFS = Known(lists=["attackers", "asns"], apps=["ssh"])
SSH = file_id("apps", "ssh")


def rule(target, value, mode="block", **more):
    return {"mode": mode, "configuration": {"target": target, "value": value}, **more}


def answer(body):
    return ACCESS_RULES.from_value(stored("access_rules", "r", ACCESS_RULES.checked(body, REFS)), REFS)


@pytest.mark.parametrize(
    "body",
    [
        rule("ip", "192.0.2.1"),
        rule("ip6", "2001:db8::1", notes="scanner"),
        rule("ip_range", "192.0.2.0/24", "whitelist"),
        rule("asn", "AS64500"),
        rule("country", "DE", notes=""),
        rule("ip_range", "$attackers"),
        rule("ip", "$attackers"),
        rule("asn", "$asns"),
        rule("ip", "192.0.2.1", apps=[SSH]),
        {"mode": "block", "configuration": {"target": "ip_range", "values": ["192.0.2.0/24", "2001:db8::/48"]}},
    ],
)
def test_what_was_configured_is_answered(body):
    told = answer(body)
    assert has(told, body)
    assert told["allowed_modes"] == ["block", "whitelist"]
    assert isinstance(told["notes"], str)
    assert isinstance(told["configuration"]["value"], str)


@pytest.mark.parametrize(
    ("notes", "told"), [("a & b <c>", "a & b <c>"), ("&amp;", "&amp;amp;"), ("", ""), ("x&lt;y", "x&amp;lt;y")]
)
def test_notes_are_what_they_were_after_their_entities_are_decoded(notes, told):
    assert answer(rule("ip", "192.0.2.1", notes=notes))["notes"] == told


def test_rules_of_the_file_are_told_in_the_form_of_the_api():
    def told(value):
        return ACCESS_RULES.from_value(stored("access_rules", "r", value), REFS)

    many = told({"action": "allow", "target": "country", "values": ["DE", "FR"]})
    assert has(many, {"mode": "whitelist", "configuration": {"target": "country", "value": "DE,FR"}})
    assert has(told({"action": "block", "target": "asn", "value": 64500}), rule("asn", "AS64500"))
    assert has(told({"action": "block", "target": "ip", "file": "/a/list"}), rule("ip", "/a/list"))
    assert has(told({"action": "block", "target": "ip", "value": "::1", "apps": "ssh"}), {"apps": [SSH]})


FAULTS = [
    ({}, "/mode", "invalid mode received"),
    (rule("ip", "192.0.2.1", "challenge"), "/mode", "expected block or whitelist"),
    (rule("ip", "192.0.2.1", "allow"), "/mode", "invalid mode"),
    ({"mode": "block"}, "/configuration/target", "unsupported target"),
    (rule("subnet", "192.0.2.1"), "/configuration/target", "unsupported target"),
    (rule("ip", None), "/configuration/value", "no value"),
    (rule("ip", "192.0.2.0/24"), "/configuration/value", "invalid ip provided"),
    (rule("ip", "2001:db8::1"), "/configuration/value", "invalid ip provided"),
    (rule("ip6", "192.0.2.1"), "/configuration/value", "invalid ip provided"),
    (rule("ip_range", "192.0.2.1/24"), "/configuration/value", "not a prefix"),
    (rule("asn", "AS0"), "/configuration/value", "autonomous system"),
    (rule("country", "Germany"), "/configuration/value", "country"),
    (rule("ip_range", "$nobody"), "/configuration/value", "no list"),
    (rule("asn", "$attackers"), "/configuration/target", "expected ip_range or ip"),
    (rule("country", "$asns"), "/configuration/target", "expected asn"),
    (rule("ip", "192.0.2.1", apps=["0" * 32]), "/apps/0", "no app"),
    (rule("ip", "192.0.2.1", colour=1), "/colour", "unknown field"),
    ({"mode": "block", "configuration": {"target": "ip", "file": "/etc/shadow"}}, "/configuration/file", "unknown"),
    (rule("ip", "192.0.2.1", notes=1), "/notes", "text"),
]


@pytest.mark.parametrize(("body", "pointer", "words"), FAULTS)
def test_each_fault_has_its_place(body, pointer, words):
    with pytest.raises(ApiError) as caught:
        ACCESS_RULES.checked(body, REFS)
    assert (caught.value.status, caught.value.code, caught.value.details[0].pointer) == (400, 10002, pointer)
    assert words in caught.value.details[0].message


@pytest.mark.parametrize(
    ("place", "pointer"),
    [
        (("target",), "/configuration/target"),
        (("value",), "/configuration/value"),
        (("values", 1), "/configuration/values/1"),
        (("action",), "/mode"),
        (("apps", 0), "/apps/0"),
        ((), "/configuration/value"),
    ],
)
def test_a_place_of_the_file_is_one_of_the_body(place, pointer):
    assert ACCESS_RULES.refusal([(place, "why")], {}).details[0].pointer == pointer


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (rule("ip", "192.0.2.1"), "block-192.0.2.1"),
        (rule("ip_range", "2001:db8::/48", "whitelist"), "allow-2001-db8-48"),
        (rule("ip_range", "$attackers"), "block-attackers"),
        ({"mode": "block", "configuration": {"target": "country", "values": ["DE", "FR"]}}, "block-country"),
    ],
)
def test_a_rule_is_named_for_what_it_does(body, name):
    assert wanted_name(ACCESS_RULES.checked(body, REFS)) == name


@given(st.ip_addresses(), st.sampled_from(["block", "whitelist"]), st.text(max_size=20))
def test_value_and_body_are_the_same_thing(address, mode, notes):
    body = rule("ip" if address.version == 4 else "ip6", str(address), mode, notes=notes)
    value = ACCESS_RULES.checked(body, REFS)
    assert ACCESS_RULES.checked(ACCESS_RULES.to_body(value, REFS), REFS) == value
    assert has(ACCESS_RULES.to_body(value, REFS), body | ({} if notes else {"notes": None}))
