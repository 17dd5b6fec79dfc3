import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.rulesets import (
    INVALID,
    RULESETS,
    managed_rule,
    managed_ruleset,
    moved,
    version_of,
    with_ref,
    with_refs,
    without_rules,
)
from spectrum.core.ddos.managed import BY_REF, RULES, RULESET_ID
from spectrum.core.ddos.ruleset_objects import rule_id
from tests.api.kinds.references import Known, has, stored

REFS = Known()
UDP = BY_REF["UDP-0001"].id


def rule(ref="a", overrides=None, **more):
    parameters = {"id": RULESET_ID} | ({"overrides": overrides} if overrides else {})
    return {"ref": ref, "action": "execute", "action_parameters": parameters, "expression": "true"} | more


def answer(body, name="default"):
    return RULESETS.from_value(stored("rulesets", name, RULESETS.checked(body, REFS)), REFS)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rules": []},
        {"name": "ours", "description": "d", "kind": "root", "phase": "ddos_l4", "rules": [rule()]},
        {"rules": [rule(expression="ip.dst in {192.0.2.0/24}", description="x", enabled=False)]},
        {"rules": [rule(overrides={"sensitivity_level": "low", "action": "log", "enabled": True})]},
        {
            "rules": [
                rule(
                    overrides={
                        "categories": [{"category": "dns", "action": "block"}],
                        "rules": [{"id": UDP, "sensitivity_level": "eoff"}],
                    }
                )
            ]
        },
    ],
)
def test_what_was_configured_is_answered(body):
    told = answer(body)
    assert has(told, body)
    assert (told["kind"], told["phase"], told["version"]) == ("root", "ddos_l4", "1")
    for one in told["rules"]:
        assert one["id"] == rule_id(one["ref"])
        assert one["version"] == "1" and one["last_updated"] == told["last_updated"]
        assert one["action_parameters"]["version"] == "latest"
    assert answer(told) | {"id": ""} == told | {"id": ""}


def test_a_ruleset_of_the_file_is_told_in_the_form_of_the_api():
    value = {"rules": [{"overrides": {"sensitivity_level": "low"}}, {"expression": "tcp.flags.syn"}]}
    told = RULESETS.from_value(stored("rulesets", "ours", value), REFS)
    assert told["name"] == "ours" and [one["ref"] for one in told["rules"]] == ["rule-1", "rule-2"]
    assert has(told["rules"][1], rule("rule-2", expression="tcp.flags.syn", enabled=True))
    assert without_rules(stored("rulesets", "ours", value)) == {key: told[key] for key in told if key != "rules"}


@pytest.mark.parametrize(
    ("body", "pointer", "part"),
    [
        ({"rules": {}}, "/rules", "a list"),
        ({"rules": [], "phase": "ddos_l7"}, "/phase", "here it is ddos_l4"),
        ({"rules": [], "kind": "zone"}, "/kind", "here it is root"),
        ({"rules": [], "rule": 1}, "/rule", "unknown field"),
        ({"rules": ["x"]}, "/rules/0", "expected a rule"),
        ({"rules": [rule(), rule(logging={})]}, "/rules/1/logging", "unknown field"),
        ({"rules": [rule(action="block")]}, "/rules/0/action", "'block' is not a valid value for action"),
        ({"rules": [rule(action=None)]}, "/rules/0/action", "expected execute"),
        ({"rules": [rule(expression=None)]}, "/rules/0/expression", "true is for all attacks"),
        ({"rules": [rule(expression="ip.dst eq 1")]}, "/rules/0/expression", "at character 11: 1 is not an address"),
        ({"rules": [rule(action_parameters=None)]}, "/rules/0/action_parameters/id", RULESET_ID),
        ({"rules": [rule(action_parameters={"id": "0" * 32})]}, "/rules/0/action_parameters/id", RULESET_ID),
        (
            {"rules": [rule(action_parameters={"id": RULESET_ID, "version": "2"})]},
            "/rules/0/action_parameters/version",
            "latest",
        ),
        (
            {"rules": [rule(action_parameters={"id": RULESET_ID, "matched_data": {}})]},
            "/rules/0/action_parameters/matched_data",
            "unknown field",
        ),
        (
            {"rules": [rule(overrides={"enabled": False})]},
            "/rules/0/action_parameters/overrides/enabled",
            "cannot be disabled",
        ),
        (
            {"rules": [rule(overrides={"rules": [{"id": "x"}]})]},
            "/rules/0/action_parameters/overrides/rules/0/id",
            "no managed rule",
        ),
        ({"rules": [rule(overrides="x")]}, "/rules/0/action_parameters/overrides", "expected a mapping"),
        ({"rules": [rule(), rule()]}, "/rules/1", "two rules have the ref a"),
        ({"rules": [rule(ref=7)]}, "/rules/0/ref", "expected text"),
    ],
)
def test_refusals_are_reported_with_their_place(body, pointer, part):
    with pytest.raises(ApiError) as raised:
        RULESETS.checked(body, REFS)
    (detail,) = raised.value.details
    assert (raised.value.status, detail.code, detail.pointer) == (400, INVALID, pointer)
    assert part in detail.message


def test_the_managed_ruleset():
    told = managed_ruleset()
    assert (told["id"], told["kind"], told["phase"]) == (RULESET_ID, "managed", "ddos_l4")
    rules = list(map(managed_rule, RULES))
    assert {one["action"] for one in rules} == {"log", "ddos_dynamic"}
    udp = managed_rule(BY_REF["UDP-0001"])
    assert (udp["id"], udp["ref"], udp["allowed_override_actions"]) == (
        UDP,
        "UDP-0001",
        ["block", "ddos_dynamic", "log"],
    )
    assert udp["packets_per_second"] == {"default": 2000, "medium": 6000, "low": 16000, "eoff": 80000}


def test_rules_without_a_reference_keep_their_id_or_get_one():
    body = {"rules": [{"ref": "a"}, {"id": "7" * 32}, {}, "x"], "name": "n"}
    told = with_refs(body, lambda: "new")
    assert told == {"rules": [{"ref": "a"}, {"id": "7" * 32, "ref": "7" * 32}, {"ref": "new"}, "x"], "name": "n"}
    assert with_refs([], lambda: "new") == [] and with_refs({"rules": 1}, lambda: "new") == {"rules": 1}
    assert with_ref({"ref": ""}, lambda: "new") == {"ref": "new"}


A, B, C = (rule(ref) for ref in "abc")


@pytest.mark.parametrize(
    ("position", "order"),
    [
        (None, "abx"),
        ({"index": 1}, "xab"),
        ({"index": 3}, "abx"),
        ({"before": ""}, "xab"),
        ({"after": ""}, "abx"),
        ({"before": rule_id("b")}, "axb"),
        ({"after": rule_id("a")}, "axb"),
    ],
)
def test_a_rule_is_put_where_it_is_asked_for(position, order):
    assert "".join(one["ref"] for one in moved([A, B], rule("x"), position)) == order


@pytest.mark.parametrize(
    "position",
    [{}, {"index": 0}, {"index": 4}, {"index": True}, {"before": "0" * 32}, {"before": "", "after": ""}, "1"],
)
def test_a_place_that_is_none_is_refused(position):
    with pytest.raises(ApiError, match="an index from 1 to 3") as raised:
        moved([A, B], rule("x"), position)
    assert raised.value.details[0].pointer == "/position"


@given(st.permutations("abc"), st.integers(1, 3))
def test_moving_a_rule_keeps_all_of_them(order, index):
    rules = [rule(ref) for ref in order]
    told = moved(rules, rule("b", description="new"), {"index": index})
    assert sorted(one["ref"] for one in told) == ["a", "b", "c"]
    assert told[index - 1]["description"] == "new"


def test_versions_begin_with_one():
    assert version_of(stored("rulesets", "a", {})) == "1"
