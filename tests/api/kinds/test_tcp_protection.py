import pytest

from spectrum.api.kinds.tcp_protection import FILTERS, PREFIXES, RULES, api_name, from_value, wanted_name
from spectrum.store.objects import StoredObject


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"prefix": "192.0.2.0/24"}, "192.0.2.0-24"),
        ({"prefix": "2001:db8::/32"}, "2001-db8---32"),
        ({"component": "syn_protection", "mode": "enabled"}, "syn-protection-rule"),
        ({"component": "syn_protection", "place": "WEU"}, "syn-protection-rule-WEU"),
        ({"component": "tcp_flow_protection", "expression": "true"}, "tcp-flow-protection-filter"),
        ({"enabled": True}, "protection"),
    ],
)
def test_names_in_the_file(value, name):
    assert wanted_name(value) == name


def test_a_rule_there_and_back():
    body = {"scope": "region", "name": "WEU", "mode": "monitoring"}
    value = RULES["syn_protection"].to_value(body, None)
    assert value == {"component": "syn_protection", "scope": "region", "place": "WEU", "mode": "monitoring"}
    assert RULES["syn_protection"].to_body(value, None) == body
    answer = from_value(StoredObject("tcp_rules", "1" * 32, "r", value, 0.0, 0.0, 1, False), None)
    assert answer["name"] == "WEU" and answer["mitigation_type"] == "challenge"
    assert api_name(StoredObject("tcp_rules", "1" * 32, "r", value, 0.0, 0.0, 1, False)) == "r"


def test_places_in_bodies():
    assert RULES["syn_protection"].place(("place",), {}) == ("name",)
    assert RULES["syn_protection"].place(("component",), {}) == ("component",)
    assert FILTERS["syn_protection"].place(("expression",), {}) == ("expression",)
    assert PREFIXES.code(()) == 1001
