import pytest
from pydantic import ValidationError

from spectrum.core.configuration.faults import faults_of
from spectrum.core.ddos.managed import BY_REF
from spectrum.core.ddos.overrides import ManagedOverride, Setting
from spectrum.core.ddos.ruleset_objects import Ruleset, ref_at, rule_id

NTP = BY_REF["RFL-0002"].id


def test_what_rules_say():
    ruleset = Ruleset.model_validate(
        {
            "description": "ours",
            "rules": [
                {"expression": "ip.proto.num eq 17", "overrides": {"sensitivity_level": "low"}},
                {"enabled": False, "overrides": {"action": "log"}},
                {
                    "ref": "ntp",
                    "description": "our clocks",
                    "overrides": {
                        "enabled": True,
                        "categories": [{"category": "ntp", "sensitivity_level": "eoff"}],
                        "rules": [{"id": "RFL-0002", "action": "log"}, {"id": NTP, "action": "block"}],
                    },
                },
            ],
        }
    )
    first, second = ruleset.overrides()
    assert first == ManagedOverride(rule_id("rule-1"), "rule-1", "ip.proto.num eq 17", Setting("low"))
    assert second == ManagedOverride(
        rule_id("ntp"),
        "our clocks",
        "true",
        Setting(),
        (("ntp", Setting("eoff")),),
        ((NTP, Setting(action="log")), (NTP, Setting(action="block"))),
    )


def test_the_id_of_a_rule_is_its_ref_where_that_is_one():
    assert rule_id("0" * 32) == "0" * 32
    assert rule_id("a") == rule_id("a") != rule_id("b")
    assert ref_at(0) == "rule-1"


@pytest.mark.parametrize(
    ("rule", "place", "part"),
    [
        ({"expression": "ip.dts eq 1"}, ("expression",), "at character 1: there is no field ip.dts here; did you mean"),
        (
            {"overrides": {"sensitivity_level": "high"}},
            ("overrides", "sensitivity_level"),
            "expected default or medium",
        ),
        ({"overrides": {"action": "drop"}}, ("overrides", "action"), "expected block or log or ddos_dynamic"),
        ({"overrides": {"enabled": False}}, ("overrides", "enabled"), "sensitivity_level: eoff"),
        (
            {"overrides": {"categories": [{"category": "dn"}]}},
            ("overrides", "categories", 0, "category"),
            'no category "dn"; did you mean "dns"?',
        ),
        (
            {"overrides": {"rules": [{"id": "UDP-001"}]}},
            ("overrides", "rules", 0, "id"),
            'no managed rule "UDP-001"; did you mean "UDP-0001"?',
        ),
        (
            {"overrides": {"rules": [{"id": "0" * 32}]}},
            ("overrides", "rules", 0, "id"),
            "`spectrum ddos rules` lists them",
        ),
        ({"overrides": {"rules": [{"action": "log"}]}}, ("overrides", "rules", 0, "id"), '"id" is missing'),
        ({"name": "x"}, ("name",), 'unknown key "name"'),
    ],
)
def test_faults_are_reported_with_their_place(rule, place, part):
    with pytest.raises(ValidationError) as raised:
        Ruleset.model_validate({"rules": [rule]})
    fault = next(iter(faults_of(raised.value, Ruleset, ())))
    assert fault.path == ("rules", 0, *place)
    assert part in fault.message


@pytest.mark.parametrize("refs", [("a", "a"), ("rule-2", None)])
def test_no_two_rules_have_one_ref(refs):
    with pytest.raises(ValidationError, match="two rules have the ref"):
        Ruleset.model_validate({"rules": [{"ref": ref} for ref in refs]})
